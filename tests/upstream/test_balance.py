"""Which target is next, and which when that one fails."""

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
    def test_each_in_its_turn(self):
        balance = RoundRobin(targets(a=1, b=1, c=1), RouteTurn())
        self.assertEqual("".join(first(balance) for _ in range(7)), "abcabca")

    def test_weights_are_mixed_not_blocked(self):
        balance = RoundRobin(targets(a=5, b=1, c=1), RouteTurn())
        self.assertEqual("".join(first(balance) for _ in range(14)), "aabacaa" * 2)

    @given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
    def test_everybody_gets_what_is_his(self, weights):
        balance = RoundRobin(targets(**{f"h{n}": weight for n, weight in enumerate(weights)}), RouteTurn())
        got = Counter(first(balance) for _ in range(3 * sum(weights)))
        self.assertEqual(got, {f"h{n}": 3 * weight for n, weight in enumerate(weights)})

    def test_huge_weights_keep_their_proportion(self):
        balance = RoundRobin(targets(a=3_000_000, b=1_000_001), RouteTurn())
        got = Counter(first(balance) for _ in range(8000))
        self.assertAlmostEqual(got["a"] / got["b"], 3, places=1)

    def test_the_others_follow_in_the_order_of_the_file(self):
        balance = RoundRobin(targets(a=1, b=1, c=1), RouteTurn())
        self.assertEqual([hosts(balance) for _ in range(3)], [list("abc"), list("bac"), list("cab")])

    def test_only_who_is_asked_for_takes_a_turn(self):
        """The others of one order are spare: they have their own turns all the same."""
        balance = RoundRobin(targets(a=1, b=1), RouteTurn())
        self.assertEqual([hosts(balance)[0] for _ in range(4)], ["a", "b", "a", "b"])

    def test_a_weight_of_0_is_for_when_all_others_have_failed(self):
        balance = RoundRobin(targets(spare=0, a=1, b=1), RouteTurn())
        for _ in range(4):
            self.assertEqual(hosts(balance)[-1], "spare")

    def test_where_all_weigh_nothing_they_are_equal(self):
        balance = RoundRobin(targets(a=0, b=0), RouteTurn())
        self.assertEqual([first(balance) for _ in range(4)], ["a", "b", "a", "b"])

    def test_every_host_of_a_target_has_the_targets_weight(self):
        balance = RoundRobin((TargetPlan(("a", "b"), 80, 2), TargetPlan(("c",), 80, 1)), RouteTurn())
        self.assertEqual(Counter(first(balance) for _ in range(10)), {"a": 4, "b": 4, "c": 2})

    def test_a_callable_is_one_candidate_that_is_asked_later(self):
        def choose(_):
            raise AssertionError

        self.assertEqual(hosts(RoundRobin((TargetPlan(choose, 80),), RouteTurn())), [choose])

    def test_addresses_need_no_resolving(self):
        balance = RoundRobin((TargetPlan(("192.0.2.1", "2001:db8::1", "a.example"), 80),), RouteTurn())
        self.assertEqual([candidate.is_literal for candidate in balance.order()], [True, True, False])

    def test_turns_go_on_after_a_reload_of_the_same_targets(self):
        turn = RouteTurn()
        self.assertEqual(first(RoundRobin(targets(a=1, b=1, c=1), turn)), "a")
        self.assertEqual(first(RoundRobin(targets(a=1, b=1, c=1), turn)), "b")

    def test_a_change_after_every_connection_still_uses_every_target(self):
        """With discovery the targets may change at any time; the first one must not get every connection."""
        turn = RouteTurn()
        used = Counter(
            first(RoundRobin(targets(a=1, b=1, c=1, **({"d": 1} if number % 2 else {})), turn))
            for number in range(60)
        )
        self.assertLessEqual(max(used.values()), 30)
        self.assertGreaterEqual(min(used[name] for name in "abc"), 10)

    def test_without_targets_there_is_nobody(self):
        self.assertEqual(list(RoundRobin((), RouteTurn()).order()), [])
