"""Running several coroutines at once, of which all have ended when the result is there.

::

    proofs = await together([partial(prove, one) for one in authorisations], most=10, call_soon=soon)

``gatherResults`` returns with the first failure, while the others still run. Here the first failure cancels the others, and it
is raised when they have ended: what they clean up is cleaned up before the caller goes on. Cancelling does the same.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from smartproxy.flow.coroutines import CancellableCoroutine

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

T = TypeVar("T")


async def together(
    coroutines: Sequence[Callable[[], Coroutine[Deferred[Any], Any, T]]],
    most: int,
    call_soon: Callable[[Callable[[], object]], object],
) -> list[T]:
    """The results of coroutines, in their order.

    :param coroutines: functions that make them. One that is not started any more is not made.
    :param most: how many run at once.
    :param call_soon: calls a function in a later event loop iteration.
    :raises Exception: the first one that a coroutine raised.
    """
    return await _Together(coroutines, most, call_soon).run()


class _Together(Generic[T]):
    def __init__(
        self,
        coroutines: Sequence[Callable[[], Coroutine[Deferred[Any], Any, T]]],
        most: int,
        call_soon: Callable[[Callable[[], object]], object],
    ) -> None:
        self._due = deque(enumerate(coroutines))
        self._most = most
        self._call_soon = call_soon
        self._running: dict[int, CancellableCoroutine[T]] = {}
        self._results: dict[int, T] = {}
        self._failure: BaseException | None = None
        self._starting = False
        self._changed: Deferred[None] | None = None

    async def run(self) -> list[T]:
        """Start them, and wait for the end of all."""
        self._start_due()
        while self._running:
            # A new Deferred for each wait, because a cancelled one has ended and the coroutines have not.
            self._changed = Deferred()
            try:
                await self._changed
            except CancelledError as cancelled:
                self._failure = self._failure or cancelled
                self._stop()
        if self._failure is not None:
            raise self._failure
        return [self._results[number] for number in sorted(self._results)]

    def _start_due(self) -> None:
        """Start as many as may run. One that ends at once calls this again, which a loop must not do to any depth."""
        if self._starting:
            return
        self._starting = True
        while self._due and len(self._running) < self._most:
            number, make = self._due.popleft()
            running = self._running[number] = CancellableCoroutine(make(), self._call_soon)
            running.start().addBoth(self._ended, number)
        self._starting = False

    def _ended(self, result: T | Failure, number: int) -> None:
        del self._running[number]
        if not isinstance(result, Failure):
            self._results[number] = result
        elif self._failure is None:
            self._failure = result.value
            self._stop()
        self._start_due()
        if self._changed is not None and not self._changed.called:
            self._changed.callback(None)

    def _stop(self) -> None:
        """Start no more, and cancel those that run. A second call cancels what they wait for while they clean up."""
        self._due.clear()
        for running in list(self._running.values()):
            running.cancel()
