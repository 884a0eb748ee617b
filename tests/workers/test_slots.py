"""What becomes of a slot."""

from __future__ import annotations

from itertools import product

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import IllegalTransition, WorkerFailed
from smartproxy.workers import commands, slots
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
