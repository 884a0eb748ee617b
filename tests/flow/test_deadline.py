"""Deadlines driven by one coarse clock."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.deadline import TICK, Deadlines
from tests.builds import only_pure


class DeadlinesTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()
        self.addCleanup(self.deadlines.stop)
        self.fired = []

    def call_after(self, seconds, name=None):
        return self.deadlines.call_later(seconds, lambda: self.fired.append(name or seconds))

    def pass_time(self, seconds):
        for _ in range(round(seconds / TICK)):
            self.clock.advance(TICK)

    def test_deadline_fires_at_most_one_tick_late_and_never_early(self):
        for seconds in (0.05, 0.5, 2.34, 9.99):
            clock, fired = Clock(), []
            deadlines = Deadlines(clock)
            deadlines.start()
            deadlines.call_later(seconds, lambda fired=fired, clock=clock: fired.append(clock.seconds()))
            while not fired:
                clock.advance(0.01)
                self.assertLess(clock.seconds(), seconds + TICK + 0.02)
            self.assertGreaterEqual(fired[0], seconds)
            deadlines.stop()

    def test_deadline_fires_once(self):
        self.call_after(1)
        self.pass_time(5)
        self.assertEqual(self.fired, [1])
        self.assertEqual(len(self.deadlines), 0)

    def test_equal_deadlines_fire_in_the_order_of_creation(self):
        for name in "abc":
            self.call_after(1, name)
        self.pass_time(2)
        self.assertEqual(self.fired, ["a", "b", "c"])

    def test_short_deadline_does_not_wait_for_a_longer_one(self):
        self.call_after(10)
        self.call_after(1)
        self.pass_time(2)
        self.assertEqual((self.fired, len(self.deadlines)), ([1], 1))

    def test_cancelled_deadline_does_not_fire(self):
        deadline = self.call_after(1)
        self.call_after(1, "other")
        deadline.cancel()
        deadline.cancel()
        self.pass_time(2)
        self.assertEqual(self.fired, ["other"])
        deadline.cancel()

    def test_callback_can_cancel_another_of_the_same_sweep(self):
        self.deadlines.call_later(1, lambda: second.cancel())  # noqa: PLW0108 - it is set only below
        second = self.call_after(1, "second")
        self.pass_time(2)
        self.assertEqual(self.fired, [])

    def test_callback_can_set_the_next_deadline(self):
        def again():
            self.fired.append(self.clock.seconds())
            if len(self.fired) < 3:
                self.deadlines.call_later(1, again)

        self.deadlines.call_later(1, again)
        self.pass_time(5)
        self.assertEqual(len(self.fired), 3)

    def test_failing_callback_does_not_stop_the_others(self):
        def fail():
            raise ZeroDivisionError

        self.deadlines.call_later(1, fail)
        self.call_after(1, "behind it")
        self.call_after(2)
        self.pass_time(3)
        self.assertEqual(self.fired, ["behind it", 2])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_slot_of_cancelled_deadlines_is_removed(self):
        later = [self.call_after(86400 + number) for number in range(100)]
        for deadline in later[:50]:
            deadline.cancel()
        self.call_after(50)
        self.pass_time(1)
        self.assertEqual((len(self.deadlines._slots), len(self.deadlines._fresh)), (51, 0))
        for deadline in later[50:]:
            deadline.cancel()
        self.assertEqual((len(self.deadlines._slots), len(self.deadlines)), (1, 1))

    def test_cancelling_twice_keeps_a_later_deadline_in_the_slot(self):
        first = self.call_after(1, "first")
        first.cancel()
        self.call_after(1, "second")
        first.cancel()
        self.pass_time(2)
        self.assertEqual(self.fired, ["second"])

    @only_pure
    def test_sweep_compares_only_deadlines_in_the_due_slot(self):
        """Comparisons are counted instead of timed: 10,000 connections have deadlines, and a sweep must not visit all."""
        compared = []

        class Counting(float):
            """A due time that records each comparison."""

            def __gt__(self, other):
                compared.append(self)
                return float.__gt__(self, other)

            __le__ = float.__le__

        for number in range(10_000):
            deadline = self.call_after(60 + number / 100)
            deadline.due = Counting(deadline.due)
        self.clock.rightNow = 59.0
        self.deadlines.sweep()
        self.assertEqual(compared, [])
        self.clock.rightNow = 60.05
        self.deadlines.sweep()
        self.assertEqual(self.fired, [60 + number / 100 for number in range(6)])
        self.assertEqual(len(compared), 10)

    def test_many_due_deadlines_fire_in_slices_of_100(self):
        """The reactor serves I/O between two slices; a deadline cancelled meanwhile does not fire."""
        deadlines = [self.call_after(1, number) for number in range(1, 1001)]
        self.clock.rightNow = 1.0
        self.deadlines.sweep()
        self.assertEqual(len(self.fired), 100)
        self.assertEqual(len(self.deadlines), 900)
        deadlines[500].cancel()
        iterations = 1
        while len(self.deadlines):
            self.run_one_iteration()
            iterations += 1
        self.assertEqual(iterations, 10)
        self.assertEqual(self.fired, [number for number in range(1, 1001) if number != 501])

    def run_one_iteration(self):
        """Make one due call only: ``Clock.advance`` would make the calls of later iterations, too."""
        call = next(call for call in self.clock.calls if call.getTime() == self.clock.seconds())
        self.clock.calls.remove(call)
        call.called = True
        call.func()

    def test_sweep_between_two_slices_starts_no_second_series(self):
        for number in range(1000):
            self.call_after(1, number)
        self.clock.rightNow = 1.0
        self.deadlines.sweep()
        self.deadlines.sweep()
        self.assertEqual(len(self.fired), 100)

    def test_stop_between_two_slices_leaves_no_delayed_call(self):
        for number in range(1000):
            self.call_after(1, number)
        self.clock.rightNow = 1.0
        self.deadlines.sweep()
        self.deadlines.stop()
        self.assertEqual((self.clock.getDelayedCalls(), len(self.deadlines)), ([], 0))

    def test_suspended_process_fires_missed_deadlines_on_wake_up(self):
        """A machine that was suspended continues hours later."""
        for hours in (1, 2, 30):
            self.call_after(hours * 3600)
        self.clock.rightNow = 3 * 3600.0
        self.deadlines.sweep()
        self.assertEqual((self.fired, len(self.deadlines)), ([3600, 7200], 1))
        self.clock.rightNow = 31 * 3600.0
        self.deadlines.sweep()
        self.assertEqual(self.fired, [3600, 7200, 30 * 3600])

    def test_stop_cancels_every_deadline(self):
        self.call_after(1)
        self.deadlines.stop()
        self.pass_time(2)
        self.assertEqual((self.fired, len(self.deadlines), self.clock.getDelayedCalls()), ([], 0, []))

    def test_stop_within_a_callback_cancels_the_others(self):
        """A draining proxy stops when its last connection ends, which may be at a deadline."""
        self.deadlines.call_later(1, self.deadlines.stop)
        self.call_after(1, "behind it")
        self.call_after(0.5, "before")
        self.pass_time(2)
        self.assertEqual(self.fired, ["before"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_within_a_sweep_does_not_fail(self):
        self.deadlines.call_later(1, self.deadlines.stop)
        self.clock.rightNow = 1.0
        self.deadlines.sweep()
        self.assertEqual(len(self.deadlines), 0)
