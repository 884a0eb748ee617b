"""What a connection keeps in memory while it waits for another request, or is a tunnel."""

from __future__ import annotations

from smartproxy.model.exchange import Exchange
from smartproxy.wire.http_fields import Fields
from tests.http.case import OK, SWITCHED, UPGRADE, AnswerCase, HttpCase, http_route
from tests.reachable import reachable

REQUEST = b"GET /a HTTP/1.1\r\nHost: a.test\r\nCookie: %b\r\n\r\n" % (b"c" * 60_000)


class KeptTests(HttpCase):
    def test_an_idle_connection_to_a_target_keeps_no_request(self):
        self.exchange(self.connect(), REQUEST)
        self.assertEqual(len(self.proxy._runtime.targets.pool), 1)
        self.network.run(3)  # the dial is not watched any more
        self.assertEqual(reachable(Exchange), [])

    def test_it_carries_the_next_request(self):
        for _ in range(2):
            client = self.connect()
            self.assertEqual(self.exchange(client, REQUEST), OK)
            client.fin()
            self.network.settle()
        self.assertEqual(len(self.backend.connections), 1)


class TunnelTests(AnswerCase):
    def test_a_tunnel_keeps_only_what_its_line_of_the_log_has(self):
        self.log_to(http_route())
        more = b"User-Agent: test\r\nReferer: there\r\nCookie: %b\r\n\r\n" % (b"c" * 60_000)
        client = self.connect(80, UPGRADE[:-2].replace(b"/ws", b"/ws" + b"p" * 1000) + more)
        self.answer(SWITCHED)
        self.network.run(3)
        (exchange,) = reachable(Exchange)
        self.assertEqual([each for each in reachable(Fields) if b"Cookie" in each.block], [])
        self.assertLess(
            len(exchange.terms.lines + exchange.head.target.encode() + exchange.head.path.encode()), 1000
        )
        client.rst()
        self.network.settle()
        (line,) = self.lines()
        shown = [line[key] for key in ("path", "status", "userAgent", "referer")]
        self.assertEqual(shown, ["/ws" + "p" * 509, 101, "test", "there"])
