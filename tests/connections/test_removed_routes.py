"""Connections of removed routes are closed after the grace, and no others."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.removed_routes import RemovedRoutes
from smartproxy.model.outcome import CloseReason
from smartproxy.settings import Route, Settings
from smartproxy.testing import MemoryNetwork

REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


def route(name, ports, **match):
    action = {"type": "handler", "handler": "smartproxy.serving.ready:echo"}
    return Route(name=name, match={"ports": ports, **match}, action=action)


class RemovedRoutesTests(SynchronousTestCase):
    def setUp(self):
        self.network = MemoryNetwork()
        self.kept = route("kept", 80)
        self.removed = route("removed", 81, domains=["a.example"])
        self.proxy = self.network.start(
            Settings(
                routes=[self.kept, self.removed],
                acceleration="off",
                graceful_shutdown_timeout="10s",
                initial_data_timeout="60s",
            )
        )
        self.addCleanup(lambda: self.network.stop(self.proxy))

    def update(self, *routes):
        self.network.result(self.proxy.update_routes(routes))

    def connect(self, said=REQUEST):
        client = self.network.connect(81)
        client.write(said)
        self.network.settle()
        return client

    def test_route_added_again_in_time_keeps_its_connections(self):
        client = self.connect()
        self.update(self.kept)
        self.network.run(5)
        self.update(self.kept, self.removed)
        self.network.run(30)
        self.assertFalse(client.gone)

    def test_route_removed_again_gets_the_whole_grace_again(self):
        client = self.connect()
        self.update(self.kept)
        self.network.run(5)
        self.update(self.kept, self.removed)
        self.network.run(8)
        self.update(self.kept)
        self.network.run(9)
        self.assertFalse(client.gone)
        self.network.run(2)
        self.assertTrue(client.was_reset)

    def test_connection_routed_after_the_removal_is_closed(self):
        """It keeps the configuration that it was accepted with, so it can still get the removed route."""
        client = self.connect(b"GET /")
        self.update(self.kept)
        self.network.run(20)
        client.write(b" HTTP/1.1\r\nHost: a.example\r\n\r\n")
        self.network.run(2)
        self.assertTrue(client.was_reset)
        self.assertEqual(self.proxy.counters.route("removed").closed, {CloseReason.ROUTE_REMOVED: 1})

    def test_route_removed_again_in_time_gets_the_whole_grace_again(self):
        """The deadline of the first removal must not end them."""
        client = self.connect()
        self.update(self.kept)
        self.network.run(4)
        self.update(self.kept, self.removed)
        self.network.run(4)
        self.update(self.kept)
        self.network.run(9)
        self.assertFalse(client.gone)
        self.network.run(2)
        self.assertTrue(client.was_reset)

    def test_late_connection_of_a_route_that_was_added_again_is_kept(self):
        client = self.connect(b"GET /")
        self.update(self.kept)
        self.network.run(20)
        self.update(self.kept, self.removed)
        client.write(b" HTTP/1.1\r\nHost: a.example\r\n\r\n")
        self.network.run(20)
        self.assertFalse(client.gone)

    def test_only_connections_without_a_route_are_checked_again(self):
        """A look at 100,000 connections every second, because of one slow client, would take 10 ms of each."""
        self.connect()
        slow = self.connect(b"GET /")
        self.update(self.kept)
        self.network.run(11)
        looks = []

        class Counted(dict):
            def values(self):
                looks.append(self)
                return super().values()

        self.proxy.registry.live = Counted(self.proxy.registry.live)
        self.network.run(30)
        self.assertEqual(looks, [])
        self.assertFalse(slow.gone)

    def test_no_deadline_is_left_once_all_are_closed(self):
        self.connect()
        self.update(self.kept)
        self.network.run(20)
        self.assertEqual(len(self.proxy._runtime.clocks.deadlines), 0)

    def test_each_connection_is_closed_by_its_own_deadline(self):
        """Deadlines run in slices: closing thousands at once would block the reactor."""
        clients = [self.connect() for _ in range(20)]
        scheduled = []

        class Deadlines:
            def call_later(self, seconds, call):
                scheduled.append((seconds, call))

        removed = RemovedRoutes(self.proxy.registry, Deadlines(), self.network.seconds, lambda: {"kept"})
        removed.remove({"removed"}, 10.0)
        ((seconds, due),) = scheduled
        due()
        self.network.settle()
        self.assertEqual((seconds, [client.gone for client in clients]), (10.0, [False] * 20))
        self.assertEqual([seconds for seconds, _ in scheduled[1:]], [0.0] * 20)
        for _, end in scheduled[1:]:
            end()
        self.network.settle()
        self.assertEqual([client.was_reset for client in clients], [True] * 20)
