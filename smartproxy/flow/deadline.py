"""Deadlines from one coarse clock: cheap to set, cheaper to cancel, late by at most one tick.

Nearly every deadline of a proxy is cancelled long before it is due, and most before the next tick: those never enter
the wheel. The others are in slots of one tick each, by the time they are due. Setting and cancelling one costs the same
however many there are and however far ahead they are (a ``callLater`` and its cancel cost 2.7 microseconds), and a
sweep visits only what was set since the last one and the slots that are due: ten thousand that are not due cost it
nothing. This is the hashed timing wheel of Varghese and Lauck (1987), with a dict in place of the circle, so that no
deadline is too far ahead.
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

#: Deadlines called in a row before the event loop gets its turn: ending a connection takes about 30 microseconds.
_SLICE = 100

#: When a deadline is due that is not set.
_NEVER = float("inf")

#: The deadlines due in each tick, in the order in which they were set. No slot is empty.
_Slots: TypeAlias = "dict[int, dict[Deadline, None]]"

log = Logger()


class Deadline:
    """A call that is made at ``due`` (monotonic seconds) unless it is cancelled before."""

    __slots__ = ("_call", "_slots", "due")

    def __init__(self, due: float, call: Callable[[], object]) -> None:
        self.due = due
        self._call: Callable[[], object] | None = call
        self._slots: _Slots | None = None

    @property
    def pending(self) -> bool:
        """Whether the call may still be made."""
        return self._call is not None

    def cancel(self) -> None:
        """Do not make the call. Cancelling twice, or after the call, does nothing."""
        if self._call is not None:
            self._call = None
            if self._slots is not None:
                self._leave(self._slots)

    def enter(self, slots: _Slots) -> None:
        """Enter the slot of its tick, unless it has been cancelled already."""
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
        """Make the call now."""
        call, self._call = self._call, None
        if call is not None:
            call()


def _ignored() -> None:
    """The call of a deadline that was cancelled."""


class MovableDeadline:
    """One deadline that is moved again and again, and rarely reached: that of what a connection waits for now.

    To move it to a later time is to note that. Only when the call would have been made before is it made anew.

    :param call: called when the deadline was reached.
    """

    __slots__ = ("_call", "_deadlines", "_due", "_set")

    def __init__(self, deadlines: Deadlines, call: Callable[[], object]) -> None:
        self._deadlines = deadlines
        self._call = call
        self._due = _NEVER
        self._set: Deadline | None = None

    def move(self, seconds: float, now: float) -> None:
        """Set it to ``seconds`` from ``now``, in place of what it was; 0 is none."""
        due = self._due = now + seconds if seconds else _NEVER
        if self._set is None or due < self._set.due:
            self._arm(now)

    def cancel(self) -> None:
        """It is not needed any more, and releases its call, which nearly always refers to its owner: a reference cycle."""
        self._due = _NEVER
        self._call = _ignored
        if self._set is not None:
            self._set.cancel()
            self._set = None

    def _arm(self, now: float) -> None:
        if self._set is not None:
            self._set.cancel()
        self._set = (
            None if self._due == _NEVER else self._deadlines.call_later(self._due - now, self._reached)
        )

    def _reached(self) -> None:
        now, self._set = self._deadlines.now(), None
        if self._due <= now:
            self._due = _NEVER
            self._call()
        else:
            self._arm(now)


class Deadlines:
    """All deadlines of one proxy."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._fresh: list[Deadline] = []
        self._slots: _Slots = {}
        self._first = int(clock.seconds() / TICK)
        self._due: deque[Deadline] = deque()
        self._next_slice: IDelayedCall | None = None
        self._sweep = LoopingCall(self.sweep)
        self._sweep.clock = clock

    def start(self) -> None:
        """Begin to sweep, once a tick."""
        self._sweep.start(TICK, now=False).addErrback(
            lambda why: log.failure("deadlines are no longer swept", failure=why)
        )

    def stop(self) -> None:
        """Stop sweeping and forget every deadline."""
        if self._sweep.running:
            self._sweep.stop()
        if self._next_slice is not None:
            self._next_slice.cancel()
            self._next_slice = None
        self._fresh.clear()
        self._slots.clear()
        self._due.clear()

    def call_later(self, seconds: float, call: Callable[[], object]) -> Deadline:
        """Call ``call()`` in ``seconds``, or up to one tick later."""
        deadline = Deadline(self._clock.seconds() + seconds, call)
        self._fresh.append(deadline)
        return deadline

    def now(self) -> float:
        """Monotonic seconds, as deadlines are measured."""
        return self._clock.seconds()

    def sweep(self) -> None:
        """Make the calls that are due, in slices, so that ten thousand at once do not block the event loop."""
        self._collect(self._clock.seconds())
        if self._due and self._next_slice is None:
            self._call_slice()

    def __len__(self) -> int:
        waiting = sum(deadline.pending for deadlines in (self._fresh, self._due) for deadline in deadlines)
        return waiting + sum(map(len, self._slots.values()))

    def _collect(self, now: float) -> None:
        """Move what is due out of its slots."""
        fresh, self._fresh = self._fresh, []
        for deadline in fresh:
            deadline.enter(self._slots)
        last = int(now / TICK)
        for number in self._slots_up_to(last):
            slot = self._slots.pop(number, None)
            if slot is None:
                continue
            # The slot of the current tick may be due in part; the rest of it is put back.
            self._due.extend(deadline for deadline in slot if deadline.due <= now)
            later = {deadline: None for deadline in slot if deadline.due > now}
            if later:
                self._slots[number] = later
        self._first = last

    def _slots_up_to(self, last: int) -> Iterable[int]:
        """Slots that may be due: one for each tick since the last sweep, or all occupied ones where those are fewer."""
        if last - self._first < len(self._slots):
            return range(self._first, last + 1)
        return sorted(number for number in self._slots if number <= last)

    def _call_slice(self) -> None:
        """Make the calls of one slice. One that is cancelled while it waits for its slice is not made."""
        self._next_slice = None
        for _ in range(_SLICE):
            if not self._due:
                return
            try:
                self._due.popleft().fire()
            except Exception:
                log.failure("a deadline's call raised an exception")
        if self._due:
            self._next_slice = self._clock.callLater(0, self._call_slice)
