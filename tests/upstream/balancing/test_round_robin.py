"""Weighted round robin."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.upstream.grouping import GroupCase, target, weighted


class RoundRobinTests(GroupCase):
    def test_targets_take_turns(self):
        self.configure("abc")
        self.assertEqual(self.use(7), "abcabca")

    def test_weighted_targets_are_interleaved(self):
        self.configure(weighted(a=5, b=1, c=1))
        self.assertEqual(self.use(14), "aabaaca" * 2)

    @given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
    def test_each_target_gets_connections_by_its_weight(self, weights):
        self.setUp()
        self.configure(weighted(**{chr(97 + n): weight for n, weight in enumerate(weights)}))
        got = Counter(self.use(3 * sum(weights)))
        self.assertEqual(got, {chr(97 + n): 3 * weight for n, weight in enumerate(weights)})

    def test_each_host_of_a_target_has_the_targets_weight(self):
        pair = target("a", weight=2)
        self.configure([pair.__class__(("10.0.0.1", "10.0.0.2"), 80, 2), target("c")])
        self.assertEqual(
            Counter(self.group.take("x").name for _ in range(10)),
            {"10.0.0.1:80": 4, "10.0.0.2:80": 4, "c": 2},
        )

    def test_turns_stay_even_over_a_hundred_reloads(self):
        used = Counter()
        for _ in range(100):
            self.configure("abc")
            used.update(self.use(1))
        self.assertLessEqual(max(used.values()) - min(used.values()), 1)

    def test_targets_changed_after_each_connection_are_all_used(self):
        """With discovery the targets may change at any time; the first one must not get every connection."""
        used = Counter()
        for number in range(60):
            self.configure("abcd" if number % 2 else "abc")
            used.update(self.use(1))
        self.assertLessEqual(max(used.values()), 30)
        self.assertGreaterEqual(min(used[name] for name in "abc"), 10)

    def test_a_target_that_was_away_does_not_catch_up(self):
        self.configure("abc")
        self.use(3)
        self.fail_dial("c")
        self.use(30)
        self.clock.advance(10)
        self.assertLessEqual(Counter(self.use(9))["c"], 4)

    def test_a_failed_target_is_followed_by_the_next_in_turn(self):
        self.configure("abc", passive=None)
        first = self.group.take("x")
        second = self.group.take("x", [first])
        third = self.group.take("x", [first, second])
        self.assertEqual([first.name, second.name, third.name], list("abc"))
        self.assertIsNone(self.group.take("x", [first, second, third]))
        self.assertEqual(self.use(3), "abc")

    def test_weight_0_is_never_used(self):
        self.configure(weighted(a=1, b=0), passive=None)
        self.assertEqual(self.use(3), "aaa")
        first = self.group.take("x")
        self.assertIsNone(self.group.take("x", [first]))

    def test_weight_set_by_hand_holds_from_now_on(self):
        self.configure("ab")
        self.use(5)
        self.member("a").set_by_hand(None, 3, 0.0)
        self.assertIn(Counter(self.use(40))["a"], (29, 30, 31))
        self.configure("ab")
        self.assertIn(Counter(self.use(40))["a"], (29, 30, 31))
