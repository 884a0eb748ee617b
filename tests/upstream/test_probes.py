"""Probes: an ejected target gets one connection after ``ejectFor``, and is back when that succeeds."""

from __future__ import annotations

from smartproxy.model.plan import PassiveHealthPlan
from smartproxy.upstream.member import HandState
from tests.upstream.grouping import CLIENT, GroupCase, target


class ProbeOrderTests(GroupCase):
    """The target that may be tried first is tried first. One that may not be tried yet delays no other."""

    def eject_b_before_a(self):
        self.fail_dial("b")
        self.clock.advance(8)
        self.fail_dial("a")

    def test_after_a_reload(self):
        """A reload looks at the targets in the order of the configuration."""
        self.configure("abc")
        self.eject_b_before_a()
        self.configure("abc")
        self.clock.advance(3)
        self.assertIn("b", self.use(3))

    def test_after_another_tier(self):
        """As after a reload: the last primary target is ejected, and backups are used."""
        self.configure([target("a"), target("b"), target("x", backup=True)])
        self.eject_b_before_a()
        self.clock.advance(3)
        self.assertIn("b", self.use(3))

    def test_after_another_weight(self):
        self.configure("abc")
        self.eject_b_before_a()
        self.member("c").set_by_hand(None, 5, self.clock.seconds())
        self.clock.advance(3)
        self.assertIn("b", self.use(3))

    def test_after_a_reload_that_has_shortened_the_time(self):
        self.configure("abc", passive=PassiveHealthPlan(eject_for=3600.0))
        self.fail_dial("a")
        self.configure("abc", passive=PassiveHealthPlan(eject_for=2.0))
        self.fail_dial("b")
        self.clock.advance(60)
        self.assertIn("b", self.use(3))

    def test_after_it_was_excluded_by_hand(self):
        """It is put back among the others at its own time."""
        self.configure("abc")
        self.eject_b_before_a()
        for state in (HandState.DRAIN, None):
            self.member("b").set_by_hand(state, None, self.clock.seconds())
        self.clock.advance(3)
        self.assertIn("b", self.use(3))

    def test_those_whose_time_is_over_are_tried_one_after_the_other(self):
        self.configure("abcd")
        for name in "cab":
            self.fail_dial(name)
            self.clock.advance(1)
        self.clock.advance(10)
        self.assertEqual("".join(self.group.take(CLIENT).name for _ in range(4)), "cabd")
