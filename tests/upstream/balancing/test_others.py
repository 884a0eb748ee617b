"""The better of two, the first one, and what every algorithm has in common."""

from __future__ import annotations

from collections import Counter

from smartproxy.model.plan import Algorithm
from smartproxy.upstream.interfaces import Balancer
from tests.upstream.grouping import GroupCase, target, weighted


class RandomTwoTests(GroupCase):
    def test_load_is_more_even_than_at_random(self):
        self.configure("abcdefgh", Algorithm.RANDOM)
        used = Counter(one.name for one in self.hold(800))
        self.assertLess(max(used.values()) - min(used.values()), 12)

    def test_weights_count(self):
        self.configure(weighted(a=3, b=1), Algorithm.RANDOM)
        used = Counter(one.name for one in self.hold(400))
        self.assertLess(abs(used["a"] / 400 - 0.75), 0.03)


class FirstTests(GroupCase):
    def test_targets_are_filled_in_their_order(self):
        limited = [target(name, max_connections=2) for name in "abc"]
        self.configure(limited, Algorithm.FIRST)
        held = self.hold(5)
        self.assertEqual("".join(one.name for one in held), "aabbc")
        self.group.release(held[0])
        self.assertEqual(self.group.take("x").name, "a")


class EveryAlgorithmTests(GroupCase):
    """One test for each algorithm, added below."""


def _check(self, algorithm):
    for targets in ("a", "abc"):
        self.setUp()
        self.configure(targets, algorithm)
        self.assertIsInstance(self.group._balancer, Balancer)
        held = self.hold(30)
        self.assertEqual(sum(self.member(name).active for name in targets), 30)
        for candidate in held:
            self.group.release(candidate)
        self.assertEqual([self.member(name).active for name in targets], [0] * len(targets))
        for name in targets[1:]:
            self.fail_dial(name)
        self.assertEqual(set(self.use(20)), {"a"})
        first = self.group.take("x")
        self.assertIsNone(self.group.take("x", [first]))


for _algorithm in Algorithm:
    setattr(
        EveryAlgorithmTests,
        f"test_{_algorithm.name.lower()}",
        lambda self, algorithm=_algorithm: _check(self, algorithm),
    )
