"""The time that connecting may take, and what is recorded of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.model.address import TargetAddress
    from smartproxy.upstream.interfaces import DialProgress

#: ``connectionTimeout`` limits each step of an attempt, and this many times it limits all attempts of a connection together,
#: so that two dead targets still leave the third its full time. HAProxy makes at most four attempts of ``timeout connect``.
TOTAL = 3
#: A step has at least this time in seconds: 0 would be no limit.
_SHORTEST = 0.001


class DialBudget:
    """The time that a connection has for all its attempts, as long as its client is connected.

    :param limit: ``connectionTimeout`` in seconds; 0 is no limit.
    :ivar require_live: raises if the client's connection was ended.
    :ivar progress: gets what is dialed.
    :ivar began: monotonic seconds.
    """

    __slots__ = ("_clock", "_limit", "began", "progress", "require_live")

    def __init__(
        self, clock: IReactorTime, limit: float, require_live: Callable[[], None], progress: DialProgress
    ) -> None:
        self.require_live = require_live
        self.progress = progress
        self._clock = clock
        self._limit = limit
        self.began = clock.seconds()

    def seconds(self) -> float:
        """The time that the next step may take, in seconds; 0 is no limit. It raises for an ended connection."""
        self.require_live()
        if not self._limit:
            return 0.0
        return max(min(self._limit, self._left()), _SHORTEST)

    def is_spent(self) -> bool:
        """Whether no time is left for another target."""
        return bool(self._limit) and self._left() <= _SHORTEST

    def passed(self) -> float:
        """The seconds since it began."""
        return self._clock.seconds() - self.began

    def _left(self) -> float:
        return self.began + TOTAL * self._limit - self._clock.seconds()


class UnrecordedDials:
    """The progress of dials that no connection has a record of."""

    def __init__(self) -> None:
        self.target: TargetAddress | None = None
        self.attempts = 0
        self.dial_seconds: float | None = None
        self.member: object = None
