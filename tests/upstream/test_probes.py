"""Probes: an ejected target gets one connection after ``ejectFor``, and is back when that succeeds."""

from __future__ import annotations

from smartproxy.errors import Refused
from smartproxy.model.plan import Algorithm, PassiveHealthPlan, QueuePlan
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


class WaitingClientTests(GroupCase):
    """While every other target is full, those that wait in the queue try an ejected target. No one else could."""

    def configure(self, *targets, algorithm=Algorithm.ROUND_ROBIN, size=10, **more):
        super().configure(targets, algorithm, queue=QueuePlan(size, 60.0), **more)

    def wait(self, client=CLIENT):
        self.assertIsNone(self.group.take(client))
        return self.group.wait_for_room(client)

    def eject_b(self):
        """``a`` is full and ``b`` is ejected, so two clients wait."""
        self.configure(target("a", max_connections=1), target("b"))
        self.fail_dial("b")
        (self.held,) = self.hold()
        self.first, self.second = self.wait(), self.wait()

    def test_the_first_one_tries_it_when_its_time_is_over(self):
        self.eject_b()
        self.clock.advance(9)
        self.assertNoResult(self.first)
        self.clock.advance(1)
        probe = self.successResultOf(self.first)
        self.assertEqual(probe.name, "b")
        self.assertNoResult(self.second)
        self.group.succeeded(probe)
        self.assertEqual(self.successResultOf(self.second).name, "b")
        self.assertEqual((self.member("b").state, self.clock.getDelayedCalls()), ("up", []))

    def test_after_a_failed_try_the_next_one_tries_it_again(self):
        self.eject_b()
        self.clock.advance(10)
        self.group.failed(self.successResultOf(self.first), "refused", "it is closed")
        self.clock.advance(9)
        self.assertNoResult(self.second)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(self.second).name, "b")

    def test_a_try_whose_client_leaves_is_left_to_the_next_one(self):
        self.eject_b()
        self.clock.advance(10)
        self.group.withdrawn(self.successResultOf(self.first))
        self.assertEqual(self.successResultOf(self.second).name, "b")

    def test_a_target_that_is_ejected_while_clients_wait(self):
        self.configure(target("a", max_connections=1), target("b", max_connections=1))
        held = {candidate.name: candidate for candidate in self.hold(2)}
        waiting = self.wait()
        self.fail_dial("b")
        self.group.release(held["b"])
        self.assertNoResult(waiting)
        self.clock.advance(10)
        self.assertEqual(self.successResultOf(waiting).name, "b")

    def test_one_that_is_full_when_its_time_is_over_is_tried_when_it_has_room(self):
        self.configure(target("a", max_connections=1), target("b", max_connections=1))
        held = {candidate.name: candidate for candidate in self.hold(2)}
        self.fail_dial("b")
        waiting = self.wait()
        self.clock.advance(20)
        self.assertNoResult(waiting)
        self.group.release(held["b"])
        self.assertEqual(self.successResultOf(waiting).name, "b")

    def test_by_source_any_of_them_tries_it(self):
        """The target of a client that waits is full: it loses nothing."""
        self.configure(target("a", max_connections=1), target("b"), algorithm=Algorithm.SOURCE)
        client = next(
            client
            for client in (f"192.0.2.{number}" for number in range(256))
            if self.group._balancer.owner(client).name == "a"
        )
        self.fail_dial("b")
        self.hold(client=client)
        waiting = self.wait(client)
        self.clock.advance(10)
        self.assertEqual(self.successResultOf(waiting).name, "b")

    def test_after_a_reload_with_other_targets(self):
        self.eject_b()
        self.configure(target("c", max_connections=1), target("b"), target("a", max_connections=1))
        self.assertEqual(self.successResultOf(self.first).name, "c")
        self.clock.advance(10)
        self.assertEqual(self.successResultOf(self.second).name, "b")

    def test_time_that_passes_between_the_refusal_and_the_queue_is_noticed(self):
        self.configure(target("a", max_connections=1), target("b"))
        self.fail_dial("b")
        self.hold()
        self.assertIsNone(self.group.take(CLIENT))
        self.clock.advance(11)
        waiting = self.group.wait_for_room(CLIENT)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(waiting).name, "b")

    def test_nothing_is_left_of_those_that_leave(self):
        self.eject_b()
        for waiting in (self.first, self.second):
            waiting.addErrback(lambda _: None)
            waiting.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_is_left_of_those_that_have_waited_too_long(self):
        self.configure(target("a", max_connections=1), target("b"), passive=PassiveHealthPlan(eject_for=3600))
        self.fail_dial("b")
        self.hold()
        waiting = self.wait()
        self.clock.advance(60)
        self.failureResultOf(waiting, Refused)
        self.assertEqual(self.clock.getDelayedCalls(), [])
