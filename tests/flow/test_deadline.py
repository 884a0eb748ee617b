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
        return self.deadlines.after(seconds, lambda: self.happened.append(name or seconds))

    def pass_time(self, seconds):
        for _ in range(round(seconds / TICK)):
            self.clock.advance(TICK)

    def test_what_is_due_happens_late_by_at_most_a_tick_and_never_early(self):
        for seconds in (0.05, 0.5, 2.34, 9.99):
            clock, happened = Clock(), []
            deadlines = Deadlines(clock)
            deadlines.start()
            deadlines.after(seconds, lambda happened=happened, clock=clock: happened.append(clock.seconds()))
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
        deadline.drop()
        deadline.drop()
        self.pass_time(2)
        self.assertEqual(self.happened, ["other"])
        deadline.drop()

    def test_one_may_drop_another_that_is_due_in_the_same_sweep(self):
        self.deadlines.after(1, lambda: second.drop())  # noqa: PLW0108 - there is no second yet
        second = self.after(1, "second")
        self.pass_time(2)
        self.assertEqual(self.happened, [])

    def test_one_may_set_the_next(self):
        def again():
            self.happened.append(self.clock.seconds())
            if len(self.happened) < 3:
                self.deadlines.after(1, again)

        self.deadlines.after(1, again)
        self.pass_time(5)
        self.assertEqual(len(self.happened), 3)

    def test_one_that_fails_stops_no_other(self):
        def fail():
            raise ZeroDivisionError

        self.deadlines.after(1, fail)
        self.after(1, "behind it")
        self.after(2)
        self.pass_time(3)
        self.assertEqual(self.happened, ["behind it", 2])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_length_that_nobody_waits_for_is_forgotten(self):
        for number in range(100):
            self.after(1 + number / 1000).drop()
        self.after(50)
        self.pass_time(0.2)
        self.assertEqual(list(self.deadlines._queues), [50])

    def test_what_is_not_due_costs_a_sweep_nothing(self):
        """Counted, not timed: one comparison a length, however many wait."""
        compared = []

        class Counting(float):
            """The moment of the sweep. As the subclass, it is asked first."""

            def __lt__(self, other):
                compared.append(other)
                return float.__lt__(self, other)

        for _ in range(10_000):
            self.after(60)
        self.clock.rightNow = Counting(1.0)
        self.deadlines.sweep()
        self.assertEqual(len(compared), 1)

    def test_stopped_nothing_happens_any_more(self):
        self.after(1)
        self.deadlines.stop()
        self.pass_time(2)
        self.assertEqual((self.happened, len(self.deadlines), self.clock.getDelayedCalls()), ([], 0, []))

    def test_stopped_by_one_of_them_the_others_do_not_happen(self):
        """A proxy's last connection may end at its deadline, and the proxy with it."""
        self.deadlines.after(1, self.deadlines.stop)
        self.after(1, "behind it")
        self.after(0.5, "before")
        self.pass_time(2)
        self.assertEqual(self.happened, ["before"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_sweep_that_a_stop_interrupts_does_not_fail(self):
        self.deadlines.after(1, self.deadlines.stop)
        self.clock.rightNow = 1.0
        self.deadlines.sweep()
        self.assertEqual(len(self.deadlines), 0)
