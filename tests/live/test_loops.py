"""A target that is a listener of the proxy itself: the loop is cut at its second turn, whatever moves the bytes."""

from __future__ import annotations

from tests.live.backends import echo, page, read_to_end
from tests.live.case import LiveCase, route
from tests.live.client import connected
from tests.live.waiting import until


def own(port, host="127.0.0.1"):
    """A target: a listener of the proxy itself."""
    return {"host": host, "port": port}


class LoopCase(LiveCase):
    acceleration = "auto"

    def start(self, *routes, **keys):
        return self.proxy(*routes, acceleration=self.acceleration, **keys)

    def assert_cut(self, proxy, connections):
        """The client was answered or closed; ``connections`` were made for it, and none is left."""
        proxy.emptied()
        until(lambda: proxy.rejected("upstream_unreachable") == 1, "one refusal")
        self.assertEqual(proxy.metrics["connections"]["total"], connections)
        self.assertIn(
            "is a listener of this proxy, and the connection came back to the same route", proxy.printed
        )

    def ask(self, port, host="127.0.0.1"):
        with connected(port, host) as client:
            try:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return read_to_end(client)
            except ConnectionResetError:  # what a client gets whose protocol has no answer for it
                return b""

    def test_route_to_its_own_listener_costs_two_connections(self):
        front = self.port()
        proxy = self.start(route("loop", front, own(front)))
        self.ask(front)
        self.assert_cut(proxy, 2)

    def test_http_client_is_told_502(self):
        front = self.port()
        proxy = self.start(route("loop", front, own(front), protocol="http"))
        self.assertTrue(self.ask(front).startswith(b"HTTP/1.1 502 "))
        self.assert_cut(proxy, 2)

    def test_two_routes_that_lead_to_each_other(self):
        one, two = self.port(), self.port()
        proxy = self.start(route("one", one, own(two)), route("two", two, own(one)))
        self.ask(one)
        self.assert_cut(proxy, 3)

    def test_wildcard_localhost_and_ipv6_are_the_same_machine(self):
        for host in ("0.0.0.0", "localhost", "::1", "127.0.0.9"):
            front = self.port()
            loop = route("loop", front, own("preserve", host))
            proxy = self.start(loop)
            self.ask(front)
            self.assert_cut(proxy, 2)

    def test_next_target_is_tried_instead(self):
        """A working target beside the mistaken one serves every client."""
        front, backend = self.port(), self.backend(page("x"))
        proxy = self.start(route("loop", front, own(front), backend))
        for _ in range(4):
            self.assertIn(b"200", self.ask(front)[:20])
        proxy.emptied()
        self.assertEqual(proxy.rejected("upstream_unreachable"), 0)

    def test_one_route_may_hand_connections_to_another(self):
        front, behind, backend = self.port(), self.port(), self.backend(echo)
        proxy = self.start(route("front", front, own(behind)), route("behind", behind, backend))
        for _ in range(20):
            self.assert_echoes(self.connect(front))
        self.assertEqual(proxy.metrics["connections"]["total"], 40)
        self.assertEqual(proxy.rejected("upstream_unreachable"), 0)


class AcceleratedLoopTests(LoopCase):
    """Sockets watched by the poller."""


class UnacceleratedLoopTests(LoopCase):
    """Twisted's transports: they connect in a later iteration of the event loop."""

    acceleration = "off"


del LoopCase  # it is no test of its own
