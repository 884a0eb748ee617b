"""Refused clients that do not close: their sockets count, and nobody is shut out by them."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.net.half_close import LINGER
from tests.sessions.memory_proxy import MemoryProxy, route

REQUEST = b"GET /nothing HTTP/1.1\r\nHost: a.example\r\n\r\n"
LIMIT = 5


class FloodTests(SynchronousTestCase):
    def flooded(self, count, **more):
        """A proxy whose clients are refused by a 404, and read it without closing."""
        proxy = MemoryProxy(self, routes=[route(match={"path": "/api"})], **more)
        clients = []
        for _ in range(count):
            clients.append(proxy.client("192.0.2.66"))
            clients[-1].write(REQUEST)
            proxy.settle()
        for client in clients:
            self.assertTrue(client.received.startswith(b"HTTP/1.1 404 "))
        return proxy, clients

    def held(self, proxy):
        return sum(transport.connected for transport in proxy.ends)

    def test_sockets_do_not_exceed_max_connections(self):
        proxy, _ = self.flooded(LIMIT * 4, maxConnections=LIMIT)
        self.assertEqual((self.held(proxy), proxy.service.status()["lingering"]), (LIMIT, LIMIT))
        self.assertEqual(proxy.rejected(), {"no_route": LIMIT * 4})

    def test_live_connections_take_the_place_of_those_that_linger(self):
        proxy, _ = self.flooded(LIMIT * 4, maxConnections=LIMIT)
        for live in range(1, LIMIT + 1):
            proxy.client("198.51.100.1").write(REQUEST.replace(b"nothing", b"api"))
            proxy.settle()
            proxy.backend()
            self.assertEqual(proxy.service.registry.active, live)
            self.assertEqual(proxy.service.status()["lingering"], LIMIT - live)
        proxy.client("198.51.100.1")
        self.assertEqual(proxy.rejected()["global_limit"], 1)

    def test_without_max_connections_they_are_bounded_too(self):
        proxy, _ = self.flooded(0)
        proxy.service._runtime.lingering.most = LIMIT
        flood = [proxy.client("192.0.2.66") for _ in range(LIMIT * 4)]
        for client in flood:
            client.write(REQUEST)
            proxy.settle()
        self.assertEqual(proxy.service.status()["lingering"], LIMIT)
        proxy.pass_time(LINGER + 0.2)
        self.assertEqual(self.held(proxy), 0)

    def test_bound_holds_over_a_reload(self):
        proxy, _ = self.flooded(LIMIT, maxConnections=LIMIT)
        self.successResultOf(proxy.service.update_routes([route(match={"path": "/other"})]))
        proxy.client("198.51.100.1")
        self.assertEqual((self.held(proxy), proxy.service.status()["lingering"]), (LIMIT, LIMIT - 1))

    def test_stop_leaves_no_socket(self):
        proxy, clients = self.flooded(LIMIT)
        stopped = proxy.service.stopService()
        proxy.settle()
        self.successResultOf(stopped)
        self.assertEqual([client.was_reset for client in clients], [True] * LIMIT)
        self.assertEqual(self.flushLoggedErrors(ConnectionDone), [])
