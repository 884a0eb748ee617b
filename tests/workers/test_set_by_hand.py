"""What operators have set of targets, for workers that begin later."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.workers.set_by_hand import SetByHand


class SetByHandTests(SynchronousTestCase):
    def setUp(self):
        self.by_hand = SetByHand()

    def set(self, **changes):
        return self.by_hand.kept("db", "one", changes)

    @property
    def changes(self):
        return [arguments["changes"] for arguments in self.by_hand.arguments()]

    def test_it_is_known_while_workers_are_asked(self):
        with self.set(state="drain"):
            self.assertEqual(self.changes, [{"state": "drain"}])
        self.assertEqual(self.changes, [{"state": "drain"}])

    def test_up_and_no_weight_are_what_a_worker_begins_with(self):
        with self.set(state="drain", weight=7):
            pass
        with self.set(state="up"):
            self.assertEqual(self.changes, [{"weight": 7}])
        with self.set(weight=None):
            self.assertEqual(self.changes, [])
        self.assertEqual(self.by_hand._changes, {})

    def test_what_was_refused_leaves_what_was_set_before(self):
        with self.set(state="drain"):
            pass
        self.assertRaises(ValueError, self.refused, state="dwon")
        self.assertEqual(self.changes, [{"state": "drain"}])

    def test_what_was_refused_of_an_unknown_target_leaves_nothing(self):
        self.assertRaises(ValueError, self.refused, state="drain")
        self.assertEqual(self.by_hand._changes, {})

    def test_what_was_set_meanwhile_stays(self):
        first, second = self.set(state="drain"), self.set(weight=7)
        with first, second:
            pass
        self.assertEqual(self.changes, [{"state": "drain", "weight": 7}])

    def refused(self, **changes):
        with self.set(**changes):
            raise ValueError
