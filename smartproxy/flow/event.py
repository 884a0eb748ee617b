"""What a coroutine of a connection waits for, and what happens once: a target is connected, a relay has ended.

::

    connected = AwaitableEvent[Upstream](give_up)    # give_up: called where the wait is cancelled
    upstream = await connected                       # in a coroutine
    connected.happen(upstream)                       # elsewhere; or connected.fail(PeerClosed())

A Deferred can do more: it has chains of callbacks, and for that takes three times as long (2.1 µs for a wait, against 0.7). Every
connection waits at least twice. What an embedder's code may await, or returns, are Deferreds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

T = TypeVar("T")


class AwaitableEvent(Generic[T]):
    """One coroutine awaits it, or one function follows it.

    :param cancelled: called by :meth:`cancel`; may let the event happen. ``None``: there is nothing to end.
    :ivar has_happened: whether it has happened, failed, or was cancelled.
    """

    __slots__ = ("_cancelled", "_errors", "_follower", "_value", "has_happened")

    def __init__(self, cancelled: Callable[[], object] | None = None) -> None:
        self.has_happened = False
        self._cancelled = cancelled
        self._follower: Callable[[], object] | None = None
        self._value: T | None = None
        self._errors: list[BaseException] | None = None

    def happen(self, value: T) -> None:
        """It has happened, with ``value``. No effect where it was cancelled."""
        if not self.has_happened:
            self._value = value
            self._over()

    def fail(self, why: BaseException) -> None:
        """It will not happen. Who waits gets ``why`` raised. No effect where it was cancelled."""
        if not self.has_happened:
            self._errors = [why]
            self._over()

    def _over(self) -> None:
        self.has_happened = True
        self._cancelled = None
        follower, self._follower = self._follower, None
        if follower is not None:
            follower()

    def cancel(self) -> None:
        """End the wait: it fails with ``CancelledError``, unless it happens now. No effect once it has happened."""
        if self._cancelled is not None:
            self._cancelled()
        if not self.has_happened:
            self.fail(CancelledError())

    def follow(self, follower: Callable[[], object]) -> None:
        """Call ``follower`` when it has happened or failed; at once, if it has."""
        if self.has_happened:
            follower()
        else:
            self._follower = follower

    def result(self) -> T:
        """The value. To be asked once, when it has happened.

        :raises BaseException: why it has failed.
        """
        if self._errors:
            # Not bound to a local name, and not kept: its traceback has this frame, which would be a cycle.
            raise self._errors.pop()
        return cast("T", self._value)

    # It is its own iterator: a generator would be a further object of each connection, of 200 bytes.

    def __await__(self) -> Generator[Any, Any, T]:
        return self  # type: ignore[return-value] # what a coroutine asks of a generator, it has

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> object:
        if self.has_happened:
            raise StopIteration(self.result())
        return self

    def send(self, value: object) -> object:
        """Go on where inlineCallbacks or Deferred.fromCoroutine run the coroutine: they send back at once what is no Deferred."""
        if value is not self or self.has_happened:
            return next(self)
        waiting: Deferred[None] = Deferred(lambda _: self.cancel())
        self.follow(lambda: waiting.callback(None))
        return waiting

    def hand_on(self, happen: Callable[[T], object], fail: Callable[[BaseException], object]) -> None:
        """Call one of both, with the value or with why it has failed, when that is known. They follow it."""

        def over() -> None:
            if self._errors:
                fail(self._errors.pop())
            else:
                happen(cast("T", self._value))

        self.follow(over)

    def then(self, change: Callable[[T], T]) -> AwaitableEvent[T]:
        """An event that happens with what ``change`` makes of the value, and fails as this one, or with what ``change`` raises.

        It follows this one. Cancelling it cancels this one.
        """
        changed: AwaitableEvent[T] = AwaitableEvent(self.cancel)

        def happened(value: T) -> None:
            try:
                value = change(value)
            except BaseException as why:
                changed.fail(why)
            else:
                changed.happen(value)

        self.hand_on(happened, changed.fail)
        return changed

    def deferred(self) -> Deferred[T]:
        """A Deferred of it, which follows it. Cancelling that cancels the event."""
        waiting: Deferred[T] = Deferred(lambda _: self.cancel())
        self.hand_on(waiting.callback, waiting.errback)
        return waiting
