"""When checks are due: any number of them, evenly, and never many in one event loop iteration.

Deadlines (:mod:`smartproxy.flow.deadline`) come in ticks of 100 ms. With 10,000 targets that are checked every 5 s, each tick would
begin 200 checks at once, which takes longer than other connections should wait, and their answers come at once, too. Here
checks begin in steps of a few milliseconds, and a step has a limit: what exceeds it is begun in the next one, a little late.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between two steps, and so how late a check may begin.
STEP = 0.005
#: Seconds of work in one step: checks that are due all at once take two fifths of a core until all have begun.
BUDGET = 0.002
#: Calls of a step that are made in any case: on a busy machine, time passes in which this process is not executed.
AT_LEAST = 16
#: Cancelled calls that are kept before they are removed, beside as many as there are others.
_MOST_CANCELLED = 64

log = Logger()


class ScheduledCall:
    """A call that will be made, unless it is cancelled.

    :ivar due: monotonic seconds.
    """

    __slots__ = ("_number", "call", "due")

    def __init__(self, due: float, number: int, call: Callable[[], object]) -> None:
        self.due = due
        self._number = number
        self.call: Callable[[], object] | None = call

    def __lt__(self, other: ScheduledCall) -> bool:
        return (self.due, self._number) < (other.due, other._number)


class Schedule:
    """Calls by the time when they are due.

    :param clock: of the reactor.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._calls: list[ScheduledCall] = []
        self._cancelled = 0
        self._numbers = count()
        self._timer: IDelayedCall | None = None
        self._wakes_at = 0.0

    def __len__(self) -> int:
        return len(self._calls) - self._cancelled

    def call_at(self, due: float, call: Callable[[], object]) -> ScheduledCall:
        """Call ``call()`` at ``due`` (monotonic seconds), or up to a step later."""
        made = ScheduledCall(due, next(self._numbers), call)
        heappush(self._calls, made)
        if self._timer is None:
            self._arm()
        elif due < self._wakes_at - STEP:
            self._timer.cancel()
            self._arm()
        return made

    def cancel(self, made: ScheduledCall) -> None:
        """Do not make a call. It has no effect on one that was made."""
        if made.call is None:
            return
        made.call = None
        self._cancelled += 1
        if self._cancelled > _MOST_CANCELLED + len(self._calls) // 2:
            self._calls = [one for one in self._calls if one.call is not None]
            heapify(self._calls)
            self._cancelled = 0
        if len(self._calls) == self._cancelled:
            self._stop_timer()

    def _arm(self) -> None:
        now = self._clock.seconds()
        delay = max(self._calls[0].due - now, STEP)
        self._wakes_at = now + delay
        self._timer = self._clock.callLater(delay, self._run)

    def _run(self) -> None:
        """Make the calls that are due, until the time of a step is used up."""
        self._timer = None
        now = self._clock.seconds()
        made_calls = 0
        while self._calls and self._calls[0].due <= now:
            made = heappop(self._calls)
            call, made.call = made.call, None
            if call is None:
                self._cancelled -= 1
                continue
            try:
                call()
            except Exception:
                log.failure("a check could not be begun")
            made_calls += 1
            if made_calls >= AT_LEAST and self._clock.seconds() - now >= BUDGET:
                break
        if len(self._calls) > self._cancelled and self._timer is None:
            self._arm()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
