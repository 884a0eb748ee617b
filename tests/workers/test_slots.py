"""What becomes of a slot."""

from __future__ import annotations

from itertools import product

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import IllegalTransition, WorkerFailed
from smartproxy.workers import commands, slots
from smartproxy.workers.process_rows import EXIT
from smartproxy.workers.slot import Slot, SlotState
from smartproxy.workers.slots import WorkerSlots
from tests.workers.fake_processes import FakeForking, FakeLink, waiting
from tests.workers.small import small_memory

_FOLLOWS = {
    (SlotState.EMPTY, SlotState.STARTING),
    (SlotState.EMPTY, SlotState.ENDED),
    (SlotState.STARTING, SlotState.SERVING),
    (SlotState.STARTING, SlotState.WAITING),
    (SlotState.STARTING, SlotState.ENDED),
    (SlotState.SERVING, SlotState.WAITING),
    (SlotState.SERVING, SlotState.ENDED),
    (SlotState.WAITING, SlotState.STARTING),
    (SlotState.WAITING, SlotState.ENDED),
    (SlotState.ENDED, SlotState.STARTING),
}


class SlotStateTests(SynchronousTestCase):
    def test_only_these_transitions_are_allowed(self):
        for before, after in product(SlotState, SlotState):
            slot = Slot(1)
            slot.state = before
            with self.subTest(f"{before.name} to {after.name}"):
                if (before, after) in _FOLLOWS:
                    slot.become(after, 5.0)
                    self.assertEqual((slot.state, slot.since), (after, 5.0))
                else:
                    self.assertRaises(IllegalTransition, slot.become, after, 5.0)


class NoSockets:
    """In place of the listening sockets."""

    def of_slot(self, _slot, _places=None):
        return {}


class SlotsCase(SynchronousTestCase):
    def setUp(self):
        self.patch(slots, "WorkerLink", FakeLink)
        self.clock = Clock()
        self.memory = small_memory(rows=8)
        self.addCleanup(self.memory.close)
        self.forking = FakeForking()
        self.forking.start()
        self.changing = DeferredLock()
        self.retired = []
        self.slots = WorkerSlots(
            2,
            NoSockets(),
            self.forking,
            self.clock,
            self.changing,
            self.memory,
            self.begun,
            self.retired.append,
        )

    async def begun(self, _link):
        pass

    def later(self, coroutine):
        return Deferred.fromCoroutine(coroutine)

    def start(self):
        self.successResultOf(self.later(self.slots.start_all()))
        return [slot.worker for slot in self.slots.slots]


class TellAllTests(SlotsCase):
    def test_a_worker_that_does_not_answer_delays_no_other(self):
        first, second = self.start()
        first.answers["Commit"] = waiting()
        telling = self.later(self.slots.tell_all(commands.Commit))
        self.assertEqual(second.told[-1], "Commit")
        self.assertNoResult(telling)

    def test_a_worker_that_fails_is_ended_and_the_others_are_told(self):
        first, second = self.start()
        first.answers["Commit"] = failing = waiting()
        telling = self.later(self.slots.tell_all(commands.Commit))
        failing.errback(WorkerFailed("it cannot"))
        self.successResultOf(telling)
        self.assertTrue(first.has_ended)
        self.assertFalse(second.has_ended)
        self.assertIn("Commit", second.told)


class ReplacementTests(SlotsCase):
    def test_a_change_that_waits_for_its_turn_finds_the_new_worker(self):
        """Else the former one would prepare it, and the new one go on with the former configuration."""
        former, _ = self.start()
        self.patch(FakeLink, "begin_answer", begin := waiting())
        replacing = self.later(self.slots.replace_all())
        found = []
        changing = self.changing.acquire().addCallback(lambda _: found.extend(self.slots.serving()))
        self.assertNoResult(changing)
        self.patch(FakeLink, "begin_answer", waiting())
        begin.callback(None)
        self.assertNotIn(former, found)
        self.assertEqual(found[0], self.slots.slots[0].worker)
        self.assertNoResult(replacing)


class StartTests(SlotsCase):
    def test_a_worker_without_a_process_is_tried_again(self):
        """No descriptor is left for its control channel, for instance: the slot must not wait for ever."""
        first, _ = self.start()
        self.patch(FakeLink, "open", _cannot_open)
        first.end()
        self.clock.advance(0)
        self.assertEqual(self.slots.slots[0].state, SlotState.WAITING)
        self.patch(FakeLink, "open", lambda link, *_: link.ready.callback(None))
        self.clock.advance(5)
        self.assertEqual(self.slots.slots[0].state, SlotState.SERVING)

    def test_a_start_that_fails_late_does_not_disturb_the_next_one(self):
        """The worker has ended before the nursery has reported its fork; the next one waits behind another slot's start."""
        first, second = self.start()
        forked = [waiting(), waiting()]
        self.forking.answers.extend(forked)
        for link in (first, second):
            link.end()
        self.clock.advance(0)
        [of_first_slot] = self.slots.links
        of_first_slot.end()
        self.clock.advance(1)
        for answer in forked:
            answer.callback(next(self.forking.numbers))
        self.clock.advance(10)
        self.assertEqual([slot.state for slot in self.slots.slots], [SlotState.SERVING] * 2)
        workers = [slot.worker for slot in self.slots.slots]
        self.assertCountEqual(self.slots.links, workers)
        self.assertEqual([link.killed for link in workers], [[], []])

    def test_a_substitute_that_ends_while_it_releases_ends_no_other(self):
        first, second = self.start()
        second.answers["Release"] = releasing = waiting()
        first.end()
        self.clock.advance(0)
        third = self.slots.slots[0].worker
        self.assertEqual(self.slots.slots[0].state, SlotState.SERVING)
        second.end()
        releasing.errback(WorkerFailed("the other process has ended"))
        self.assertEqual(third.killed, [])

    def test_all_slots_get_a_substitute_as_soon_as_there_is_one(self):
        first, second = self.start()
        first.end()
        second.end()
        self.assertIsNone(self.slots.slots[1].substitute)
        self.clock.advance(0)
        third = self.slots.slots[0].worker
        self.assertIn("Listen", third.told)

    def test_a_channel_that_outlives_its_process_is_closed(self):
        """A handler has forked a process, which has a copy of it."""
        first, _ = self.start()
        self.slots.has_exited(first.process, 0)
        self.assertFalse(first.has_ended)
        self.clock.advance(EXIT)
        self.assertTrue(first.has_ended)

    def test_a_worker_is_ended_by_any_signal(self):
        first, _ = self.start()
        self.slots.has_exited(first.process, -9)
        self.slots.has_exited(first.process, -40)


class StopTests(SlotsCase):
    def test_no_worker_is_forked_during_a_stop(self):
        """It would not be told to end, and the stop would wait until it is killed."""
        first, second = self.start()
        self.successResultOf(self.changing.acquire())
        first.end()
        self.clock.advance(0)
        replacing = self.later(self.slots.replace_all())
        stopping = self.later(self.slots.stop_all())
        self.changing.release()
        second.end()
        self.successResultOf(stopping)
        self.failureResultOf(replacing, WorkerFailed)
        self.assertEqual(self.forking.asked, ["fork", "fork"])
        self.assertEqual({slot.state for slot in self.slots.slots}, {SlotState.ENDED})


def _cannot_open(*_):
    raise OSError(24, "Too many open files")
