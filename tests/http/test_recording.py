"""What is counted and logged of HTTP exchanges."""

from __future__ import annotations

import json
from pathlib import Path

from smartproxy.metrics.families import families
from smartproxy.metrics.prometheus import exposition
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


class AccessLogTests(HttpCase):
    def setUp(self):
        super().setUp()
        self.path = self.mktemp()
        self.network.stop(self.proxy)
        self.start(http_route(), access_log={"path": self.path})

    def lines(self):
        self.network.run(1)
        self.proxy._runtime.accounting.close_log()
        return [json.loads(line) for line in Path(self.path).read_text().splitlines()]

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
