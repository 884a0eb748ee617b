"""Coroutines of connections: cancelled at any time, and freed when they end.

A coroutine may also be cancelled by what it calls itself. A ``Deferred`` of a coroutine cancels what the coroutine waits for. While the coroutine is executing it waits for
nothing: Twisted then cancels the Deferred that was awaited before, which has no effect, or fails an assertion if there
was none. That happens when code that the coroutine calls ends the connection: a TLS record that cannot be decrypted, or
an embedder's callable. Such a cancel is repeated when the coroutine waits again.

If a Deferred has failed before it is awaited, Twisted raises the exception in a method of its ``Failure``. The frame of that
method is in the exception's traceback, and the failure refers to the exception: a reference cycle, which keeps everything
that the coroutine held until the garbage collector runs. :func:`unfailed` raises it without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


def unfailed(awaited: Deferred[T]) -> Deferred[T]:
    """``awaited``, for a coroutine to await.

    :raises Exception: that of ``awaited``, if it has failed already.
    """
    if awaited.called and not awaited.paused and isinstance(awaited.result, Failure):
        failures: list[Failure] = []
        awaited.addErrback(failures.append)
        # Not bound to a local name, which would be a cycle with this frame.
        raise cast("BaseException", failures.pop().value)
    return awaited


class CancellableCoroutine(Generic[T]):
    """Runs ``coroutine``, once.

    :param call_soon: calls a function in a later event loop iteration.
    """

    __slots__ = ("_call_soon", "_coroutine", "_result")

    def __init__(
        self,
        coroutine: Coroutine[Deferred[Any], Any, T],
        call_soon: Callable[[Callable[[], object]], object],
    ) -> None:
        self._coroutine = coroutine
        self._call_soon = call_soon
        self._result: Deferred[T] | None = None

    def start(self) -> Deferred[T]:
        """Run it to its first wait. Returns the Deferred of its result."""
        self._result = result = Deferred.fromCoroutine(self._coroutine)
        return result

    def cancel(self) -> None:
        """Raise ``CancelledError`` where it waits, now or as soon as it waits again. No effect once it has ended."""
        if getattr(self._coroutine, "cr_running", False):
            self._call_soon(self.cancel)
        elif self._result is not None:
            self._result.cancel()
