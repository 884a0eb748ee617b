"""When checks begin."""

from __future__ import annotations

from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.upstream.health.schedule import AT_LEAST, BUDGET, STEP, Schedule


class ScheduleTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.schedule = Schedule(self.clock)
        self.made = []

    def call_at(self, due, what=None):
        return self.schedule.call_at(due, lambda: self.made.append(due if what is None else what))

    def test_calls_are_made_in_the_order_in_which_they_are_due(self):
        due = [Random(1).uniform(0, 5) for _ in range(200)]
        for each in due:
            self.call_at(each)
        late = []
        while self.clock.seconds() < 6:
            self.clock.advance(0.001)
            late += [self.clock.seconds() - each for each in self.made[len(late) :]]
        self.assertEqual(self.made, sorted(due))
        self.assertLess(max(late), STEP + 0.002)
        self.assertEqual(len(self.schedule), 0)

    def test_an_earlier_call_is_not_late(self):
        self.call_at(10)
        self.call_at(1)
        self.clock.advance(1 + STEP)
        self.assertEqual(self.made, [1])

    def test_cancelled_calls_are_not_made_and_not_kept(self):
        kept = self.call_at(3600)
        for _ in range(20):
            for one in [self.call_at(3600 + number) for number in range(100)]:
                self.schedule.cancel(one)
        self.assertEqual(len(self.schedule), 1)
        self.assertLess(len(self.schedule._calls), 300)
        self.schedule.cancel(kept)
        self.schedule.cancel(kept)
        self.assertEqual(len(self.schedule), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(4000)
        self.assertEqual(self.made, [])

    def test_cancelling_a_call_that_was_made_does_nothing(self):
        made = self.call_at(1)
        self.call_at(2)
        self.clock.pump([1.1])
        self.schedule.cancel(made)
        self.assertEqual(len(self.schedule), 1)
        self.clock.pump([1.1])
        self.assertEqual(self.made, [1, 2])

    def test_a_step_ends_when_its_time_is_used_up(self):
        """What is due all at once does not hold up the event loop."""

        def work():
            self.clock.rightNow += BUDGET / 19.5
            self.made.append(self.clock.seconds())

        for _ in range(90):
            self.schedule.call_at(1, work)
        self.clock.advance(1)
        self.assertEqual(len(self.made), 20)
        self.clock.advance(STEP)
        self.assertEqual(len(self.made), 40)

    def test_a_busy_machine_does_not_hold_up_the_checks(self):
        """Time passes while another process is executed: some are begun nevertheless."""

        def work():
            self.clock.rightNow += 1
            self.made.append(self.clock.seconds())

        for _ in range(2 * AT_LEAST):
            self.schedule.call_at(1, work)
        self.clock.advance(1)
        self.assertEqual(len(self.made), AT_LEAST)

    def test_a_call_that_raises_does_not_stop_the_others(self):
        self.schedule.call_at(1, lambda: 1 / 0)
        self.call_at(1)
        self.clock.advance(1)
        self.assertEqual(self.made, [1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_call_may_set_the_next_one(self):
        def again():
            self.made.append(round(self.clock.seconds()))
            self.schedule.call_at(self.clock.seconds() + 1, again)

        self.schedule.call_at(1, again)
        self.clock.pump([0.5] * 10)
        self.assertEqual(self.made[:4], [1, 2, 3, 4])
