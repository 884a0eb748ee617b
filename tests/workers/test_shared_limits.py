"""Limits over several processes: exact in every order of their steps, given back once, and kept by a reload."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import Refused
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted, Announced, Detected, Routed
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.model.plan import GroupPlan, MatchPlan, ProxyPlan, RoutePlan, TargetPlan
from smartproxy.proxy.assembly import Paths
from smartproxy.proxy.given import Given
from smartproxy.proxy.runtime import Runtime
from smartproxy.security.limits import Admission
from smartproxy.tls.material import TlsMaterial
from smartproxy.workers.shared_limits import SharedLimits
from tests.workers.sharing import CLIENT, PEER, Process, a_plan
from tests.workers.small import small_memory
from tests.workers.stepping import Steps, every_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class SharedCase(SynchronousTestCase):
    def processes(self, count: int, plan: ProxyPlan, **sizes: int) -> list[Process]:
        self.clock = Clock()
        self.memory = small_memory(**sizes)
        self.addCleanup(self.memory.close)
        return [self.another(plan) for _ in range(count)]

    def another(self, plan: ProxyPlan) -> Process:
        process = Process(self.memory, self.clock.seconds)
        process.apply(plan)
        return process


class NumbersTests(SharedCase):
    def test_live_connections_of_all_processes_count(self) -> None:
        a, b = self.processes(2, a_plan())
        self.assertEqual([a.open(3), b.open(3), a.open(3), b.open(3)], [True, True, True, False])
        self.assertEqual((a.limits.active, b.limits.active), (3, 3))
        a.close()
        self.assertEqual([b.open(3), a.open(3)], [True, False])

    def test_claim_of_a_connection_that_did_not_begin_is_given_back(self) -> None:
        """Its client may have gone between accept and the first read. It must not hold a place for ever."""
        a, b = self.processes(2, a_plan())
        self.assertTrue(a.limits.may_open(1))
        self.assertFalse(b.open(1))
        a.limits.prune()
        self.assertTrue(b.open(1))

    def test_claims_are_given_back_once(self) -> None:
        a, b = self.processes(2, a_plan())
        a.limits.may_open(9)
        a.limits.prune()
        a.limits.prune()
        self.assertEqual([a.limits.active, b.limits.active], [0, 0])
        a.open(9)
        a.limits.may_open(9)
        a.close()
        self.assertEqual([a.limits.active, b.limits.active], [0, 0])

    def test_routes_are_limited_by_name(self) -> None:
        a, b = self.processes(2, a_plan(route_limit=2, names=("web", "mail")))
        self.assertEqual([a.assign(limit=2), b.assign(limit=2), a.assign(limit=2)], [True, True, False])
        self.assertTrue(a.assign("mail", 2))
        b.close()
        self.assertTrue(a.assign(limit=2))

    def test_clients_of_all_processes_count(self) -> None:
        a, b = self.processes(2, a_plan(max_connections_per_ip=2))
        self.assertEqual(
            [a.add_client(limit=2), b.add_client(limit=2), a.add_client(limit=2)], [True, True, False]
        )
        self.assertTrue(a.add_client("192.0.2.2", 2))
        b.close()
        self.assertEqual([a.add_client(limit=2), b.add_client(limit=2)], [True, False])

    def test_ipv6_networks_of_all_processes_count(self) -> None:
        a, b = self.processes(2, a_plan(max_connections_per_ip=2, ipv6_limit_prefix=64))
        self.assertTrue(a.add_client("2001:db8::1", 2))
        self.assertTrue(b.add_client("2001:db8::2", 2))
        self.assertFalse(a.add_client("2001:db8::3", 2))
        self.assertTrue(a.add_client("2001:db8:0:1::1", 2))

    def test_exempt_connections_are_not_counted_for_a_client(self) -> None:
        """Health checks of the proxy in front come from one address."""
        a, b = self.processes(2, a_plan(max_connections_per_ip=1))
        for _ in range(3):
            a.registry.identify(a.accept(), Endpoint(CLIENT, 1), counts=False)
        self.assertTrue(b.add_client())
        a.close(3)
        self.assertFalse(a.add_client())

    def test_refused_attempts_write_nothing(self) -> None:
        """A flood of them would push the events of others out of the ring."""
        plan = a_plan(max_connections_per_ip=1, connection_rate_per_minute=1)
        a, b = self.processes(2, plan)
        a.limits.allow(CLIENT, 1)
        self.assertTrue(a.add_client())
        for attempt in range(50):
            heads = self.memory.heads.tolist()
            self.assertFalse(b.limits.allow(CLIENT, 1))
            self.assertFalse(b.add_client())
            # The first one may be written: only then what others have written is read.
            if attempt:
                self.assertEqual(self.memory.heads.tolist(), heads)

    def test_a_connection_takes_one_event_to_open_and_one_to_close(self) -> None:
        """Every other process reads each of them."""
        (a,) = self.processes(1, a_plan(max_connections_per_ip=9, connection_rate_per_minute=9))
        self.assertTrue(a.limits.allow(CLIENT, 9))
        self.assertTrue(a.add_client(limit=9))
        self.assertEqual(self.memory.heads[0], 1)
        a.close()
        self.assertEqual(self.memory.heads[0], 2)

    def test_dead_process_counts_no_more(self) -> None:
        plan = a_plan(route_limit=1, max_connections_per_ip=1)
        a, b = self.processes(2, plan)
        self.assertTrue(a.add_client() and a.assign() and a.open(9))
        self.assertEqual([b.add_client(), b.assign(), b.open(3)], [False] * 3)
        self.memory.forget(a.row)
        self.assertEqual([b.add_client(), b.assign(), b.open(3)], [True] * 3)

    def test_new_process_knows_the_connections_of_others(self) -> None:
        """Also those of clients whose events are overwritten: the ring of this memory has 16."""
        plan = a_plan(route_limit=1, max_connections_per_ip=1)
        (a,) = self.processes(1, plan)
        a.add_client()
        a.assign()
        for number in range(100):
            a.add_client(f"198.51.100.{number}")
            a.close()
        new = self.another(plan)
        self.assertEqual([new.add_client(), new.assign(), new.open(2)], [False] * 3)

    def test_admission_asks_it(self) -> None:
        plan = a_plan(
            max_connections=1, max_connections_per_ip=1, connection_rate_per_minute=3, route_limit=1
        )
        a, b = self.processes(2, plan)
        first, second = (Admission(plan, one.limits, one.limits, ()) for one in (a, b))
        (route,) = plan.routes
        self.assertIsNone(first.accept())
        record = a.accept()
        self.assertIsNone(first.client(CLIENT))
        a.registry.identify(record, Endpoint(CLIENT, 1))
        self.assertIsNone(first.route(route, CLIENT))
        a.registry.assign(record, route.name)
        refused = [second.accept(), *(second.client(CLIENT) for _ in range(3)), second.route(route, CLIENT)]
        self.assertEqual(
            [reason.value for reason in refused],
            ["global_limit", "ip_limit", "ip_limit", "rate_limit", "route_limit"],
        )
        a.close()
        self.assertEqual(
            [second.accept(), second.client("192.0.2.2"), second.route(route, CLIENT)], [None] * 3
        )


class RateTests(SharedCase):
    def test_connections_to_all_processes_count(self) -> None:
        a, b = self.processes(2, a_plan(connection_rate_per_minute=3))
        self.assertEqual([one.limits.allow(CLIENT, 3) for one in (a, b, a, b, a)], [True] * 3 + [False] * 2)
        self.assertTrue(b.limits.allow("192.0.2.2", 3))

    def test_the_window_slides(self) -> None:
        a, b = self.processes(2, a_plan(connection_rate_per_minute=2))
        self.assertTrue(a.limits.allow(CLIENT, 2))
        self.clock.advance(59)
        self.assertTrue(b.limits.allow(CLIENT, 2))
        self.assertFalse(a.limits.allow(CLIENT, 2))
        self.clock.advance(1)
        self.assertTrue(b.limits.allow(CLIENT, 2))
        self.assertFalse(a.limits.allow(CLIENT, 2))

    def test_refused_attempts_do_not_count(self) -> None:
        a, b = self.processes(2, a_plan(connection_rate_per_minute=1))
        allowed = 0
        for second in range(300):
            allowed += (a, b)[second % 2].limits.allow(CLIENT, 1)
            self.clock.advance(1)
        self.assertEqual(allowed, 5)

    def test_it_decides_as_one_process_would(self) -> None:
        random = Random(5)
        prefix, limit = 128, 3
        processes = self.processes(3, a_plan(connection_rate_per_minute=limit), events=1024)
        (alone,) = (Process(small_memory(), self.clock.seconds).limits,)
        ips = ("2001:db8::1", "2001:db8::2", "2001:db8:1::1", "192.0.2.1")
        for _ in range(600):
            self.clock.advance(random.choice((0, 0, 1, 7, 30, 60)))
            if random.random() < 0.05:
                prefix = random.choice((32, 64, 128))
                for limits in (alone, *(one.limits for one in processes)):
                    limits.regroup(prefix)
            ip = random.choice(ips)
            self.assertEqual(
                random.choice(processes).limits.allow(ip, limit), alone._windows.allow(ip, limit)
            )

    def test_refused_by_its_number_it_uses_up_its_rate(self) -> None:
        plan = a_plan(max_connections_per_ip=1, connection_rate_per_minute=2)
        a, b = self.processes(2, plan)
        self.assertTrue(a.limits.allow(CLIENT, 2) and a.add_client())
        self.assertEqual([b.limits.allow(CLIENT, 2), b.add_client()], [True, False])
        self.assertFalse(a.limits.allow(CLIENT, 2))
        a.close()
        self.assertTrue(a.add_client(), "what was counted for the refused connection was given back")


class ReloadTests(SharedCase):
    def test_new_limits_apply_to_live_connections(self) -> None:
        a, b = self.processes(2, a_plan())
        record = a.accept()
        a.registry.identify(record, Endpoint(CLIENT, 1))
        a.registry.assign(record, "web")
        for one in (a, b):
            one.apply(a_plan(route_limit=1, max_connections_per_ip=1))
        self.assertEqual([b.add_client(), b.assign()], [False, False])

    def test_removed_limit_of_clients_leaves_nothing_behind(self) -> None:
        """Clients that were counted before must not be counted when the limit is set again."""
        limited = a_plan(max_connections_per_ip=1)
        a, b = self.processes(2, limited)
        a.add_client()
        for one in (a, b):
            one.apply(a_plan())
        a.add_client("192.0.2.2")  # of a connection that was accepted before the reload
        a.close(2)
        for one in (a, b):
            one.apply(limited)
        self.assertEqual([b.add_client(), b.add_client("192.0.2.2")], [True, True])

    def test_route_is_counted_until_its_last_connection_has_ended(self) -> None:
        """Connections that were accepted before may still be assigned to a removed route."""
        limited = a_plan(route_limit=2)
        a, b = self.processes(2, limited)
        a.assign(limit=2)
        for one in (a, b):
            one.apply(a_plan(names=("other",)))
        self.assertEqual([b.assign(limit=2), a.assign(limit=2)], [True, False])
        a.apply(limited)
        self.assertFalse(a.assign(limit=2))

    def test_columns_of_removed_routes_are_used_again(self) -> None:
        a, b = self.processes(2, a_plan())
        for number in range(50):
            plan = a_plan(route_limit=1, names=(f"web-{number}",))
            for one in (a, b):
                one.apply(plan)
            self.assertEqual([a.assign(f"web-{number}"), b.assign(f"web-{number}")], [True, False])
            a.close()

    def test_regrouped_clients_are_counted_by_the_new_networks(self) -> None:
        a, b = self.processes(2, a_plan(max_connections_per_ip=2))
        self.assertTrue(a.add_client("2001:db8::1", 2) and a.add_client("2001:db8::2", 2))
        b.apply(a_plan(max_connections_per_ip=2, ipv6_limit_prefix=64))
        self.assertFalse(b.add_client("2001:db8::3", 2))
        b.apply(a_plan(max_connections_per_ip=2))
        self.assertTrue(b.add_client("2001:db8::3", 2))


class RuntimeTests(SharedCase):
    """A proxy that is given shared limits uses them for its listeners, routes and targets."""

    def path(self, plan: ProxyPlan):
        limits = SharedLimits(self.memory, self.memory.claim(), self.clock.seconds)
        runtime = Runtime(plan, MemoryReactorClock(), Given(plan, TlsMaterial(), 1, limits))
        paths = Paths(plan, runtime, lambda: False)
        runtime.accounting.apply(plan, None)
        runtime.apply_limits(plan)
        runtime.targets.apply(plan)
        self.addCleanup(runtime.lingering.close)
        return paths.path("", 80), runtime

    def test_limits_hold_over_two_proxies(self) -> None:
        targets = (TargetPlan(("10.0.0.1",), 80, name="a", max_connections=1),)
        route = RoutePlan(
            "web", 0, MatchPlan((range(80, 81),)), max_connections=1, group=GroupPlan("web", targets)
        )
        plan = ProxyPlan((route,), groups=(route.group,), max_connections=2, max_connections_per_ip=1)
        self.processes(0, plan)
        (first, one), (second, two) = self.path(plan), self.path(plan)
        accepted = Accepted(":80", 80, PEER, 0.0)
        announced = Announced(accepted, Endpoint(CLIENT, 1), None)
        routed = Routed(Detected(announced), route)

        def connect(path, client):
            self.assertIsNone(path.unwanted(PEER.host, ":80"))
            record = path.registry.open(accepted)
            path.admit.client(record, announced._replace(client=client))
            path.admit.route(record, routed)
            return record

        record = connect(first, Endpoint(CLIENT, 1))
        groups = [runtime.targets.groups.find("web") for runtime in (one, two)]
        self.assertEqual(groups[0].take(CLIENT).name, "a")
        self.assertIsNone(groups[1].take(CLIENT))
        for client, reason in (
            (Endpoint(CLIENT, 2), RejectReason.IP_LIMIT),
            (Endpoint("192.0.2.2", 2), RejectReason.ROUTE_LIMIT),
        ):
            refused = self.assertRaises(Refused, connect, second, client)
            self.assertIs(refused.reason, reason)
            second.registry.close(next(iter(second.registry.live.values())), reason, 0.0)
        second.registry.open(accepted)
        self.assertIs(second.unwanted(PEER.host, ":80"), RejectReason.GLOBAL_LIMIT)
        first.registry.close(record, CloseReason.NORMAL, 0.0)
        connect(second, Endpoint(CLIENT, 3))


class OrderTests(SynchronousTestCase):
    """Processes claim the last places at the same time."""

    def most_admitted(
        self,
        plan: ProxyPlan,
        claim: Callable[[Process], int],
        orders: Iterable[Callable[[int], int]],
        count: int = 2,
        **sizes: int,
    ) -> int:
        """How many connections are admitted at most.

        :param claim: what each process does; returns how many it has admitted.
        :param count: of processes.
        """
        most = 0
        for choose in orders:
            steps, memory = Steps(), small_memory(**sizes)
            memory.fence = steps.fence
            processes = [Process(memory) for _ in range(count)]
            for one in processes:
                one.apply(plan)
            results = steps.run([partial(claim, one) for one in processes], choose)
            memory.close()
            most = max(most, sum(results))
            self.assert_all_is_given_back(processes)
        return most

    def assert_all_is_given_back(self, processes: list[Process]) -> None:
        """What was counted for refused connections is not counted any more."""
        for one in processes:
            others = [other.registry for other in processes if other is not one]
            one.limits._reader.sync()
            seen = one.limits._reader.clients.of_client(CLIENT), one.limits.active
            recorded = sum(other.by_ip.get(CLIENT, 0) for other in others)
            self.assertEqual(seen, (recorded, one.registry.active + sum(other.active for other in others)))

    def test_no_order_of_two_exceeds_a_limit(self) -> None:
        for plan, claim in (
            (a_plan(), lambda one: one.open(1)),
            (a_plan(route_limit=1), lambda one: one.assign()),
            (a_plan(max_connections_per_ip=1), lambda one: one.add_client()),
            (a_plan(connection_rate_per_minute=1), lambda one: one.limits.allow(CLIENT, 1)),
        ):
            self.assertEqual(self.most_admitted(plan, claim, every_order()), 1)

    def test_no_order_of_three_exceeds_the_limits_of_a_client(self) -> None:
        """One event serves both limits. Nor does one with a ring so short that readers are overrun again and again."""
        plan = a_plan(max_connections_per_ip=2, connection_rate_per_minute=100)

        def connect(one: Process) -> int:
            return sum(one.limits.allow(CLIENT, 100) and one.add_client(limit=2) for _ in range(3))

        for events in (2, 4, 64):
            orders = [Random(events).randrange] * 200
            self.assertEqual(self.most_admitted(plan, connect, orders, 3, events=events), 2)

    def test_no_order_of_three_exceeds_a_rate(self) -> None:
        plan = a_plan(connection_rate_per_minute=2)

        def connect(one: Process) -> int:
            return sum(one.limits.allow(CLIENT, 2) for _ in range(3))

        self.assertEqual(self.most_admitted(plan, connect, [Random(3).randrange] * 300, 3, events=64), 2)
