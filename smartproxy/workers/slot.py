"""A slot of a supervisor: a set of listening sockets, and the worker that accepts from them."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import succeed

from smartproxy.errors import IllegalTransition

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from smartproxy.workers.worker_link import WorkerLink


class SlotState(Enum):
    """What becomes of a slot."""

    EMPTY = auto()
    STARTING = auto()
    SERVING = auto()
    WAITING = auto()  # until a worker is started again
    ENDED = auto()


#: The states that may follow each.
_FOLLOWING: Final = {
    SlotState.EMPTY: {SlotState.STARTING, SlotState.ENDED},
    SlotState.STARTING: {SlotState.SERVING, SlotState.WAITING, SlotState.ENDED},
    SlotState.SERVING: {SlotState.WAITING, SlotState.ENDED},
    SlotState.WAITING: {SlotState.STARTING, SlotState.ENDED},
    SlotState.ENDED: {SlotState.STARTING},
}


class Slot:
    """One slot.

    :ivar number: counted from 1.
    :ivar worker: which serves, or is about to.
    :ivar substitute: the worker that accepts from its sockets meanwhile.
    :ivar substituting: fires when that worker has them, or cannot have them.
    :ivar delay: seconds until the next start, if this one fails.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = SlotState.EMPTY
        self.worker: WorkerLink | None = None
        self.substitute: WorkerLink | None = None
        self.substituting: Deferred[None] = succeed(None)
        self.delay = 0.0
        self.since = 0.0

    def become(self, state: SlotState, now: float) -> None:
        """Change the state.

        :param now: monotonic seconds.
        """
        if state not in _FOLLOWING[self.state]:
            raise IllegalTransition(f"slot {self.number}: {self.state.name} to {state.name}")
        self.state, self.since = state, now
