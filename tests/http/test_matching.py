"""The route of each request on a connection, by what its head has."""

from __future__ import annotations

import re

from smartproxy.metrics.families import families
from smartproxy.metrics.prometheus import exposition
from tests.http.case import HttpCase, http_route


class MatchingTests(HttpCase):
    def setUp(self):
        super().setUp()
        self.start(
            http_route("rest", 81),
            http_route("debug", 81, query={"debug": "1"}),
            http_route("write", 81, methods=["PUT", "POST"]),
            http_route("staging", 81, headers={"X-Env": "staging"}),
            http_route("user", 81, path="/users/:id"),
        )

    def test_each_request_of_a_connection_has_a_route_of_its_own(self):
        client = self.connect(81)
        for line, fields, expected in (
            ("GET /", "", "rest"),
            ("GET /?a=2&debug=%31", "", "debug"),
            ("GET /?debug=11", "", "rest"),
            ("POST /", "", "write"),
            ("GET /", "x-env: staging\r\n", "staging"),
            ("GET /users/7", "", "user"),
            ("GET /users/7/x", "", "rest"),
        ):
            request = f"{line} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 0\r\n\r\n"
            before = [len(each.received) for each in self.backend.connections]
            client.write(request.encode())
            self.network.settle()
            after = [len(each.received) for each in self.backend.connections]
            asked = [number for number, size in enumerate(after) if size not in before[number : number + 1]]
            self.answer(number=asked[0])
            self.assertEqual(self.routes_counted(), [expected], line)
        self.assertFalse(client.ended)

    def routes_counted(self):
        """The routes of the requests since the last call."""
        page = b"".join(exposition(families(self.proxy.registry, self.proxy.counters))[0]).decode()
        before, self.seen = self.seen, set(re.findall(r"(?m)^smartproxy_http_requests_total.*", page))
        return [re.search(r'route="(\w+)"', line)[1] for line in self.seen - before]

    seen: frozenset[str] = frozenset()
