"""Connections of removed routes: how long they have, and who is left alone."""

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
        self.stays = route("stays", 80)
        self.goes = route("goes", 81, domains=["a.example"])
        self.proxy = self.network.start(
            Settings(
                routes=[self.stays, self.goes],
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

    def test_a_route_that_is_back_in_time_has_never_been_away(self):
        client = self.connect()
        self.update(self.stays)
        self.network.run(5)
        self.update(self.stays, self.goes)
        self.network.run(30)
        self.assertFalse(client.gone)

    def test_one_that_is_removed_again_has_its_time_again(self):
        client = self.connect()
        self.update(self.stays)
        self.network.run(5)
        self.update(self.stays, self.goes)
        self.network.run(8)
        self.update(self.stays)
        self.network.run(9)
        self.assertFalse(client.gone)
        self.network.run(2)
        self.assertTrue(client.was_reset)

    def test_who_was_on_the_way_to_it_does_not_stay_either(self):
        client = self.connect(b"GET /")
        self.update(self.stays)
        self.network.run(20)
        client.write(b" HTTP/1.1\r\nHost: a.example\r\n\r\n")
        self.network.run(2)
        self.assertTrue(client.was_reset)
        self.assertEqual(self.proxy.counters.route("goes").closed, {CloseReason.ROUTE_REMOVED: 1})

    def test_when_nobody_can_come_any_more_nobody_is_looked_for(self):
        self.connect()
        self.update(self.stays)
        self.network.run(20)
        self.assertEqual(len(self.proxy._runtime.clocks.deadlines), 0)

    def test_each_is_ended_by_itself_so_that_many_do_not_hold_up_the_others(self):
        clients = [self.connect() for _ in range(20)]
        set_ = []

        class Deadlines:
            def call_later(self, seconds, call):
                set_.append((seconds, call))

        removed = RemovedRoutes(self.proxy.registry, Deadlines(), self.network.seconds, lambda: {"stays"})
        removed.remove({"goes"}, 10.0)
        ((seconds, due),) = set_
        due()
        self.network.settle()
        self.assertEqual((seconds, [client.gone for client in clients]), (10.0, [False] * 20))
        self.assertEqual([seconds for seconds, _ in set_[1:]], [0.0] * 20)
        for _, end in set_[1:]:
            end()
        self.network.settle()
        self.assertEqual([client.was_reset for client in clients], [True] * 20)
