"""What becomes of a slot."""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import IllegalTransition
from smartproxy.workers.slot import Slot, SlotState

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
