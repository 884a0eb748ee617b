"""Processes closed connections in batches.

When ten thousand connections are lost at once, their accounting must not delay the live ones. So a closed connection
releases its place in the limits immediately, and the rest (totals, histograms, the access log) waits in this queue. A batch
of 100 runs as soon as it is full, a smaller one 100 ms after its first item.

Items that are added while a batch runs wait for the next one, in order. If they fill a batch, it runs in the next event
loop iteration, so that live connections are served between batches. An item whose processing fails is logged and counted,
and does not stop those behind it.
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
    """A queue whose items are passed to ``process`` in batches, each exactly once.

    :param process: called with each item.
    :param clock: for the delay.
    :ivar batches: number of batches run.
    :ivar cleaned: number of items processed.
    :ivar failed: number of items whose processing raised.
    :ivar longest: duration of the longest batch in seconds.
    """

    def __init__(self, process: Callable[[T], None], plan: CleanupPlan, clock: IReactorTime) -> None:
        self._process = process
        self._waiting: deque[T] = deque()
        self._in_batch = False
        self._clock = clock
        self._due = LoopingCall(self._tick)
        self._due.clock = clock
        self.configure(plan)
        self._next: IDelayedCall | None = None
        self.batches = 0
        self.cleaned = 0
        self.failed = 0
        self.longest = 0.0

    def configure(self, plan: CleanupPlan) -> None:
        """Set the size of batches and the delay. Items that wait already do so for the shorter of both delays."""
        self._size = plan.batch_size
        self._delay = plan.delay
        if self._due.running and plan.delay < (self._due.interval or 0):
            self._due.stop()
            self._due.start(plan.delay, now=False)
        self._due.interval = plan.delay

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[T]:
        """The waiting items in order; during a batch, the rest of that batch comes first."""
        return iter(self._waiting)

    def add(self, item: T) -> None:
        """Add an item; runs a batch at once if this one fills it."""
        self._waiting.append(item)
        if self._in_batch or self._next is not None:
            return  # _schedule_rest decides when the current batch ends, or the next one is scheduled already
        if len(self._waiting) >= self._size:
            self._cancel_all()
            self._run()
        elif not self._due.running:
            self._due.start(self._delay, now=False)

    def empty(self) -> None:
        """Process everything now, because the proxy stops."""
        while self._waiting and not self._in_batch:
            self._run()
        self._cancel_all()

    def _tick(self) -> None:
        """The delay has passed."""
        self._run()
        if not self._waiting or self._next is not None:
            self._due.stop()

    def _run(self) -> None:
        """Run one batch of the items that wait when it begins. Later items are left for the next."""
        self._cancel_next()
        self._in_batch = True
        self.batches += 1
        began = self._clock.seconds()
        try:
            for _ in range(min(self._size, len(self._waiting))):
                self._process_one(self._waiting.popleft())
        finally:
            # Also after a KeyboardInterrupt in process: the remaining items are still processed.
            self._in_batch = False
            self.longest = max(self.longest, self._clock.seconds() - began)
            self._schedule_rest()

    def _process_one(self, item: T) -> None:
        try:
            self._process(item)
        except Exception:
            self.failed += 1
            log.failure("clean-up of a {item} failed", item=type(item).__name__)
        else:
            self.cleaned += 1

    def _schedule_rest(self) -> None:
        """Schedule the rest: a full batch in the next event loop iteration, a smaller one after the delay."""
        if len(self._waiting) >= self._size:
            self._next = self._clock.callLater(0, self._run)
        elif self._waiting and not self._due.running:
            self._due.start(self._delay, now=False)

    def _cancel_all(self) -> None:
        if self._due.running:
            self._due.stop()
        self._cancel_next()

    def _cancel_next(self) -> None:
        following, self._next = self._next, None
        if following is not None and following.active():
            following.cancel()
