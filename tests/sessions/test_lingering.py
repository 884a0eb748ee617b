"""Refused clients that do not close: their sockets count, and nobody is shut out by them."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.net.half_close import LINGER
from tests.sessions.house import House, route

REQUEST = b"GET /nothing HTTP/1.1\r\nHost: a.example\r\n\r\n"
LIMIT = 5


class FloodTests(SynchronousTestCase):
    def flooded(self, count, **more):
        """A proxy whose clients are refused by a 404, and read it without closing."""
        house = House(self, routes=[route(match={"path": "/api"})], **more)
        clients = []
        for _ in range(count):
            clients.append(house.client("192.0.2.66"))
            clients[-1].write(REQUEST)
            house.settle()
        for client in clients:
            self.assertTrue(client.received.startswith(b"HTTP/1.1 404 "))
        return house, clients

    def held(self, house):
        return sum(transport.connected for transport in house.ends)

    def test_sockets_do_not_exceed_max_connections(self):
        house, _ = self.flooded(LIMIT * 4, maxConnections=LIMIT)
        self.assertEqual((self.held(house), house.proxy.status()["lingering"]), (LIMIT, LIMIT))
        self.assertEqual(house.rejected(), {"no_route": LIMIT * 4})

    def test_live_connections_take_the_place_of_those_that_linger(self):
        house, _ = self.flooded(LIMIT * 4, maxConnections=LIMIT)
        for live in range(1, LIMIT + 1):
            house.client("198.51.100.1").write(REQUEST.replace(b"nothing", b"api"))
            house.settle()
            house.backend()
            self.assertEqual(house.proxy.registry.active, live)
            self.assertEqual(house.proxy.status()["lingering"], LIMIT - live)
        house.client("198.51.100.1")
        self.assertEqual(house.rejected()["global_limit"], 1)

    def test_without_max_connections_they_are_bounded_too(self):
        house, _ = self.flooded(0)
        house.proxy._runtime.lingering.most = LIMIT
        flood = [house.client("192.0.2.66") for _ in range(LIMIT * 4)]
        for client in flood:
            client.write(REQUEST)
            house.settle()
        self.assertEqual(house.proxy.status()["lingering"], LIMIT)
        house.pass_time(LINGER + 0.2)
        self.assertEqual(self.held(house), 0)

    def test_bound_holds_over_a_reload(self):
        house, _ = self.flooded(LIMIT, maxConnections=LIMIT)
        self.successResultOf(house.proxy.update_routes([route(match={"path": "/other"})]))
        house.client("198.51.100.1")
        self.assertEqual((self.held(house), house.proxy.status()["lingering"]), (LIMIT, LIMIT - 1))

    def test_stop_leaves_no_socket(self):
        house, clients = self.flooded(LIMIT)
        stopped = house.proxy.stopService()
        house.settle()
        self.successResultOf(stopped)
        self.assertEqual([client.was_reset for client in clients], [True] * LIMIT)
        self.assertEqual(self.flushLoggedErrors(ConnectionDone), [])
