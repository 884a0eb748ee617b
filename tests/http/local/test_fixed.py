"""Fixed responses, and what every local answer has in common: bodies of requests, HEAD, persistence."""

from __future__ import annotations

import json
from pathlib import Path

from smartproxy import http_respond
from smartproxy.testing import MemoryNetwork, Nature
from tests.http.local.case import LocalCase, local_route, request
from tests.on_network import HOST

LATER = {"status": 503, "body": "later", "contentType": "text/html"}


class RespondTests(LocalCase):
    def test_a_request_gets_the_configured_response(self):
        self.local(type="respond", response=LATER)
        self.assertEqual(
            self.ask().whole,
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nlater",
        )

    def test_head_gets_no_body(self):
        self.local(type="handler", handler=http_respond(b"later", 200))
        client = self.connect(81)
        answer = self.ask(method="HEAD", client=client)
        self.assertEqual((answer.content_length, answer.body), ("5", b""))
        self.assertEqual(self.ask(client=client).body, b"later")

    def test_a_204_has_no_content_length(self):
        self.local(type="respond", response={"status": 204})
        self.assertEqual(self.ask().whole, b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertRaises(ValueError, http_respond, b"body", 204)
        self.assertRaises(ValueError, http_respond, b"", 199)
        self.assertRaises(ValueError, http_respond, b"", 200, {"X": "a\r\nb"})

    def test_an_unregistered_status_is_sent_as_it_is(self):
        """The configuration allows any status from 200 to 599."""
        self.local(type="respond", response={"status": 520, "body": "x"})
        self.assertTrue(self.ask().whole.startswith(b"HTTP/1.1 520 \r\n"))

    def test_protocol_http_makes_the_status_200(self):
        self.local(type="respond", response={"body": "x"}, protocol="http")
        self.assertEqual(self.ask().status, 200)

    def test_http_1_0_persists_if_it_asks(self):
        self.local(type="respond", response=LATER)
        client = self.connect(81)
        self.assertEqual(
            self.ask(version="1.0", more="Connection: keep-alive\r\n", client=client).connection, "keep-alive"
        )
        self.assertEqual(self.ask(version="1.0", client=client).connection, "close")
        self.assertTrue(client.ended)

    def test_the_chosen_response_of_a_callable_holds_for_the_connection(self):
        sorry = http_respond(b"sorry", 503)
        self.local(type="handler", handler=lambda routed: sorry)
        client = self.connect(81)
        for _ in range(2):
            self.assertEqual(self.ask(client=client).body, b"sorry")


class BodyTests(LocalCase):
    def setUp(self):
        super().setUp()
        self.local(type="respond", response={"status": 200, "body": "ok"})

    def test_a_small_body_is_discarded_and_the_connection_kept(self):
        client = self.connect(81)
        for _ in range(2):
            answer = self.ask(method="POST", body=b"x" * 60_000, client=client)
            self.assertEqual((answer.status, answer.connection), (200, None))
        client.write(
            request(method="POST", more="Transfer-Encoding: chunked\r\n")
            + b"3\r\nabc\r\n0\r\n\r\n"
            + request()
        )
        self.network.settle()
        self.assertEqual(client.received.count(b"HTTP/1.1 200"), 4)

    def test_a_body_is_awaited_before_the_answer(self):
        client = self.connect(81, request(method="POST", more="Content-Length: 3\r\n"))
        self.assertEqual(client.received, b"")
        client.write(b"abc")
        self.network.settle()
        self.assertIn(b" 200 ", client.received)

    def test_a_large_body_is_not_read(self):
        client = self.connect(81, request(method="POST", more="Content-Length: 1000000\r\n"))
        self.assertIn(b"Connection: close", client.received)
        self.assertTrue(client.ended)

    def test_a_large_chunked_body_ends_the_connection(self):
        client = self.connect(81, request(method="POST", more="Transfer-Encoding: chunked\r\n"))
        for _ in range(5):
            client.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")
            self.network.settle()
        self.assertIn(b"Connection: close", client.received)
        self.assertEqual(client.received.count(b"HTTP/1.1"), 1)

    def test_a_client_that_expects_100_gets_the_final_answer(self):
        """It may send the body all the same, which must not be taken for a request."""
        client = self.connect(
            81, request(method="POST", more="Expect: 100-continue\r\nContent-Length: 3\r\n")
        )
        self.assertTrue(client.received.startswith(b"HTTP/1.1 200 "), client.received)
        self.assertIn(b"Connection: close", client.received)
        client.write(request("/smuggled"))
        self.network.settle()
        self.assertEqual(client.received.count(b"HTTP/1.1"), 1)

    def test_pipelined_requests_are_answered_in_order(self):
        client = self.connect(81, request() * 500)
        self.assertEqual(client.received.count(b"HTTP/1.1 200"), 500)


class PipelineTests(LocalCase):
    """A client that sends requests and reads no answers."""

    def setUp(self):
        super().setUp()
        self.network.stop(self.proxy)
        self.network = MemoryNetwork(Nature(window=50_000))
        self.backend = self.network.backend(HOST, 9000)
        self.start(local_route(type="respond", response={"status": 200, "body": "x" * 50_000}))

    def test_it_makes_the_proxy_hold_few_answers(self):
        client = self.connect(81)
        client.reading = False
        client.write(request() * 400)
        self.network.run(1)
        (record,) = self.proxy.connections
        self.assertLess(record.bytes_sent, 500_000)
        self.assertEqual(self.proxy.counters.route("local").of_requests().active, 0)

    def test_it_gets_all_of_them_when_it_reads(self):
        client = self.connect(81)
        client.reading = False
        client.write(request() * 100)
        self.network.run(1)
        client.reading = True
        self.network.run(5)
        self.assertEqual(client.received.count(b"HTTP/1.1 200"), 100)
        self.assertFalse(client.ended)

    def test_it_is_closed_after_a_time(self):
        client = self.connect(81)
        client.reading = False
        client.write(request() * 400)
        self.network.run(80)
        self.assertEqual(self.proxy.registry.active, 0)


class RecordTests(LocalCase):
    def test_an_answer_has_a_line_in_the_access_log(self):
        path = self.mktemp()
        self.network.stop(self.proxy)
        self.start(local_route(type="respond", response=LATER), access_log={"path": path})
        answer = self.ask("/x?y")
        self.network.run(1)
        self.proxy._runtime.accounting.close_log()
        (line,) = [json.loads(line) for line in Path(path).read_text().splitlines()]
        self.assertEqual(
            (line["route"], line["method"], line["path"], line["status"], line["target"]),
            ("local", "GET", "/x", 503, None),
        )
        self.assertEqual(line["requestBytes"], len(request("/x?y")))
        self.assertGreater(line["responseBytes"], len(answer.whole))

    def test_malformed_chunks_of_a_body_are_a_400(self):
        self.local(type="respond", response=LATER)
        client = self.connect(81, request(method="POST", more="Transfer-Encoding: chunked\r\n") + b"zz\r\n")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 400"), client.received)
