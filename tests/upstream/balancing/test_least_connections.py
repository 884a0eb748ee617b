"""Least connections."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from smartproxy.model.plan import Algorithm
from tests.upstream.grouping import GroupCase, target, weighted

LEAST = Algorithm.LEAST_CONNECTIONS


class LeastConnectionsTests(GroupCase):
    def test_target_with_the_fewest_connections_is_chosen(self):
        self.configure("abc", LEAST)
        held = self.hold(3)
        self.assertEqual(sorted(one.name for one in held), list("abc"))
        self.group.release(held[1])
        self.assertEqual(self.use(3), held[1].name * 3)

    def test_ties_are_broken_by_turn(self):
        self.configure("abc", LEAST)
        self.assertEqual(self.use(6), "abcabc")
        self.configure("abc", LEAST)
        self.assertEqual(self.use(4), "abca")

    def test_connections_are_weighed(self):
        self.configure(weighted(a=3, b=1), LEAST)
        self.assertEqual(Counter(one.name for one in self.hold(40)), {"a": 30, "b": 10})

    @given(st.lists(st.one_of(st.just("open"), st.integers(0, 50)), max_size=80))
    def test_no_target_has_two_connections_more_than_another(self, steps):
        """In any order of connections and ends, the chosen one had the fewest."""
        self.setUp()
        self.configure("abcd", LEAST)
        held = []
        for step in steps:
            if step == "open":
                before = min(candidate.member.active for candidate in self.group.candidates)
                held += self.hold()
                self.assertEqual(held[-1].member.active, before + 1)
            elif held:
                self.group.release(held.pop(step % len(held)))

    def test_many_changes_do_not_make_the_heap_grow(self):
        self.configure("ab", LEAST)
        self.hold()
        for _ in range(10_000):
            self.use(1)
        self.assertLess(len(self.group._balancer._heap), 64)

    def test_tried_targets_are_left_out_for_that_connection_only(self):
        self.configure("ab", LEAST, passive=None)
        first = self.group.take("x")
        self.group.release(first)
        self.assertEqual(self.group.take("x", [first]).name, "b")
        self.assertEqual(self.group.take("x").name, "a")

    def test_targets_that_all_start_slowly_share_connections_evenly(self):
        """After an outage of all, none must get nearly every connection: each still passes most of its turns on."""
        self.configure("abc", LEAST, slow_start=30.0)
        for passed in (False, True):
            self.clock.advance(60)
            for name in "abc":
                self.member(name).check(passed=passed, now=self.clock.seconds())
        self.clock.advance(3)
        shared = Counter(one.name for one in self.hold(90))
        self.assertEqual(sum(shared.values()), 90)
        self.assertLessEqual(max(shared.values()) - min(shared.values()), 2, shared)

    def test_slow_start_in_a_large_group_limits_connections(self):
        """At a tenth of its slow start, a target must not have more than a tenth of the connections that the others have."""
        names = [f"t{number}" for number in range(50)]
        self.configure([target(name) for name in names], LEAST, slow_start=30.0)
        self.member("t7").check(passed=False, now=self.clock.seconds())
        self.hold(49 * 40)
        self.clock.advance(60)
        self.member("t7").check(passed=True, now=self.clock.seconds())
        self.clock.advance(3)
        self.hold(400)
        self.assertIn(self.member("t7").active, (4, 5))
        self.clock.advance(12)
        self.hold(400)
        self.assertLess(abs(self.member("t7").active - 26), 3)
