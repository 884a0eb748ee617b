"""What has ended is put away in batches: at once when a batch is full, else a moment after its first.

When ten thousand connections are lost together, closing their books one by one as they fall would take the
time of those that live. So a connection that ends gives back its place in the limits at once, and the rest
(totals, histograms, the access log) waits here: a hundred at most are done in a row, and a hundred
milliseconds are the longest that one waits.

What is added while a batch runs is kept for the next, in order; where that is a whole batch again, it has the
reactor's next turn, so that who lives has his turn in between. One that cannot be put away is logged and counted,
and stops nobody behind it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from smartproxy.model.plan import CleanupPlan

T = TypeVar("T")

log = Logger()


class CleanupQueue(Generic[T]):
    """Items on their way to ``put_away``, each of which gets there once.

    :param clock: for the delay.
    :ivar batches: how many have run. :ivar cleaned: items that were put away. :ivar failed: those that raised.
    :ivar longest: seconds that the longest batch took.
    """

    def __init__(self, put_away: Callable[[T], None], plan: CleanupPlan, clock: IReactorTime) -> None:
        self._put_away = put_away
        self._size = plan.batch_size
        self._delay = plan.delay
        self._waiting: deque[T] = deque()
        self._in_batch = False
        self._clock = clock
        self._due: IDelayedCall | None = None
        self.batches = 0
        self.cleaned = 0
        self.failed = 0
        self.longest = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[T]:
        """What waits, in order; the rest of a batch that runs comes first."""
        return iter(self._waiting)

    def add(self, item: T) -> None:
        """``item`` has ended."""
        self._waiting.append(item)
        if self._in_batch:
            return  # the batch looks for itself what to do about it
        if len(self._waiting) >= self._size:
            self._run()
        elif self._due is None:
            self._due = self._clock.callLater(self._delay, self._run)

    def empty(self) -> None:
        """Put everything away now: there will be no later."""
        while self._waiting and not self._in_batch:
            self._run()

    def _run(self) -> None:
        """One batch: what waits when it begins, and as much as fits. What is left is for the next."""
        self._in_batch = True
        self.batches += 1
        began = self._clock.seconds()
        try:
            for _ in range(min(self._size, len(self._waiting))):
                self._put_away_one(self._waiting.popleft())
        finally:
            self._in_batch = False
            self.longest = max(self.longest, self._clock.seconds() - began)
            self._wait()

    def _put_away_one(self, item: T) -> None:
        try:
            self._put_away(item)
        except Exception:
            self.failed += 1
            log.failure("{item!r} could not be put away", item=item)
        else:
            self.cleaned += 1

    def _wait(self) -> None:
        """See that the next batch runs when it shall: a whole one in the next turn."""
        due, self._due = self._due, None
        if due is not None and due.active():
            due.cancel()
        if self._waiting:
            delay = 0 if len(self._waiting) >= self._size else self._delay
            self._due = self._clock.callLater(delay, self._run)
