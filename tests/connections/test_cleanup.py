"""The clean-up queue: batches, delays, failures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.cleanup import CleanupQueue
from smartproxy.model.plan import CleanupPlan
from tests.connections.made import turn


class CleanupTests(SynchronousTestCase):
    def setUp(self):
        self.begin()

    def begin(self, size=100, delay=0.1):
        self.clock = Clock()
        self.put = []
        self.added = []
        self.then = lambda item: None
        self.queue = CleanupQueue(self.process, CleanupPlan(size, delay), self.clock)

    def process(self, item):
        self.put.append(item)
        self.then(item)

    def add(self, *items):
        for item in items:
            self.added.append(item)
            self.queue.add(item)

    def counts(self):
        return self.queue.batches, self.queue.cleaned, self.queue.failed, len(self.queue)

    def test_full_batch_runs_at_once(self):
        self.add(*range(99))
        self.assertEqual(self.put, [])
        self.add(99)
        self.assertEqual(self.put, list(range(100)))
        self.assertEqual(self.counts(), (1, 100, 0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_partial_batch_runs_after_the_delay(self):
        self.add(1)
        self.clock.advance(0.05)
        self.add(2)
        self.clock.advance(0.049)
        self.assertEqual((self.put, list(self.queue)), ([], [1, 2]))
        self.clock.advance(0.001)
        self.assertEqual((self.put, self.counts()), ([1, 2], (1, 2, 0, 0)))

    def test_delay_starts_with_the_first_waiting_item(self):
        """An item that a full batch has already processed does not count."""
        self.add(0)
        self.clock.advance(0.05)
        self.add(*range(1, 100))
        self.assertEqual(len(self.put), 100)
        self.clock.advance(0.01)
        self.add(100)
        self.clock.advance(0.099)
        self.assertEqual(len(self.put), 100)
        self.clock.advance(0.001)
        self.assertEqual(len(self.put), 101)

    def test_empty_queue_has_no_timer(self):
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.add(1)
        self.clock.advance(10)
        self.assertEqual((self.clock.getDelayedCalls(), self.queue.batches), ([], 1))

    def test_shorter_delay_holds_for_what_waits_and_what_comes(self):
        self.begin(100, 60.0)
        self.add(1)
        self.queue.configure(CleanupPlan(100, 0.1))
        self.add(2)
        self.clock.advance(0.1)
        self.assertEqual(self.put, [1, 2])

    def test_longer_delay_holds_for_what_comes(self):
        self.add(1)
        self.queue.configure(CleanupPlan(100, 7.0))
        self.clock.advance(0.1)
        self.add(2)
        self.clock.advance(6.9)
        self.assertEqual(self.put, [1])
        self.clock.advance(0.1)
        self.assertEqual(self.put, [1, 2])

    def test_batch_size_and_delay_come_from_the_plan(self):
        self.begin(3, 7.0)
        self.add(1, 2, 3, 4)
        self.assertEqual(self.put, [1, 2, 3])
        self.clock.advance(7)
        self.assertEqual(self.put, [1, 2, 3, 4])

    def test_items_added_during_a_batch_wait_for_the_next(self):
        """Each item is cleaned up once, in order: an access log line must be neither lost nor written twice."""

        def then(item):
            if item < 100:
                self.add(1000 + item)
                self.assertEqual(list(self.queue)[-1], 1000 + item)

        self.then = then
        self.add(*range(100))
        self.assertEqual(self.put, list(range(100)))
        self.assertEqual(self.counts(), (1, 100, 0, 100))
        self.clock.advance(0)
        self.assertEqual(self.put, [*range(100), *range(1000, 1100)])
        self.assertEqual(self.counts(), (2, 200, 0, 0))

    def test_few_items_added_during_a_batch_wait_for_the_delay(self):
        self.then = lambda item: self.add("late") if item == 50 else None
        self.add(*range(100))
        self.clock.advance(0.099)
        self.assertEqual(len(self.put), 100)
        self.clock.advance(0.001)
        self.assertEqual(self.put[100:], ["late"])

    def test_event_loop_runs_between_two_full_batches(self):
        """Live connections must be served while thousands of closed ones are processed."""
        self.then = lambda item: self.add(*range(1000, 1350)) if item == 99 else None
        self.add(*range(100))
        seen = []
        while turn(self.clock):
            seen.append(len(self.put))
        self.assertEqual(seen[:3], [200, 300, 400])
        self.clock.advance(0.1)
        self.assertEqual(len(self.put), 450)

    def test_waiting_items_can_be_iterated_during_a_batch(self):
        """The totals include them."""
        seen = []
        self.then = lambda item: seen.append(list(self.queue))
        self.begin(3)
        self.then = lambda item: seen.append(list(self.queue))
        self.add(1, 2, 3)
        self.assertEqual(seen, [[2, 3], [3], []])

    def test_duration_of_the_longest_batch_is_recorded(self):
        def then(item):
            self.clock.rightNow += 0.001 if item < 100 else 0.0001

        self.then = then
        self.add(*range(200))
        self.assertEqual((self.queue.batches, round(self.queue.longest, 6)), (2, 0.1))

    def test_item_that_raises_is_logged_counted_and_skipped(self):
        def then(item):
            if item == 5:
                raise ZeroDivisionError

        self.then = then
        self.add(*range(100))
        self.assertEqual(self.put, list(range(100)))
        self.assertEqual(self.counts(), (1, 99, 1, 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_interrupted_batch_leaves_the_rest_in_the_queue(self):
        """A BaseException is not caught: a signal that ends the process, for one."""

        def then(item):
            if item == 5:
                raise KeyboardInterrupt

        self.then = then
        self.assertRaises(KeyboardInterrupt, self.add, *range(100))
        self.queue.empty()
        self.assertEqual(self.put, list(range(100)))

    def test_empty_processes_everything_at_once(self):
        self.then = lambda item: self.add(100 + item) if item < 3 else None
        self.add(0, 1, 2)
        self.queue.empty()
        self.assertEqual(self.put, [0, 1, 2, 100, 101, 102])
        self.assertEqual((self.counts(), self.clock.getDelayedCalls()), ((2, 6, 0, 0), []))

    @given(
        st.integers(1, 5),
        st.lists(st.tuples(st.integers(1, 12), st.sampled_from([0, 0.05, 0.1])), max_size=30),
        st.sets(st.integers(0, 60)),
        st.sets(st.integers(0, 60)),
    )
    def test_every_item_is_processed_once_in_any_schedule(self, size, bursts, breeding, raising):
        self.begin(size)
        names = iter(range(100_000))

        def then(item):
            if item in breeding:
                self.add(*(next(names) for _ in range(3)))
            if item in raising:
                raise ZeroDivisionError

        self.then = then
        for count, pause in bursts:
            self.add(*(next(names) for _ in range(count)))
            self.clock.advance(pause)
        self.queue.empty()
        self.assertEqual(self.put, self.added)
        self.assertEqual(self.queue.cleaned + self.queue.failed, len(self.put))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.flushLoggedErrors(ZeroDivisionError)
