"""Another algorithm, and the former one again: turns that members keep must not be compared with those of a new balancer."""

from __future__ import annotations

from smartproxy.model.plan import Algorithm
from smartproxy.upstream.member import HandState
from tests.upstream.grouping import GroupCase

LEAST = Algorithm.LEAST_CONNECTIONS


class ChangedAlgorithmTests(GroupCase):
    """Every target gets its share at once. One that gets all connections until it has caught up may be overloaded."""

    def test_round_robin_and_back_with_a_target_that_was_drained(self):
        self.configure("ab")
        self.member("b").set_by_hand(HandState.DRAIN, None, 0.0)
        self.use(100)
        self.configure("ab", LEAST)
        self.member("b").set_by_hand(None, None, 0.0)
        self.configure("ab")
        self.assertEqual(self.use(30).count("a"), 15)

    def test_round_robin_and_back_with_a_new_target(self):
        self.configure("ab")
        self.use(100)
        self.configure("ab", LEAST)
        self.configure("abc")
        self.assertEqual(self.use(30).count("c"), 10)

    def test_round_robin_and_back_with_a_target_that_was_removed(self):
        """It still has a connection, so its member has the turn of before."""
        self.configure("ab")
        self.member("a").set_by_hand(HandState.DRAIN, None, 0.0)
        self.use(100)
        self.hold()
        self.configure("a", LEAST)
        self.member("a").set_by_hand(None, None, 0.0)
        self.configure("a")
        self.use(10)
        self.configure("ab")
        self.assertEqual(self.use(30).count("b"), 15)

    def test_least_connections_and_back_with_a_new_target(self):
        """Ties go by turn: the new target would win each of them."""
        self.configure("ab", LEAST)
        self.use(100)
        self.configure("ab")
        self.configure("abc", LEAST)
        self.assertEqual(self.use(30).count("c"), 10)

    def test_least_connections_and_back_with_a_target_that_was_removed(self):
        self.configure("ab", LEAST)
        self.use(100)
        held = self.hold(2)
        self.configure("a")
        self.configure("a", LEAST)
        self.use(10)
        for candidate in held:
            self.group.release(candidate)
        self.configure("ab", LEAST)
        self.assertEqual(self.use(30).count("b"), 15)
