"""How long a linked connection may live and be silent: its inactivity, its lifetime, its half-close.

A connection has one deadline, for the moment at which it would have to end if nothing moved until then.
When that comes, bytes may have moved: then the next such moment is worked out, and that is all. A byte costs
nothing here but the time stamp that it leaves in the record anyway, and a sweep's work grows with what
is due, not with what lives.

A connection with TCP keep-alive is a keep-alive connection, and how it is treated is the configuration's
choice: *standard*, as any other; *extended*, its inactivity multiplied and a longer life; *immortal*, ended by
no timeout at all.

With ``timeoutJitter`` each connection gets its own share of these times, so that thousands which were opened
together do not all end together. Times only become shorter by it: what is configured stays the most.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from smartproxy.model.outcome import CloseReason
from smartproxy.model.plan import Treatment

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.flow.deadline import Deadline, Deadlines
    from smartproxy.model.plan import RoutePlan
    from smartproxy.model.record import ConnectionRecord


class EffectiveTimeouts:
    """How long, in seconds, with ``inf`` for what has no end.

    :ivar inactivity: without a byte either way. :ivar lifetime: in all. :ivar half_close: without a byte
        since one direction has ended. :ivar jitter: by which share of these a connection may end early, 0 to 1.
    """

    __slots__ = ("half_close", "inactivity", "jitter", "lifetime")

    def __init__(self, inactivity: float, lifetime: float, half_close: float, jitter: float = 0.0) -> None:
        self.inactivity = inactivity or inf
        self.lifetime = lifetime or inf
        self.half_close = half_close or inf
        self.jitter = jitter

    def shortened(self, share: float) -> EffectiveTimeouts:
        """The same less ``share`` of the jitter: 0 is none of it, 1 all."""
        left = 1.0 - self.jitter * share
        return EffectiveTimeouts(self.inactivity * left, self.lifetime * left, self.half_close * left)


def limits_of(route: RoutePlan) -> EffectiveTimeouts:
    """What a route's connections may do."""
    timeouts, keep_alive = route.timeouts, route.keep_alive
    treatment = keep_alive.treatment if keep_alive.enabled else Treatment.STANDARD
    if treatment is Treatment.IMMORTAL:
        return EffectiveTimeouts(0, 0, 0)
    if treatment is Treatment.EXTENDED:
        return EffectiveTimeouts(
            timeouts.inactivity * keep_alive.inactivity_multiplier,
            keep_alive.extended_lifetime,
            timeouts.half_close,
            timeouts.jitter,
        )
    return EffectiveTimeouts(timeouts.inactivity, timeouts.max_lifetime, timeouts.half_close, timeouts.jitter)


class TimeoutWatch:
    """One connection, watched. It is only ever ended by the sweep, never within a caller's own call."""

    __slots__ = ("_deadline", "_limits", "_record", "_timeouts")

    def __init__(
        self, timeouts: ConnectionTimeouts, record: ConnectionRecord, limits: EffectiveTimeouts
    ) -> None:
        self._timeouts = timeouts
        self._record = record
        self._limits = limits
        self._deadline: Deadline | None = None
        self._set(self._next()[1])

    def half_closed(self) -> None:
        """One direction has ended: a shorter limit holds from now on."""
        self._record.half_closed_at = self._timeouts.clock()
        self._set(self._next()[1])

    def cancel(self) -> None:
        """It is watched no longer."""
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    def _look(self) -> None:
        """End the connection if its time has come; else look again when it would have."""
        reason, left = self._next()
        if left <= 0:
            self._record.owner.abort(reason)
        else:
            self._set(left)

    def _set(self, left: float) -> None:
        self.cancel()
        if left < inf:
            self._deadline = self._timeouts.deadlines.call_later(max(left, 0.0), self._look)

    def _next(self) -> tuple[CloseReason, float]:
        """What would end it first, and in how many seconds."""
        record, limits = self._record, self._limits
        now = self._timeouts.clock()
        silent = now - record.last_activity_at
        reason, left = CloseReason.INACTIVITY, limits.inactivity - silent
        lifetime = limits.lifetime - (now - record.opened_at)
        if lifetime < left:
            reason, left = CloseReason.LIFETIME, lifetime
        if record.half_closed_at is not None:
            half_close = limits.half_close - min(silent, now - record.half_closed_at)
            if half_close < left:
                reason, left = CloseReason.HALF_CLOSE_TIMEOUT, half_close
        return reason, left


class ConnectionTimeouts:
    """Watches linked connections. One serves one configuration, whose routes it knows.

    :param clock: monotonic seconds.
    :param random: numbers from 0 to 1, for the jitter.
    """

    def __init__(self, deadlines: Deadlines, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self.deadlines = deadlines
        self.clock = clock
        self._random = random
        self._limits: dict[RoutePlan, EffectiveTimeouts] = {}

    def watch(self, record: ConnectionRecord, route: RoutePlan) -> None:
        """From now on, until ``record.watch`` is dropped."""
        limits = self._limits.get(route)
        if limits is None:
            limits = self._limits[route] = limits_of(route)
        if limits.jitter:
            limits = limits.shortened(self._random())
        record.watch = TimeoutWatch(self, record, limits)
