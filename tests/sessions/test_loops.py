"""A route whose target is its own listener, in memory: the client is refused, and nothing is left."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.testing import MemoryNetwork
from tests.sessions.memory_proxy import route, settings


class LoopTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()

    def start(self, *routes, **more):
        proxy = self.network.start(settings(routes=list(routes), **more))
        self.addCleanup(self.network.stop, proxy)
        return proxy

    def test_loop_is_cut_at_its_second_turn(self) -> None:
        to_itself = {"targets": [{"host": "127.0.0.1", "port": 8080}]}
        proxy = self.start(route("web", action=to_itself))
        client = self.network.connect(8080)
        self.network.run(1)
        self.assertTrue(client.gone)
        totals = proxy.metrics.totals()
        self.assertEqual((totals.connections, proxy.registry.active), (2, 0))
        self.assertEqual(len(proxy._runtime.targets.loops), 0)

    def test_dial_that_fails_is_forgotten(self) -> None:
        """A target on the same port number of this machine that refuses."""
        to_other = {"targets": [{"host": "127.0.0.2", "port": 8080}]}
        proxy = self.start(route("web", match={"address": "127.0.0.1"}, action=to_other))
        self.network.connect(8080)
        self.network.run(1)
        self.assertEqual(len(proxy._runtime.targets.loops), 0)
