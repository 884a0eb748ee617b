"""Monotonic time, whatever the reactor's own clock is.

Twisted's reactors read the wall clock, but for asyncio's. When somebody sets that an hour forward, every
timeout measured by it is due at once. So all of a proxy's times are measured by the monotonic clock, and
the reactor is only asked to wake us up. A wall clock that is set *back* also delays the reactor's
wake-ups; where the process is ours (``twistd smartproxy``), :func:`adopt` takes that away, too.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@implementer(IReactorTime)
class Monotonic:
    """A reactor's ``callLater``, with seconds that only go forward."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    def seconds(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002 - the name that the caller uses
        *args: object,
        **kwargs: object,
    ) -> IDelayedCall:
        """As the reactor's."""
        return self._reactor.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """As the reactor's."""
        return self._reactor.getDelayedCalls()


def clock_of(reactor: Any) -> IReactorTime:
    """A clock that no setting of the wall clock can touch; a test's own clock as it is."""
    clock: IReactorTime = Monotonic(reactor) if reactor.seconds is time.time else reactor
    return clock


def adopt(reactor: Any) -> None:
    """Let the whole reactor run on the monotonic clock, if nothing has been timed by the other one yet."""
    if reactor.seconds is time.time and not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic
