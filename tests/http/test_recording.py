"""What is counted and logged of HTTP exchanges."""

from __future__ import annotations

import json
import select
from pathlib import Path

from smartproxy.admin import views
from smartproxy.metrics.families import families
from smartproxy.metrics.prometheus import exposition
from smartproxy.model.outcome import RelayKind
from smartproxy.model.timestamps import Moment
from tests.http.case import GET, OK, SWITCHED, UPGRADE, HttpCase, http_route


class MetricsTests(HttpCase):
    def page(self):
        return b"".join(exposition(families(self.proxy.registry, self.proxy.counters))[0]).decode()

    def assert_shown(self, *lines):
        shown = [line for line in self.page().splitlines() if line.startswith("smartproxy_http_")]
        for line in lines:
            self.assertIn(line, shown)

    def test_requests_are_counted_by_route_method_and_code(self):
        client = self.connect()
        for _ in range(2):
            self.exchange(client)
        self.exchange(
            client, GET.replace(b"GET", b"BREW"), b"HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n"
        )
        self.assert_shown(
            'smartproxy_http_requests_total{code="200",method="GET",route="web"} 2',
            'smartproxy_http_requests_total{code="418",method="other",route="web"} 1',
            'smartproxy_http_request_seconds_count{route="web"} 3',
            'smartproxy_http_requests_active{route="web"} 0',
        )

    def test_a_request_under_way_is_active_until_its_client_leaves(self):
        client = self.connect(80, GET)
        self.assert_shown('smartproxy_http_requests_active{route="web"} 1')
        client.rst()
        self.network.settle()
        self.assert_shown(
            'smartproxy_http_requests_active{route="web"} 0',
            'smartproxy_http_requests_total{code="499",method="GET",route="web"} 1',
        )

    def test_each_way_to_end_counts_once(self):
        for request, answer in [(GET, b"rubbish\r\n"), (UPGRADE, SWITCHED), (GET, OK[:-1])]:
            client = self.connect()
            self.exchange(client, request, answer)
            self.backend.connections[-1].rst()
            self.network.settle()
            client.rst()
            self.network.settle()
        self.assert_shown(
            'smartproxy_http_requests_active{route="web"} 0',
            'smartproxy_http_requests_total{code="502",method="GET",route="web"} 1',
            'smartproxy_http_requests_total{code="101",method="GET",route="web"} 1',
            'smartproxy_http_requests_total{code="200",method="GET",route="web"} 1',
            'smartproxy_http_request_seconds_count{route="web"} 3',
        )

    def test_tunnels_are_counted_while_they_live(self):
        client = self.connect(80, UPGRADE)
        self.answer(SWITCHED)
        self.assert_shown(
            'smartproxy_http_upgrades_active{route="web"} 1',
            'smartproxy_http_requests_active{route="web"} 0',
            'smartproxy_http_pool_connections{group="web",state="active"} 0',
        )
        client.rst()
        self.network.settle()
        self.assert_shown('smartproxy_http_upgrades_active{route="web"} 0')

    def assert_moved_by_target(self, received, sent):
        target = '{group="web",target="10.0.0.5:9000"}'
        shown = [line for line in self.page().splitlines() if f"_bytes_total{target}" in line]
        received, sent = f"received_bytes_total{target} {received}", f"sent_bytes_total{target} {sent}"
        self.assertEqual(shown, [f"smartproxy_target_{received}", f"smartproxy_target_{sent}"])

    def test_bytes_of_a_target_grow_while_a_tunnel_lives(self):
        """Else an hour of a WebSocket is a rate of 0, and then a peak."""
        client = self.connect()
        self.exchange(client)
        client.write(UPGRADE)
        self.network.settle()
        self.answer(SWITCHED)
        received, sent = len(GET + UPGRADE), len(OK + SWITCHED)
        self.assert_moved_by_target(received, sent)
        client.write(b"abc")
        self.network.settle()
        self.answer(b"12345")
        self.assert_moved_by_target(received + 3, sent + 5)
        client.rst()
        self.network.run(1)
        self.assert_moved_by_target(received + 3, sent + 5)

    def test_bytes_of_a_target_grow_while_it_answers(self):
        client = self.connect()
        self.exchange(client)
        client.write(GET)
        self.network.settle()
        self.answer(OK[:-1])
        self.assert_moved_by_target(2 * len(GET), 2 * len(OK) - 1)
        self.answer(OK[-1:])
        self.assert_moved_by_target(2 * len(GET), 2 * len(OK))

    def test_bytes_of_a_request_that_is_sent_again_count_for_its_last_target(self):
        client = self.connect()
        self.exchange(client)
        client.write(GET)
        self.network.settle()
        self.assert_moved_by_target(len(GET), len(OK))  # it may be sent again
        self.backend.connections[0].rst()
        self.network.settle()
        self.assert_moved_by_target(2 * len(GET), len(OK))
        self.answer()
        self.assert_moved_by_target(2 * len(GET), 2 * len(OK))

    def test_connections_to_targets_are_idle_or_active(self):
        self.assertNotIn("smartproxy_http_pool_connections{", self.page())
        for client in (self.connect(), self.connect()):
            self.exchange(client)
        busy = self.connect(80, GET)
        self.assert_shown(
            'smartproxy_http_pool_connections{group="web",state="active"} 1',
            'smartproxy_http_pool_connections{group="web",state="idle"} 0',
            'smartproxy_http_retries_total{group="web"} 0',
        )
        busy.rst()
        self.network.settle()
        self.exchange(self.connect())
        self.assert_shown(
            'smartproxy_http_pool_connections{group="web",state="active"} 0',
            'smartproxy_http_pool_connections{group="web",state="idle"} 1',
        )

    def test_a_request_that_is_sent_again_is_a_retry(self):
        client = self.connect()
        self.exchange(client)
        client.write(GET)
        self.network.settle()
        self.backend.connections[0].rst()
        self.network.settle()
        self.answer()
        self.assertEqual(client.received, OK * 2)
        self.assert_shown('smartproxy_http_retries_total{group="web"} 1')

    def test_series_end_with_their_route_and_group(self):
        """Also those of a route that only had requests of connections that another route was chosen for."""
        self.start(http_route("one", 81, path="/"), http_route("two", 81, path="/two"))
        client = self.connect(81, GET)
        self.answer()
        client.write(GET.replace(b"/ ", b"/two "))
        self.network.settle()
        self.update(http_route("one", 81, path="/"))
        self.network.run(20)
        self.assert_shown('smartproxy_http_requests_active{route="two"} 1')
        self.assertNotIn('smartproxy_http_retries_total{group="two"', self.page())
        self.answer()
        self.network.run(20)
        self.assert_shown('smartproxy_http_requests_active{route="two"} 0')
        client.fin()
        self.network.run(20)
        self.assertNotIn('"two"', self.page())


class ShownTests(HttpCase):
    def shown(self):
        (record,) = self.proxy.connections
        connection = views.connection(record, Moment.now())
        return [connection[key] for key in ("state", "requests", "request")]

    def test_a_connection_shows_its_request_and_how_many_it_had(self):
        client = self.connect()
        self.assertEqual(self.shown(), ["idle", 0, None])
        client.write(b"GET /a?b HTTP/1.1\r\nHost: a.test\r\n\r\n")
        self.network.settle()
        request = {"method": "GET", "host": "a.test", "path": "/a", "route": "web"}
        self.assertEqual(self.shown(), ["active", 0, request])
        self.answer()
        self.assertEqual(self.shown(), ["idle", 1, None])
        client.write(UPGRADE)
        self.network.settle()
        self.answer(SWITCHED)
        self.assertEqual(self.shown(), ["relaying", 2, request | {"host": "a", "path": "/ws"}])


class AccessLogTests(HttpCase):
    def setUp(self):
        super().setUp()
        self.path = self.mktemp()
        self.network.stop(self.proxy)
        self.start(http_route(), access_log={"path": self.path})

    def lines(self):
        return [json.loads(line) for line in self.written()]

    def written(self):
        self.network.run(1)
        self.proxy._runtime.accounting.close_log()
        return Path(self.path).read_text().splitlines()

    def test_each_exchange_has_a_line_and_their_connection_has_none(self):
        client = self.connect()
        request = b"POST /a?b HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\ty\r\nContent-Length: 3\r\n\r\nabc"
        self.exchange(client, request)
        self.exchange(client)
        client.fin()
        first, second = self.lines()
        self.assertEqual(
            (first["method"], first["host"], first["path"], first["status"]), ("POST", "a.test", "/a", 200)
        )
        self.assertEqual((first["requestBytes"], first["responseBytes"]), (len(request), len(OK)))
        self.assertEqual((first["reused"], second["reused"]), (False, True))
        self.assertEqual((first["route"], first["target"]), ("web", "10.0.0.5:9000"))
        self.assertEqual((first["userAgent"], first["referer"]), ("x\ty", None))
        self.assertNotEqual(first["requestId"], second["requestId"])
        self.assertEqual(first["id"], second["id"])

    def test_a_connection_without_exchange_has_a_line_of_its_own(self):
        self.connect().fin()
        (line,) = self.lines()
        self.assertEqual(line["outcome"], "normal")

    def test_a_refused_request_says_why(self):
        self.exchange(self.connect(), GET, b"SSH-2.0\r\n")
        self.assertEqual(
            [(line["status"], line["detail"]) for line in self.lines()], [(502, "not an HTTP/1 answer")]
        )

    def test_what_is_known_of_the_dial_and_the_answer_is_logged(self):
        client = self.connect()
        for seconds in (2, 1):
            client.write(GET)
            self.network.run(seconds)
            self.answer()
        first, second = self.lines()
        self.assertEqual((first["attempts"], second["attempts"]), (1, 0))
        self.assertIsNotNone(first["dialSeconds"])
        self.assertIsNone(second["dialSeconds"])
        self.assertAlmostEqual(first["firstByteSeconds"], 2.0, 1)
        self.assertAlmostEqual(second["durationSeconds"], 1.0, 1)

    def test_a_client_that_leaves_is_a_499(self):
        client = self.connect(80, GET)
        client.rst()
        self.network.settle()
        (line,) = self.lines()
        self.assertEqual((line["status"], line["detail"]), (499, "the client has left"))
        self.assertEqual((line["responseBytes"], line["firstByteSeconds"]), (0, None))

    def test_a_tunnel_has_one_line_when_it_ends(self):
        client = self.connect(80, UPGRADE)
        self.answer(SWITCHED)
        client.write(b"abc")
        self.network.run(5)
        self.assertEqual(Path(self.path).read_text(), "")
        self.answer(b"12345")
        client.fin()
        self.backend.connections[-1].fin()
        self.network.run(1)
        (line,) = self.lines()
        self.assertEqual((line["status"], line["detail"]), (101, None))
        self.assertEqual((line["requestBytes"], line["responseBytes"]), (len(UPGRADE) + 3, len(SWITCHED) + 5))
        self.assertGreater(line["durationSeconds"], 4)
        self.assertLess(line["firstByteSeconds"], 1)

    def test_a_tunnel_that_is_reset_says_so(self):
        client = self.connect(80, UPGRADE)
        self.answer(SWITCHED)
        client.rst()
        self.network.run(1)
        (line,) = self.lines()
        self.assertIn("reset", line["detail"])

    def test_a_request_that_is_refused_has_its_bytes_and_its_reason(self):
        request = GET[:-2] + b"Expect: 200-ok\r\n\r\n"
        client = self.connect(80, request)
        (line,) = self.lines()
        self.assertEqual(
            (line["status"], line["route"], line["detail"]), (417, None, "Expect other than 100-continue")
        )
        self.assertEqual((line["requestBytes"], line["responseBytes"]), (len(request), len(client.received)))
        self.assertEqual((line["target"], line["attempts"], line["reused"]), (None, 0, False))

    def test_a_line_fits_in_a_write_to_a_pipe_whatever_a_client_sends(self):
        """A longer one is dropped, so a client could keep its requests out of the log."""
        path, other, quotes = b'/"' + b"\\" * 800, b"\xff" * 800, b'"' * 800
        for agent, referer in ((other, other), (quotes, b"x" * 300 + other), (b"x" * 512, b"")):
            fields = b"User-Agent: %b\r\nReferer: %b\r\n\r\n" % (agent, referer)
            self.exchange(self.connect(), GET[:-2].replace(b"/", path, 1) + fields)
        self.assertLess(max(map(len, self.written())), select.PIPE_BUF)
        hostile, _, plain = self.lines()
        self.assertEqual(hostile["userAgent"], "\xff" * 85)
        self.assertTrue(path.startswith(hostile["path"].encode()))
        self.assertEqual(plain["userAgent"], "x" * 512)

    def test_relay_is_that_of_each_exchange(self):
        """``splice`` where a body or a tunnel was moved by the kernel, and null for all others."""
        client = self.connect()
        self.exchange(client)
        owner = self.proxy.connections[0].owner
        client.write(GET)
        self.network.settle()
        owner.answer_moved(0)
        self.assertEqual(self.proxy.connections[0].relay, RelayKind.SPLICE)
        self.answer()
        self.exchange(client)
        self.assertEqual([line["relay"] for line in self.lines()], [None, "splice", None])
