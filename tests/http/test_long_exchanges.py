"""Tunnels and long answers, when their route is removed or their target goes down."""

from __future__ import annotations

from tests.http.case import GET, SWITCHED, UPGRADE, http_route
from tests.http.test_route_of_a_request import asking, body, saying
from tests.on_network import NetworkTestCase


class WhenDownTests(NetworkTestCase):
    def test_tunnel_ends_with_its_target(self):
        self.start(http_route(action={"healthCheck": {"interval": "1s", "fall": 1}, "whenDown": "reset"}))
        tunnel = self.connect(said=UPGRADE)
        next(end for end in self.backend.connections if end.received).write(SWITCHED)
        self.network.settle()
        self.backend.close()
        self.network.run(10)
        self.assertEqual(self.proxy.groups.targets("web")[0].state, "down")
        self.assertTrue(tunnel.gone)

    def test_thousands_of_sessions_are_ended_in_slices(self):
        """To end each takes 30 microseconds or more, and nothing else is served meanwhile."""
        self.start(http_route())
        clients = [self.connect(said=GET) for _ in range(3)]
        self.proxy._runtime.targets._end_sessions(self.proxy.connections[0].member_in_use)
        self.network.settle()
        self.assertEqual([client.received for client in clients], [b""] * 3)
        clients[0].rst()
        self.network.run(0.3)
        for client in clients[1:]:
            self.assertTrue(client.received.startswith(b"HTTP/1.1 502 "), client.received)

    def test_request_without_an_answer_gets_502(self):
        self.start(http_route(action={"healthCheck": {"interval": "1s", "fall": 1}, "whenDown": "reset"}))
        client = self.connect(said=GET)
        asked = next(end for end in self.backend.connections if end.received)
        self.backend.close()
        self.network.run(10)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 502 "), client.received)
        self.assertFalse(client.ended or client.gone)
        self.assertTrue(asked.was_reset)

    def test_answer_ends_with_its_target(self):
        self.start(http_route(action={"healthCheck": {"interval": "1s", "fall": 1}, "whenDown": "reset"}))
        client = self.connect(said=GET)
        next(end for end in self.backend.connections if end.received).write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"
        )
        self.network.settle()
        self.backend.close()
        self.network.run(10)
        self.assertTrue(client.was_reset)


class LaterRouteTests(NetworkTestCase):
    """Connections whose first request had another route than the one under way."""

    def setUp(self):
        super().setUp()
        self.first, self.tunnels = saying("first", match={"path": "/first"}), http_route("ws", path="/ws")
        self.start(self.first, self.tunnels, graceful_shutdown_timeout="5s")
        self.client = self.connect(said=asking("/first"))
        self.client.write(UPGRADE)
        self.network.settle()
        self.backend.connections[-1].write(SWITCHED)
        self.network.settle()

    def test_tunnel_of_a_route_that_stays(self):
        self.update(self.tunnels)
        self.network.run(10)
        self.assertFalse(self.client.gone)

    def test_tunnel_of_a_route_that_was_removed(self):
        self.update(self.first)
        self.network.run(10)
        self.assertTrue(self.client.gone)

    def test_request_under_way_of_a_route_that_stays(self):
        stays = http_route("b", path="/b")
        self.update(self.first, stays)
        self.client = self.connect(said=asking("/first"))
        self.client.write(asking("/b"))
        self.network.settle()
        self.backend.connections[-1].write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        self.network.settle()
        self.update(stays)
        for _ in range(10):
            self.network.run(1)
            self.backend.connections[-1].write(b"x")
            self.network.settle()
        self.assertEqual(body(self.client.received), b"x" * 10)
