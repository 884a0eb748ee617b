"""Coroutines of connections: cancelled at any time, and freed when they end.

A coroutine may also be cancelled by what it calls itself. A ``Deferred`` of a coroutine cancels what the coroutine waits for. While the coroutine is executing it waits for
nothing: Twisted then cancels the Deferred that was awaited before, which has no effect, or fails an assertion if there
was none. That happens when code that the coroutine calls ends the connection: a TLS record that cannot be decrypted, or
an embedder's callable. Such a cancel is repeated when the coroutine waits again.

If a Deferred has failed before it is awaited, Twisted raises the exception in a method of its ``Failure``. The frame of that
method is in the exception's traceback, and the failure refers to the exception: a reference cycle, which keeps everything
that the coroutine held until the garbage collector runs. :func:`unfailed` raises it without one. One that fails later is raised
in the coroutine by :class:`CancellableCoroutine`, likewise.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from smartproxy.flow.event import AwaitableEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

log = Logger()


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

    It waits for events (:mod:`smartproxy.flow.event`) and for Deferreds. ``Deferred.fromCoroutine`` makes a Deferred for the result
    and three more objects; a connection needs none of them, because its coroutine handles everything itself.

    :param call_soon: calls a function in a later event loop iteration.
    """

    __slots__ = ("_awaited", "_call_soon", "_context", "_coroutine", "_result")

    def __init__(
        self,
        coroutine: Coroutine[Deferred[Any], Any, T],
        call_soon: Callable[[Callable[[], object]], object],
    ) -> None:
        self._call_soon = call_soon
        self._coroutine: Coroutine[Deferred[Any], Any, T] | None = coroutine
        self._context = copy_context()  # what an embedder's callable sets is for this coroutine only
        self._awaited: AwaitableEvent[Any] | Deferred[Any] | None = None
        self._result: Deferred[T] | None = None

    def start(self) -> Deferred[T]:
        """Run it to its first wait. Returns the Deferred of its result."""
        self._result = result = Deferred[T](lambda _: self.cancel())
        self.run()
        return result

    def run(self) -> None:
        """As :meth:`start`, for a coroutine whose result is not used. What it raises is logged."""
        assert self._coroutine is not None  # noqa: S101 - it runs once
        self._step(self._coroutine.send, None)

    def cancel(self) -> None:
        """Raise ``CancelledError`` where it waits, now or as soon as it waits again. No effect once it has ended."""
        if self._coroutine is None:
            return
        if self._awaited is None:  # it is executing
            self._call_soon(self.cancel)
        else:
            try:
                self._awaited.cancel()
            except Exception:  # of a canceller, which may be an embedder's code
                log.failure("a coroutine could not be cancelled")

    def _step(self, resume: Callable[[Any], Deferred[Any]], value: Any) -> None:
        """Run it to its next wait, or to its end."""
        try:
            awaited = self._context.run(resume, value)
        except StopIteration as ended:
            self._coroutine = None
            if self._result is not None:
                self._result.callback(ended.value)
        except BaseException:
            self._coroutine = None
            self._fail(Failure())
        else:
            self._wait_for(awaited)

    def _wait_for(self, awaited: object) -> None:
        """Go on when ``awaited`` fires; at once, with ``TypeError``, where it is of another kind and so never would."""
        if isinstance(awaited, AwaitableEvent):
            self._awaited = awaited
            awaited.follow(self._happened)
        elif isinstance(awaited, Deferred):
            self._awaited = awaited
            awaited.addBoth(self._resumed)
        elif self._coroutine is not None:
            what = type(awaited).__name__
            why = f"a coroutine waits for {what}, not a Deferred: use Deferred.fromFuture for asyncio"
            self._step(self._coroutine.throw, TypeError(why))

    def _happened(self) -> None:
        """The event that it waits for has happened, and gives the coroutine its value or its failure itself."""
        self._awaited = None
        assert self._coroutine is not None  # noqa: S101 - it waits
        self._step(self._coroutine.send, None)

    def _resumed(self, value: object) -> None:
        """What it waits for has fired with ``value``. The Deferred itself gives it to the coroutine, unless it is a failure."""
        self._awaited = None
        coroutine = self._coroutine
        assert coroutine is not None  # noqa: S101 - it waits
        if isinstance(value, Failure):
            # Not raised by the Failure: see above.
            self._step(coroutine.throw, value.value)
        else:
            self._step(coroutine.send, None)

    def _fail(self, failure: Failure) -> None:
        if self._result is not None:
            self._result.errback(failure)
        elif not failure.check(CancelledError):
            log.failure("a coroutine failed", failure)
