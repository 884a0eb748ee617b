"""Weighted round robin: which target is tried first, and which after it fails."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.plan import TargetPlan
from smartproxy.upstream.balance import RoundRobin
from smartproxy.upstream.turns import RouteTurn


def targets(**weights):
    return tuple(TargetPlan((name,), 80, weight) for name, weight in weights.items())


def first(balance):
    return next(balance.order()).host


def hosts(balance):
    return [candidate.host for candidate in balance.order()]


class RoundRobinTests(SynchronousTestCase):
    def test_targets_take_turns(self):
        balance = RoundRobin(targets(a=1, b=1, c=1), RouteTurn())
        self.assertEqual("".join(first(balance) for _ in range(7)), "abcabca")

    def test_weighted_targets_are_interleaved(self):
        balance = RoundRobin(targets(a=5, b=1, c=1), RouteTurn())
        self.assertEqual("".join(first(balance) for _ in range(14)), "aabacaa" * 2)

    @given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
    def test_each_target_gets_connections_by_its_weight(self, weights):
        balance = RoundRobin(targets(**{f"h{n}": weight for n, weight in enumerate(weights)}), RouteTurn())
        got = Counter(first(balance) for _ in range(3 * sum(weights)))
        self.assertEqual(got, {f"h{n}": 3 * weight for n, weight in enumerate(weights)})

    def test_large_weights_keep_their_proportion(self):
        balance = RoundRobin(targets(a=3_000_000, b=1_000_001), RouteTurn())
        got = Counter(first(balance) for _ in range(8000))
        self.assertAlmostEqual(got["a"] / got["b"], 3, places=1)

    def test_other_targets_follow_in_configuration_order(self):
        balance = RoundRobin(targets(a=1, b=1, c=1), RouteTurn())
        self.assertEqual([hosts(balance) for _ in range(3)], [list("abc"), list("bac"), list("cab")])

    def test_only_the_first_target_of_an_order_takes_a_turn(self):
        """The others are a fallback; offering them as one must not cost them their own turn."""
        balance = RoundRobin(targets(a=1, b=1), RouteTurn())
        self.assertEqual([hosts(balance)[0] for _ in range(4)], ["a", "b", "a", "b"])

    def test_target_of_weight_0_is_the_last_fallback(self):
        balance = RoundRobin(targets(spare=0, a=1, b=1), RouteTurn())
        for _ in range(4):
            self.assertEqual(hosts(balance)[-1], "spare")

    def test_targets_that_all_weigh_0_take_turns(self):
        balance = RoundRobin(targets(a=0, b=0), RouteTurn())
        self.assertEqual([first(balance) for _ in range(4)], ["a", "b", "a", "b"])

    def test_each_host_of_a_target_has_the_targets_weight(self):
        balance = RoundRobin((TargetPlan(("a", "b"), 80, 2), TargetPlan(("c",), 80, 1)), RouteTurn())
        self.assertEqual(Counter(first(balance) for _ in range(10)), {"a": 4, "b": 4, "c": 2})

    def test_callable_is_one_candidate_and_is_not_called_yet(self):
        def choose(_):
            raise AssertionError

        self.assertEqual(hosts(RoundRobin((TargetPlan(choose, 80),), RouteTurn())), [choose])

    def test_ip_addresses_are_marked_as_literals(self):
        balance = RoundRobin((TargetPlan(("192.0.2.1", "2001:db8::1", "a.example"), 80),), RouteTurn())
        self.assertEqual([candidate.is_literal for candidate in balance.order()], [True, True, False])

    def test_turns_continue_after_a_reload_of_the_same_targets(self):
        turn = RouteTurn()
        self.assertEqual(first(RoundRobin(targets(a=1, b=1, c=1), turn)), "a")
        self.assertEqual(first(RoundRobin(targets(a=1, b=1, c=1), turn)), "b")

    def test_targets_changed_after_each_connection_are_all_used(self):
        """With discovery the targets may change at any time; the first one must not get every connection."""
        turn = RouteTurn()
        used = Counter(
            first(RoundRobin(targets(a=1, b=1, c=1, **({"d": 1} if number % 2 else {})), turn))
            for number in range(60)
        )
        self.assertLessEqual(max(used.values()), 30)
        self.assertGreaterEqual(min(used[name] for name in "abc"), 10)

    def test_route_without_targets_has_no_candidate(self):
        self.assertEqual(list(RoundRobin((), RouteTurn()).order()), [])
