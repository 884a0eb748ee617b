"""Deadlines from one coarse clock: cheap to set, cheaper to drop, late by at most one tick.

Nearly every deadline of a proxy is dropped long before it is due, and most before the next tick: those are never put
anywhere. The others stand in slots of one tick each, by the time at which they are due: setting and dropping one
costs the same however many there are and however long they are (a ``callLater`` and its cancel cost 2.7
microseconds), and a sweep looks only at what was set since the last and at the slots whose time has come. Ten
thousand that are not due cost it nothing. This is the hashed timing wheel of Varghese and Lauck (1987), with a dict
in place of the circle, so that nothing is ever too far away.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between two sweeps: how late a deadline may be.
TICK = 0.1

#: Deadlines that happen in a row: ending a connection takes about 30 microseconds.
_SLICE = 100

#: What is due in each tick, in the order of setting. No slot is empty.
_Slots: TypeAlias = "dict[int, dict[Deadline, None]]"

log = Logger()


class Deadline:
    """One thing that happens at ``due`` (monotonic seconds) unless it is dropped before."""

    __slots__ = ("_call", "_slots", "due")

    def __init__(self, due: float, call: Callable[[], object]) -> None:
        self.due = due
        self._call: Callable[[], object] | None = call
        self._slots: _Slots | None = None

    @property
    def pending(self) -> bool:
        """Whether it may still happen."""
        return self._call is not None

    def cancel(self) -> None:
        """It shall not happen. Dropping twice, or after it has happened, does nothing."""
        if self._call is not None:
            self._call = None
            if self._slots is not None:
                self._leave(self._slots)

    def enter(self, slots: _Slots) -> None:
        """It was not dropped soon: it gets its place."""
        if self._call is not None:
            self._slots = slots
            slots.setdefault(int(self.due / TICK), {})[self] = None

    def _leave(self, slots: _Slots) -> None:
        number = int(self.due / TICK)
        slot = slots.get(number)
        if slot is not None:
            slot.pop(self, None)
            if not slot:
                del slots[number]

    def fire(self) -> None:
        """It happens now."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Deadlines:
    """All deadlines of one proxy."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._fresh: list[Deadline] = []
        self._slots: _Slots = {}
        self._first = int(clock.seconds() / TICK)
        self._due: deque[Deadline] = deque()
        self._going_on: IDelayedCall | None = None
        self._sweep = LoopingCall(self.sweep)
        self._sweep.clock = clock

    def start(self) -> None:
        """Begin to sweep."""
        self._sweep.start(TICK, now=False).addErrback(
            lambda why: log.failure("deadlines are no longer swept", failure=why)
        )

    def stop(self) -> None:
        """Stop sweeping; what is still set never happens."""
        if self._sweep.running:
            self._sweep.stop()
        if self._going_on is not None:
            self._going_on.cancel()
            self._going_on = None
        self._fresh.clear()
        self._slots.clear()
        self._due.clear()

    def call_later(self, seconds: float, call: Callable[[], object]) -> Deadline:
        """Call ``call()`` in ``seconds``, or up to a tick later."""
        deadline = Deadline(self._clock.seconds() + seconds, call)
        self._fresh.append(deadline)
        return deadline

    def sweep(self) -> None:
        """Let what is due happen: in slices, so that ten thousand at once do not hold up everybody else."""
        self._collect(self._clock.seconds())
        if self._due and self._going_on is None:
            self._go_on()

    def __len__(self) -> int:
        waiting = sum(deadline.pending for deadlines in (self._fresh, self._due) for deadline in deadlines)
        return waiting + sum(map(len, self._slots.values()))

    def _collect(self, now: float) -> None:
        """Take what is due out of its slots. The slot of this very moment may be due in part."""
        fresh, self._fresh = self._fresh, []
        for deadline in fresh:
            deadline.enter(self._slots)
        last = int(now / TICK)
        for number in self._slots_up_to(last):
            slot = self._slots.pop(number, None)
            if slot is None:
                continue
            self._due.extend(deadline for deadline in slot if deadline.due <= now)
            later = {deadline: None for deadline in slot if deadline.due > now}
            if later:
                self._slots[number] = later
        self._first = last

    def _slots_up_to(self, last: int) -> Iterable[int]:
        """The slots that may be due: those since the last sweep, or all there are when these are fewer."""
        if last - self._first < len(self._slots):
            return range(self._first, last + 1)
        return sorted(number for number in self._slots if number <= last)

    def _go_on(self) -> None:
        """One slice. What is dropped while it waits for the next one does not happen."""
        self._going_on = None
        for _ in range(_SLICE):
            if not self._due:
                return
            try:
                self._due.popleft().fire()
            except Exception:
                log.failure("a deadline's call failed")
        if self._due:
            self._going_on = self._clock.callLater(0, self._go_on)
