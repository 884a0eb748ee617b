"""Thousands of requests of all kinds, and every byte of them: in the totals, by route, by client and in the access log.

The test's clients count what they send and receive. Each request is followed to its end before the next one is answered, so that
what was moved meanwhile is known to be of its route.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from random import Random

from smartproxy import Route
from smartproxy.metrics.totals import by_route
from tests.http.case import OK, SWITCHED, HttpCase
from tests.on_network import HOST

#: ``make soak`` has 10,000.
REQUESTS = int(os.environ.get("SMARTPROXY_HTTP_REQUESTS", "2500"))
_CLIENTS = [f"192.0.2.{n}" for n in range(1, 8)]
_ROUTES = ("one", "two", "three")
_UNFINISHED = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"


def _route(name, *, port=9000, http=None, security=None):
    action = {"targets": [{"host": HOST, "port": port}], "protocol": "http", "http": http or {}}
    match = {"ports": 80, "path": f"/{name}/*"}
    return Route(name=name, match=match, action=action, security=security or {})


def _request(route, *fields, method=b"GET", body=b""):
    line = b"%b /%b/x HTTP/1.1" % (method, route.encode())
    return b"\r\n".join([line, b"Host: a.test", *fields, b"", b""]) + body


def _chunked(body):
    return (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"


class Visitor:
    """A client's connection, which counts what it has sent and received for each route in the case's book.

    :ivar first: the route of its first request, for which requests without a route count.
    :ivar last: the route of its last request, for which a malformed one counts.
    """

    def __init__(self, case, number):
        self.ip = _CLIENTS[number % len(_CLIENTS)]
        self.end = case.network.connect(80, client=(self.ip, 10_000 + number % 50_000))
        self.first = self.last = None
        self._case = case
        self._seen = 0

    def send(self, data, route, counted=None):
        """Send ``data``, of which ``counted`` bytes count for ``route``."""
        self.first = self.first or route
        self.last = route
        self.end.write(data)
        self._case.network.settle()
        self.count(route, len(data) if counted is None else counted)

    def count(self, route, sent=0):
        """What was received since the last call is of ``route``."""
        received = len(self.end.received) - self._seen
        self._seen += received
        for key in (route, self.ip, "total"):
            self._case.book[key, "received"] += sent
            self._case.book[key, "sent"] += received

    @property
    def is_over(self):
        return self.end.ended or self.end.gone


class AccountingTests(HttpCase):
    def setUp(self):
        super().setUp()
        self.network.stop(self.proxy)
        self.log = self.mktemp()
        routes = [_route(name) for name in _ROUTES]
        routes.append(_route("small", http={"max_body_size": 10}))
        routes.append(_route("down", port=1))
        routes.append(_route("closed", security={"ip_allow_list": ["10.0.0.0/8"]}))
        self.start(*routes, access_log={"path": self.log})
        self.random = Random(20)
        self.book = Counter()
        self.visitors = 0

    def test_every_byte_is_counted_once_everywhere(self):
        kinds = [
            self.plain, self.plain, self.chunked, self.until_close, self.without_body, self.early_hints, self.pipelined,
            self.cut, self.refused, self.unreachable, self.without_route, self.malformed, self.left, self.repeated,
            self.tunnel, self.too_large, self.old,
        ]  # fmt: skip
        done, visitor = 0, None
        while done < REQUESTS:
            if visitor is None or visitor.is_over or self.random.random() < 0.05:
                self.finish(visitor)
                self.visitors += 1
                visitor = Visitor(self, self.visitors)
            done += self.random.choice(kinds)(visitor, self.random.choice(_ROUTES)) or 1
        self.finish(visitor)
        self.assert_agrees()

    def test_tunnel_of_another_route_than_the_first(self):
        visitor = Visitor(self, 1)
        self.plain(visitor, "one")
        self.tunnel(visitor, "two", finish=False)
        self.assert_agrees(is_logged=False)
        self.backend.connections[-1].fin()
        self.finish(visitor)
        self.assert_agrees()

    def test_series_of_a_removed_route_wait_for_its_shares(self):
        visitor = Visitor(self, 1)
        self.plain(visitor, "one")
        self.plain(visitor, "two")
        self.update(_route("one"))
        self.network.run(60)
        before = self.book["two", "sent"]
        self.assertEqual(self.moved()["two"], (self.book["two", "received"], before))
        self.finish(visitor)
        self.network.run(1)
        self.assertEqual(self.moved()["two"], (self.book["two", "received"], before))
        self.network.run(60)
        self.assertNotIn("two", self.moved())

    def test_meters_of_routes_follow_a_change_of_metrics(self):
        visitor = Visitor(self, 1)
        self.plain(visitor, "one")
        self.plain(visitor, "two")
        meters = self.proxy.registry.meters
        self.proxy.registry.measure(None)
        self.plain(visitor, "two")
        counted = meters.routes.of("two").received
        self.proxy.registry.measure(meters)
        self.plain(visitor, "two")
        self.assertGreater(meters.routes.of("two").received, counted)

    # -- the kinds of requests -----------------------------------------------------------------------------

    def body(self):
        return self.random.randbytes(self.random.choice([0, 1, 100, 3000]))

    def asked(self):
        """The connections to the target on which a request waits for its answer."""
        open_ones = (each for each in self.backend.connections if not each.gone)
        return [each for each in open_ones if len(each.received) > getattr(each, "seen", 0)]

    def answer_to(self, visitor, route, *parts):
        """The target answers; what the client gets is of ``route``."""
        (target,) = self.asked()
        target.seen = len(target.received)
        for part in parts:
            target.write(part)
            self.network.settle()
        visitor.count(route)
        return target

    def plain(self, visitor, route):
        body, answer = self.body(), self.body()
        visitor.send(_request(route, b"Content-Length: %d" % len(body), method=b"POST", body=body), route)
        self.answer_to(visitor, route, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer), answer)

    def chunked(self, visitor, route):
        coding = b"Transfer-Encoding: chunked"
        visitor.send(_request(route, coding, method=b"PUT", body=_chunked(self.body())), route)
        self.answer_to(visitor, route, b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % coding, _chunked(self.body()))

    def until_close(self, visitor, route):
        visitor.send(_request(route), route)
        target = self.answer_to(visitor, route, b"HTTP/1.1 200 OK\r\n\r\n" + self.body())
        target.fin()
        self.network.settle()
        visitor.count(route)

    def without_body(self, visitor, route):
        method, status = self.random.choice([(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
        visitor.send(_request(route, method=method), route)
        length = b"" if status == 204 else b"Content-Length: 77\r\n"
        self.answer_to(visitor, route, b"HTTP/1.1 %d x\r\n%b\r\n" % (status, length))

    def early_hints(self, visitor, route):
        visitor.send(_request(route), route)
        self.answer_to(visitor, route, b"HTTP/1.1 103 x\r\nLink: </a>\r\n\r\n", OK)

    def pipelined(self, visitor, route):
        """Each of them is counted when the former has been answered."""
        routes = [route, *self.random.choices(_ROUTES, k=3)]
        requests = [_request(each) for each in routes]
        visitor.send(b"".join(requests), route, len(requests[0]))
        for number, each in enumerate(routes):
            if number:
                visitor.count(each, len(requests[number]))
            self.answer_to(visitor, each, OK)
        visitor.last = routes[-1]
        return len(routes)

    def cut(self, visitor, route):
        visitor.send(_request(route), route)
        target = self.answer_to(visitor, route, _UNFINISHED)
        target.fin()
        self.network.settle()
        visitor.count(route)

    def refused(self, visitor, route):
        """It has a route that does not admit the client, and counts for that."""
        if visitor.first is not None:
            visitor.send(_request("closed"), "closed")

    def without_route(self, visitor, route):
        if visitor.first is not None:
            visitor.send(_request("none"), visitor.first)

    def unreachable(self, visitor, route):
        visitor.send(_request("down"), "down")

    def too_large(self, visitor, route):
        visitor.send(_request("small", b"Content-Length: 11", method=b"POST"), "small")

    def malformed(self, visitor, route):
        """It has no route, and so counts for that of the request before it."""
        if visitor.first is not None and not visitor.is_over:
            visitor.send(_request(route, b"X : y"), visitor.last)

    def left(self, visitor, route):
        visitor.send(_request(route), route)
        visitor.end.rst()
        self.network.settle()

    def repeated(self, visitor, route):
        """The target closes a connection as it is used again."""
        self.plain(visitor, route)
        visitor.send(_request(route), route)
        (target,) = self.asked()
        target.rst()
        self.network.settle()
        self.answer_to(visitor, route, OK)
        return 2

    def tunnel(self, visitor, route, *, finish=True):
        visitor.send(_request(route, b"Connection: Upgrade", b"Upgrade: websocket"), route)
        target = self.answer_to(visitor, route, SWITCHED)
        for _ in range(3):
            visitor.send(self.body(), route)
            target.write(self.body())
            self.network.settle()
            visitor.count(route)
        target.seen = len(target.received)
        if finish:
            target.fin()
            visitor.end.fin()
            self.network.settle()

    def old(self, visitor, route):
        visitor.send(_request(route).replace(b"HTTP/1.1", b"HTTP/1.0"), route)
        self.answer_to(
            visitor, route, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _chunked(self.body())
        )

    # -- the books -------------------------------------------------------------------------------------------

    def finish(self, visitor):
        if visitor is not None and not visitor.is_over:
            visitor.end.fin()
            self.network.settle()
            visitor.count(visitor.first)
        self.backend.connections[:] = [each for each in self.backend.connections if not each.gone]

    def moved(self):
        return by_route(self.proxy.registry, self.proxy.counters)

    def pair(self, key):
        return self.book[key, "received"], self.book[key, "sent"]

    def assert_agrees(self, *, is_logged=True):
        self.network.run(5)
        self.assertEqual(self.proxy.metrics.totals()[:2], self.pair("total"))
        moved = {name: tuple(each) for name, each in self.moved().items() if any(each)}
        names = [*_ROUTES, "closed", "down", "small"]
        self.assertEqual(moved, {name: self.pair(name) for name in names if any(self.pair(name))})
        meters = self.proxy.registry.meters
        for name, each in moved.items():
            self.assertEqual((meters.routes.of(name).received, meters.routes.of(name).sent), each)
        for ip in _CLIENTS:
            of = meters.clients.of(ip)
            self.assertEqual((of.received, of.sent), self.pair(ip))
        if is_logged:
            self.proxy._runtime.accounting.close_log()
            lines = [json.loads(line) for line in Path(self.log).read_text().splitlines()]
            logged = [
                (
                    each.get("requestBytes", each["bytesReceived"]),
                    each.get("responseBytes", each["bytesSent"]),
                )
                for each in lines
            ]
            received, sent = map(sum, zip(*logged, strict=True))
            self.assertEqual((received, sent), self.pair("total"))
