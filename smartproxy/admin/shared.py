"""One result for all who ask for it while it is being made.

A page of metrics takes milliseconds of several event loop iterations and megabytes. When many clients ask at once, it is
made at most twice: for the requests before it began, and then for all later ones. So no client gets a page that was
begun before its request, which could miss what had happened by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.python.failure import Failure

T = TypeVar("T")


class SharedResult(Generic[T]):
    """Makes results, one at a time.

    :param make: makes one.
    """

    def __init__(self, make: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> None:
        self._make = make
        self._is_making = False
        self._waiting: list[Deferred[T]] = []

    def get(self) -> Deferred[T]:
        """Fires with a result that was begun now or later."""
        waiting: Deferred[T] = Deferred()
        self._waiting.append(waiting)
        if not self._is_making:
            self._begin()
        return waiting

    def _begin(self) -> None:
        asked, self._waiting = self._waiting, []
        self._is_making = True
        Deferred.fromCoroutine(self._make()).addBoth(self._made, asked)

    def _made(self, result: T | Failure, asked: list[Deferred[T]]) -> None:
        self._is_making = False
        if self._waiting:
            self._begin()
        for one in asked:
            one.callback(result)  # a Failure makes it fail
