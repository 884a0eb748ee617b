"""Building the running objects of a compiled configuration."""

from __future__ import annotations

import select
from dataclasses import replace

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.net.dial import PollerDialer, ReactorDialer
from smartproxy.proxy.assembly import Paths
from smartproxy.proxy.given import Given, Indexes
from smartproxy.proxy.runtime import Runtime
from smartproxy.relays import splice
from smartproxy.routing.table import RouteTable
from smartproxy.tls.material import TlsMaterial
from tests.reactors import watch_no_descriptors
from tests.sessions.memory_proxy import route, settings


def compiled_plan(accelerated):
    return settings(acceleration="auto" if accelerated else "off").compile()


class RuntimeTests(SynchronousTestCase):
    def runtime(self, reactor=None, *, accelerated=True):
        runtime = Runtime(compiled_plan(accelerated), reactor or MemoryReactorClock())
        if runtime.sockets.poller is not None:
            self.addCleanup(runtime.sockets.poller.stop)
        return runtime

    def test_accelerated_runtime_has_a_poller_and_pipes(self):
        runtime = self.runtime()
        self.assertIsNotNone(runtime.sockets.poller)
        self.assertIsNotNone(runtime.sockets.pipes)
        self.assertIsInstance(runtime.sockets.dialer, PollerDialer)

    def test_unaccelerated_runtime_has_a_poller_and_no_pipes(self):
        """The poller is no acceleration: without it, the same bytes cost twice as much."""
        self.patch(splice, "supported", lambda: self.supported)
        for self.supported, accelerated in ((True, False), (False, True)):
            runtime = self.runtime(accelerated=accelerated)
            self.assertIsNotNone(runtime.sockets.poller)
            self.assertIsNone(runtime.sockets.pipes)
            self.assertIsInstance(runtime.sockets.dialer, PollerDialer)

    def test_reactor_that_watches_no_descriptors_uses_its_own_sockets(self):
        watch_no_descriptors(self)
        for accelerated in (True, False):
            self.assert_reactors_sockets(self.runtime(accelerated=accelerated))

    def test_system_without_epoll_uses_the_reactors_sockets(self):
        self.patch(select, "epoll", None)
        del select.epoll
        self.assert_reactors_sockets(self.runtime())

    def assert_reactors_sockets(self, runtime):
        self.assertEqual((runtime.sockets.poller, runtime.sockets.pipes), (None, None))
        self.assertIsInstance(runtime.sockets.dialer, ReactorDialer)

    def test_stopped_runtime_leaves_nothing_in_the_reactor(self):
        reactor = MemoryReactorClock()
        runtime = Runtime(compiled_plan(True), reactor)
        runtime.start()
        self.assertTrue(reactor.getDelayedCalls())
        self.assertEqual(reactor.readers, {runtime.sockets.poller})
        runtime.stop()
        self.assertEqual((reactor.getDelayedCalls(), reactor.readers), ([], set()))


class PathsTests(SynchronousTestCase):
    def test_making_a_path_does_not_look_at_every_route(self):
        """A reload makes one for every port: with 1,000 routes on 10,000 ports that would be ten million looks."""
        looks = []

        class Counted(tuple):
            __slots__ = ()

            def __iter__(self):
                looks.append(self)
                return super().__iter__()

        routes = [
            route(f"r{number}", match={"ports": "8000-8999", "domains": [f"{number}.test"]})
            for number in range(3)
        ]
        plan = settings(routes=routes).compile()
        plan = replace(plan, routes=Counted(plan.routes))
        paths = Paths(plan, Runtime(plan, MemoryReactorClock()), lambda: False)
        before = len(looks)
        for port in range(8000, 8999):
            paths.path("", port)
        self.assertEqual(len(looks), before)

    def test_given_indexes_are_used_once_and_for_their_configuration(self):
        """Workers share those that were made before the fork; after a reload they would only take memory."""
        plan = settings(routes=[route("one", match={"ports": 8000})]).compile()
        material = TlsMaterial()
        indexes = Indexes(RouteTable(plan.routes), material.prepare(plan))
        runtime = Runtime(plan, MemoryReactorClock(), Given(plan, material, indexes=indexes))
        other = Paths(replace(plan), runtime, lambda: False)
        first, second = (Paths(plan, runtime, lambda: False) for _ in range(2))
        self.assertEqual((first.table, first.contexts), indexes)
        for paths in (other, second):
            self.assertIsNot(paths.table, indexes.table)
            self.assertIsNot(paths.contexts, indexes.contexts)

    def test_without_given_contexts_a_process_makes_its_own(self):
        plan = settings(routes=[route("one", match={"ports": 8000})]).compile()
        indexes = Indexes(RouteTable(plan.routes), None)
        runtime = Runtime(plan, MemoryReactorClock(), Given(plan, TlsMaterial(), indexes=indexes))
        self.assertIsNotNone(Paths(plan, runtime, lambda: False).contexts)

    def detect(self, *routes, port=8080):
        runtime = Runtime(compiled_plan(False), MemoryReactorClock())
        plan = settings(routes=list(routes), initialDataTimeout="45s").compile()
        return Paths(plan, runtime, lambda: False).path("", port).detect

    def test_detection_is_off_where_no_route_of_the_port_needs_it(self):
        named = route("named", match={"domains": ["a.example"]})
        self.assertTrue(self.detect(named)._needed)
        self.assertFalse(self.detect(route())._needed)
        self.assertFalse(self.detect(named, route("other", port=81), port=81)._needed)

    def test_initial_timeout_is_the_longest_of_the_ports_routes(self):
        first = route("a", match={"domains": ["a.example"]}, initialDataTimeout="10s")
        second = route("b", match={"domains": ["b.example"]}, initialDataTimeout="20s")
        self.assertEqual(self.detect(first, second)._timeout, 20.0)
        self.assertEqual(self.detect(first, route("rest", initialDataTimeout="90s"))._timeout, 10.0)
        self.assertEqual(self.detect(route("c", match={"domains": ["c.example"]}))._timeout, 45.0)

    def test_route_with_timeout_0_disables_the_ports_timeout(self):
        first = route("a", match={"domains": ["a.example"]}, initialDataTimeout="10s")
        second = route("b", match={"domains": ["b.example"]}, initialDataTimeout=0)
        self.assertEqual(self.detect(first, second)._timeout, 0.0)

    def test_unique_ids_differ_across_reloads(self):
        runtime = Runtime(compiled_plan(False), MemoryReactorClock())
        plan = settings().compile()
        made = set()
        for _ in range(2):
            unique = Paths(plan, runtime, lambda: False).path("", 8080).send_proxy_header._unique
            made |= {unique() for _ in range(100)}
        self.assertEqual(len(made), 200)
        self.assertLessEqual(max(map(len, made)), 128)  # PP2_TYPE_UNIQUE_ID, section 2.2.4
