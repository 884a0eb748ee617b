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

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from smartproxy.model.plan import CleanupPlan

T = TypeVar("T")

log = Logger()


class CleanupQueue(Generic[T]):
    """Items on their way to ``process``, each of which gets there once.

    :param clock: for the delay.
    :ivar batches: how many have run. :ivar cleaned: items that were put away. :ivar failed: those that raised.
    :ivar longest: seconds that the longest batch took.
    """

    def __init__(self, process: Callable[[T], None], plan: CleanupPlan, clock: IReactorTime) -> None:
        self._process = process
        self._size = plan.batch_size
        self._delay = plan.delay
        self._waiting: deque[T] = deque()
        self._in_batch = False
        self._clock = clock
        self._due = LoopingCall(self._tick)
        self._due.clock = clock
        self._next: IDelayedCall | None = None
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
        if self._in_batch or self._next is not None:
            return  # the batch looks for itself what to do about it
        if len(self._waiting) >= self._size:
            self._pause()
            self._run()
        elif not self._due.running:
            self._due.start(self._delay, now=False)

    def empty(self) -> None:
        """Put everything away now: there will be no later."""
        while self._waiting and not self._in_batch:
            self._run()
        self._pause()

    def _tick(self) -> None:
        """The delay is over."""
        self._run()
        if not self._waiting or self._next is not None:
            self._due.stop()

    def _run(self) -> None:
        """One batch: what waits when it begins, and as much as fits. What is left is for the next."""
        self._forget_next()
        self._in_batch = True
        self.batches += 1
        began = self._clock.seconds()
        try:
            for _ in range(min(self._size, len(self._waiting))):
                self._process_one(self._waiting.popleft())
        finally:
            self._in_batch = False
            self.longest = max(self.longest, self._clock.seconds() - began)
            self._see_to_the_rest()

    def _process_one(self, item: T) -> None:
        try:
            self._process(item)
        except Exception:
            self.failed += 1
            log.failure("{item!r} could not be put away", item=item)
        else:
            self.cleaned += 1

    def _see_to_the_rest(self) -> None:
        """A whole batch has its turn next; fewer have the delay."""
        if len(self._waiting) >= self._size:
            self._next = self._clock.callLater(0, self._run)
        elif self._waiting and not self._due.running:
            self._due.start(self._delay, now=False)

    def _pause(self) -> None:
        if self._due.running:
            self._due.stop()
        self._forget_next()

    def _forget_next(self) -> None:
        following, self._next = self._next, None
        if following is not None and following.active():
            following.cancel()
