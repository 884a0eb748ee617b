"""Requests of a client and answers of a target, whole, over a network in memory."""

from __future__ import annotations

from smartproxy import Route
from tests.http.case import GET, OK, HttpCase, http_route


class ExchangeTests(HttpCase):
    def test_requests_follow_each_other_on_one_connection(self):
        client = self.connect()
        for _ in range(3):
            self.assertEqual(self.exchange(client), OK)
        self.assertFalse(client.ended)
        self.assertEqual(len(self.backend.connections), 1)

    def test_a_target_gets_the_request_written_anew(self):
        self.connect(
            80, b"GET /a?b HTTP/1.1\r\nhost:  a.test \r\nX-A: 1\r\nConnection: x-b, close\r\nX-B: 2\r\n\r\n"
        )
        lines, body = self.received()
        self.assertEqual(lines[0], b"GET /a?b HTTP/1.1")
        self.assertIn(b"X-A: 1", lines)
        self.assertNotIn(b"X-B: 2", lines)
        self.assertEqual([line for line in lines if line.lower().startswith(b"connection")], [])
        self.assertEqual(body, b"")

    def test_pipelined_requests_are_answered_in_order(self):
        client = self.connect(80, GET.replace(b"/ ", b"/1 ") + GET.replace(b"/ ", b"/2 "))
        self.assertEqual(len(self.backend.connections), 1)
        self.answer(OK.replace(b"ok", b"a1"))
        self.assertTrue(
            self.backend.connections[-1].received.partition(b"\r\n\r\n")[2].startswith(b"GET /2 HTTP/1.1")
        )
        self.answer(OK.replace(b"ok", b"a2"))
        self.assertEqual(client.received, OK.replace(b"ok", b"a1") + OK.replace(b"ok", b"a2"))

    def test_bodies_pass_both_ways_in_either_framing(self):
        chunked = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        for body in (b"Content-Length: 3\r\n\r\nabc", chunked):
            client = self.connect()
            got = self.exchange(
                client, b"POST / HTTP/1.1\r\nHost: a\r\n" + body, b"HTTP/1.1 200 OK\r\n" + body
            )
            self.assertEqual(got, b"HTTP/1.1 200 OK\r\n" + body)
            self.assertTrue(
                bytes(self.backend.connections[-1].received).endswith(body.partition(b"\r\n\r\n")[2])
            )

    def test_a_body_that_comes_after_its_head_is_waited_for(self):
        for framing, rest in (
            (b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
            (b"Content-Length: 3\r\n\r\n", b"abc"),
        ):
            client = self.connect(80, GET)
            for piece in (b"HTTP/1.1 200 OK\r\n" + framing, rest[:2], rest[2:]):
                self.answer(piece)
            self.assertEqual(client.received, b"HTTP/1.1 200 OK\r\n" + framing + rest, framing)
            self.assertFalse(client.ended)

    def test_a_body_that_ends_with_the_connection_is_chunked_for_the_client(self):
        client = self.connect(80, GET)
        self.answer(b"HTTP/1.1 200 OK\r\n\r\nabc")
        self.backend.connections[-1].fin()
        self.network.settle()
        self.assertEqual(
            client.received, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )

    def test_answers_without_body_keep_the_connection(self):
        head = GET.replace(b"GET", b"HEAD")
        for request, answer in [
            (head, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
            (GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
            (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
        ]:
            client = self.connect()
            self.assertEqual(self.exchange(client, request, answer), answer)
            self.assertEqual(self.exchange(client), OK)

    def test_informational_answers_precede_the_final_one(self):
        client = self.connect(80, GET)
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        self.answer(early + OK)
        self.assertEqual(client.received, early + OK)

    def test_http_1_0_is_answered_and_closed_unless_it_asks_to_persist(self):
        client = self.connect(80, b"GET / HTTP/1.0\r\n\r\n")
        self.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        self.assertEqual(client.received, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok")
        self.assertTrue(client.ended)
        client = self.connect()
        got = self.exchange(client, b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        self.assertIn(b"Connection: keep-alive", got)
        self.assertFalse(client.ended)

    def test_the_length_of_an_answer_to_head_is_not_made_up(self):
        head = GET.replace(b"GET", b"HEAD")
        got = self.exchange(self.connect(), head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertEqual(got, b"HTTP/1.1 200 OK\r\n\r\n")

    def test_trailers_pass_but_for_those_that_frame_or_route(self):
        body = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nHost: evil\r\nContent-Length: 9\r\nX-Forwarded-For: 1\r\n\r\n"
        chunked = b"Transfer-Encoding: chunked\r\n\r\n"
        got = self.exchange(
            self.connect(),
            b"POST / HTTP/1.1\r\nHost: a\r\n" + chunked + body,
            b"HTTP/1.1 200 OK\r\n" + chunked + body,
        )
        for passed in (got, bytes(self.backend.connections[-1].received)):
            self.assertTrue(passed.endswith(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"), passed)

    def test_a_connection_ends_with_the_exchange_after_its_lifetime(self):
        self.start(http_route("short", 81), max_connection_lifetime="30s")
        client = self.connect(81)
        self.assertNotIn(b"close", self.exchange(client))
        self.network.run(31)
        self.assertIn(b"Connection: close", self.exchange(client))
        self.assertTrue(client.ended)


class EndTests(HttpCase):
    def test_malformed_requests_are_answered_and_reach_no_target(self):
        for request, status in [
            (b"GET / HTTP/1.1\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", b"501"),
            (b"GET / HTTP/3.1\r\nHost: a\r\n\r\n", b"505"),
            (b"GET /" + b"a" * 66000 + b" HTTP/1.1\r\n", b"414"),
            (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 101, b"431"),
            (b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", b"405"),
        ]:
            client = self.connect(80, request)
            self.assertEqual(client.received[9:12], status, request[:60])
            self.assertTrue(client.ended)
        self.assertEqual(self.backend.connections, [])

    def test_a_target_that_cannot_be_reached_is_a_502(self):
        self.start(
            Route(
                name="x",
                match={"ports": 81},
                action={"targets": [{"host": "10.9.9.9", "port": 1}], "protocol": "http"},
            )
        )
        client = self.connect(81, GET)
        self.assertEqual(client.received[9:12], b"502")

    def test_an_answer_cut_within_its_body_is_a_cut_for_the_client(self):
        client = self.connect(80, GET)
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        self.backend.connections[-1].fin()
        self.network.settle()
        self.assertTrue(client.was_reset)

    def test_an_answer_that_is_not_http_is_a_502(self):
        for answer in (
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        ):
            client = self.connect(80, GET)
            self.answer(answer)
            self.assertEqual(client.received[9:12], b"502")

    def test_an_answer_before_the_end_of_the_request_ends_the_connection(self):
        client = self.connect(80, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        self.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        self.assertIn(b"Connection: close", client.received)
        self.assertTrue(client.ended)

    def test_a_client_that_resets_ends_the_exchange_with_the_target(self):
        client = self.connect(80, GET)
        client.rst()
        self.network.settle()
        self.assertTrue(self.backend.connections[-1].was_reset)
        self.assertEqual(self.proxy.registry.active, 0)

    def test_a_client_that_has_ended_its_direction_is_answered(self):
        client = self.connect(80, GET)
        client.fin()
        self.network.settle()
        self.answer()
        self.assertIn(b"ok", client.received)

    def test_bytes_are_counted_as_the_client_sees_them(self):
        client = self.connect()
        got = self.exchange(client)
        client.fin()
        self.network.run(3)
        totals = self.proxy.metrics.totals()
        self.assertEqual((totals.bytes_received, totals.bytes_sent), (len(GET), len(got)))
