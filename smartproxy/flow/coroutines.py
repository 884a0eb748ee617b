"""A coroutine that can be cancelled at any time, also by what it calls itself.

A ``Deferred`` of a coroutine cancels what the coroutine waits for. While the coroutine is executing it waits for
nothing: Twisted then cancels the Deferred that was awaited before, which has no effect, or fails an assertion if there
was none. That happens when code that the coroutine calls ends the connection: a TLS record that cannot be decrypted, or
an embedder's callable. Such a cancel is repeated when the coroutine waits again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


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
