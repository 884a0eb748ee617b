"""Monotonic time, whatever the reactor's own clock is.

Twisted's reactors, except asyncio's, read the wall clock. When that is set an hour forward, every timeout measured by
it is due at once. So a proxy measures all times by the monotonic clock and uses the reactor's only to be called later.
A wall clock that is set *back* also delays the reactor's delayed calls; where the process is ours (``twistd
smartproxy``), :func:`use_monotonic_time` prevents that, too.
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
    """A reactor's ``callLater`` with monotonic seconds."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        #: Monotonic seconds: not a method, because it is asked several times for each message.
        self.seconds = time.monotonic

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
    """A clock that does not depend on the wall clock; the clock of a test is returned unchanged."""
    clock: IReactorTime = Monotonic(reactor) if reactor.seconds is time.time else reactor
    return clock


def use_monotonic_time(reactor: Any) -> None:
    """Let the whole reactor measure time by the monotonic clock, as ``twistd smartproxy`` does.

    Call it before anything is scheduled: it has no effect once there is a delayed call, or on a reactor that does not
    measure by ``time.time``. Without it, setting the wall clock back delays the reactor's delayed calls.
    """
    if reactor.seconds is time.time and not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic
