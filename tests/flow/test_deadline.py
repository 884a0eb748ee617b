"""Deadlines from one coarse clock."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.deadline import TICK, Deadlines


class DeadlinesTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()
        self.addCleanup(self.deadlines.stop)
        self.happened = []

    def after(self, seconds, name=None):
        return self.deadlines.call_later(seconds, lambda: self.happened.append(name or seconds))

    def pass_time(self, seconds):
        for _ in range(round(seconds / TICK)):
            self.clock.advance(TICK)

    def test_what_is_due_happens_late_by_at_most_a_tick_and_never_early(self):
        for seconds in (0.05, 0.5, 2.34, 9.99):
            clock, happened = Clock(), []
            deadlines = Deadlines(clock)
            deadlines.start()
            deadlines.call_later(
                seconds, lambda happened=happened, clock=clock: happened.append(clock.seconds())
            )
            while not happened:
                clock.advance(0.01)
                self.assertLess(clock.seconds(), seconds + TICK + 0.02)
            self.assertGreaterEqual(happened[0], seconds)
            deadlines.stop()

    def test_it_happens_once(self):
        self.after(1)
        self.pass_time(5)
        self.assertEqual(self.happened, [1])
        self.assertEqual(len(self.deadlines), 0)

    def test_equally_long_ones_happen_in_the_order_of_setting(self):
        for name in "abc":
            self.after(1, name)
        self.pass_time(2)
        self.assertEqual(self.happened, ["a", "b", "c"])

    def test_a_short_one_does_not_wait_for_a_long_one(self):
        self.after(10)
        self.after(1)
        self.pass_time(2)
        self.assertEqual((self.happened, len(self.deadlines)), ([1], 1))

    def test_a_dropped_one_never_happens(self):
        deadline = self.after(1)
        self.after(1, "other")
        deadline.cancel()
        deadline.cancel()
        self.pass_time(2)
        self.assertEqual(self.happened, ["other"])
        deadline.cancel()

    def test_one_may_drop_another_that_is_due_in_the_same_sweep(self):
        self.deadlines.call_later(1, lambda: second.cancel())  # noqa: PLW0108 - it is set only below
        second = self.after(1, "second")
        self.pass_time(2)
        self.assertEqual(self.happened, [])

    def test_one_may_set_the_next(self):
        def again():
            self.happened.append(self.clock.seconds())
            if len(self.happened) < 3:
                self.deadlines.call_later(1, again)

        self.deadlines.call_later(1, again)
        self.pass_time(5)
        self.assertEqual(len(self.happened), 3)

    def test_one_that_fails_stops_no_other(self):
        def fail():
            raise ZeroDivisionError

        self.deadlines.call_later(1, fail)
        self.after(1, "behind it")
        self.after(2)
        self.pass_time(3)
        self.assertEqual(self.happened, ["behind it", 2])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_moment_that_nobody_waits_for_is_forgotten(self):
        later = [self.after(86400 + number) for number in range(100)]
        for deadline in later[:50]:
            deadline.cancel()
        self.after(50)
        self.pass_time(1)
        self.assertEqual((len(self.deadlines._slots), len(self.deadlines._fresh)), (51, 0))
        for deadline in later[50:]:
            deadline.cancel()
        self.assertEqual((len(self.deadlines._slots), len(self.deadlines)), (1, 1))

    def test_a_dropped_one_takes_nobody_with_it_that_was_set_for_its_moment_later(self):
        first = self.after(1, "first")
        first.cancel()
        self.after(1, "second")
        first.cancel()
        self.pass_time(2)
        self.assertEqual(self.happened, ["second"])

    def test_what_is_not_due_costs_a_sweep_nothing(self):
        """Counted, not timed: nobody's time is looked at but of those in the moment that has come."""
        looked_at = []

        class Counting(float):
            """When somebody is due."""

            def __gt__(self, other):
                looked_at.append(self)
                return float.__gt__(self, other)

            __le__ = float.__le__

        for number in range(10_000):
            deadline = self.after(60 + number / 100)
            deadline.due = Counting(deadline.due)
        self.clock.rightNow = 59.0
        self.deadlines.sweep()
        self.assertEqual(looked_at, [])
        self.clock.rightNow = 60.05
        self.deadlines.sweep()
        self.assertEqual(self.happened, [60 + number / 100 for number in range(6)])
        self.assertEqual(len(looked_at), 10)

    def test_thousands_due_at_once_happen_in_slices(self):
        """Between two slices the others have their turn, and what is dropped there does not happen."""
        deadlines = [self.after(1, number) for number in range(1, 1001)]
        self.clock.rightNow = 1.0
        self.deadlines.sweep()
        self.assertEqual(len(self.happened), 100)
        self.assertEqual(len(self.deadlines), 900)
        deadlines[500].cancel()
        turns = 1
        while len(self.deadlines):
            self.turn()
            turns += 1
        self.assertEqual(turns, 10)
        self.assertEqual(self.happened, [number for number in range(1, 1001) if number != 501])

    def turn(self):
        """What the reactor's next turn does, and not what the turns after it do, as the clock's own way is."""
        call = next(call for call in self.clock.calls if call.getTime() == self.clock.seconds())
        self.clock.calls.remove(call)
        call.called = True
        call.func()

    def test_a_sweep_that_comes_between_two_slices_begins_no_second_row_of_them(self):
        for number in range(1000):
            self.after(1, number)
        self.clock.rightNow = 1.0
        self.deadlines.sweep()
        self.deadlines.sweep()
        self.assertEqual(len(self.happened), 100)

    def test_stopped_between_two_slices_nothing_is_left_in_the_reactor(self):
        for number in range(1000):
            self.after(1, number)
        self.clock.rightNow = 1.0
        self.deadlines.sweep()
        self.deadlines.stop()
        self.assertEqual((self.clock.getDelayedCalls(), len(self.deadlines)), ([], 0))

    def test_a_pause_of_the_whole_process_loses_none(self):
        """A machine that was suspended wakes up with hours gone by."""
        for hours in (1, 2, 30):
            self.after(hours * 3600)
        self.clock.rightNow = 3 * 3600.0
        self.deadlines.sweep()
        self.assertEqual((self.happened, len(self.deadlines)), ([3600, 7200], 1))
        self.clock.rightNow = 31 * 3600.0
        self.deadlines.sweep()
        self.assertEqual(self.happened, [3600, 7200, 30 * 3600])

    def test_stopped_nothing_happens_any_more(self):
        self.after(1)
        self.deadlines.stop()
        self.pass_time(2)
        self.assertEqual((self.happened, len(self.deadlines), self.clock.getDelayedCalls()), ([], 0, []))

    def test_stopped_by_one_of_them_the_others_do_not_happen(self):
        """A proxy's last connection may end at its deadline, and the proxy with it."""
        self.deadlines.call_later(1, self.deadlines.stop)
        self.after(1, "behind it")
        self.after(0.5, "before")
        self.pass_time(2)
        self.assertEqual(self.happened, ["before"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_sweep_that_a_stop_interrupts_does_not_fail(self):
        self.deadlines.call_later(1, self.deadlines.stop)
        self.clock.rightNow = 1.0
        self.deadlines.sweep()
        self.assertEqual(len(self.deadlines), 0)
