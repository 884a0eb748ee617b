"""Limiting how long one kind of work may take in one event loop iteration.

Work that takes a millisecond for each connection, like the signature of a TLS handshake, may be due for hundreds of them
at once. Done in a row it would delay every other connection by their sum. The first of them are done at once; what
exceeds the budget is done in the following iterations, in the same order.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

log = Logger()


class WorkBudget:
    """So many seconds in each event loop iteration, from the first piece of work in it.

    :param clock: monotonic.
    """

    def __init__(self, seconds: float, clock: IReactorTime) -> None:
        self._seconds = seconds
        self._clock = clock
        #: When the first piece of work of this iteration began; ``None`` before.
        self._began: float | None = None
        self._waiting: dict[Deferred[None], None] = {}

    def __len__(self) -> int:
        """How many wait for a later iteration."""
        return len(self._waiting)

    def turn(self) -> Deferred[None] | None:
        """``None`` if the work may be done now; else a Deferred that fires when it may. It may be cancelled."""
        if not self._waiting and self._has_time():
            return None
        return self._wait()

    def call_soon(self, call: Callable[[], object]) -> None:
        """Call ``call()`` in a later iteration that has time for it."""
        self._has_time()  # so that what waits is called in the next one
        self._wait().addCallback(lambda _: call()).addErrback(partial(log.failure, "a piece of work failed"))

    def _wait(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred(self._waiting.pop)
        self._waiting[waiting] = None
        return waiting

    def _has_time(self) -> bool:
        if self._began is None:
            self._began = self._clock.seconds()
            self._clock.callLater(0, self._next_iteration)
            return True
        return self._clock.seconds() - self._began < self._seconds

    def _next_iteration(self) -> None:
        self._began = None
        # Work that asks for more of it, as it is done, waits for another iteration.
        for _ in range(len(self._waiting)):
            if not self._waiting or not self._has_time():
                return
            first = next(iter(self._waiting))
            del self._waiting[first]
            first.callback(None)
