"""Timeouts of relayed connections: inactivity, lifetime and half-close.

A connection has one deadline: the time at which it has to be closed if no further byte moves. When the deadline fires and
bytes have moved since, it is set again from the time of the last byte. So a byte costs nothing here: the record has its
time stamp anyway. The work of a sweep grows with the number of due deadlines, not with that of live connections. Before a connection is closed
for its silence, its peers are asked for what they still acknowledge: :mod:`smartproxy.connections.delivery`.

``keepAliveTreatment`` selects the timeouts of a connection with TCP keep-alive: *standard*, the normal ones; *extended*,
inactivity multiplied and a longer lifetime; *immortal*, none.

With ``timeoutJitter`` the timeouts of each connection are shortened by a random share, so that thousands of connections
that were opened together are not closed together. They are never longer than configured.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from smartproxy.connections.delivery import Delivery
from smartproxy.model.outcome import CloseReason
from smartproxy.model.plan import Treatment

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.flow.deadline import Deadline, Deadlines
    from smartproxy.model.plan import HttpPlan, RoutePlan
    from smartproxy.model.record import ConnectionRecord


class EffectiveTimeouts:
    """The timeouts of a route's connections in seconds; ``inf`` is no timeout.

    :ivar inactivity: without a byte in either direction.
    :ivar lifetime: since the socket was accepted.
    :ivar half_close: without a byte, after one direction has ended.
    :ivar jitter: largest share, 0 to 1, by which they are shortened at random.
    :ivar is_tunnel: whether they are those of a connection that was upgraded from HTTP.
    :ivar is_extended: whether ``keepAliveTreatment: extended`` has lengthened them.
    """

    __slots__ = ("half_close", "inactivity", "is_extended", "is_tunnel", "jitter", "lifetime")

    def __init__(
        self,
        inactivity: float,
        lifetime: float,
        half_close: float,
        jitter: float = 0.0,
        *,
        is_extended: bool = False,
        is_tunnel: bool = False,
    ) -> None:
        self.is_tunnel = is_tunnel
        self.is_extended = is_extended
        self.inactivity = inactivity or inf
        self.lifetime = lifetime or inf
        self.half_close = half_close or inf
        self.jitter = jitter

    def shortened(self, share: float) -> EffectiveTimeouts:
        """Return timeouts shortened by ``share`` (0 to 1) of the jitter."""
        left = 1.0 - self.jitter * share
        return EffectiveTimeouts(
            self.inactivity * left,
            self.lifetime * left,
            self.half_close * left,
            is_extended=self.is_extended,
            is_tunnel=self.is_tunnel,
        )

    def in_words(self, reason: CloseReason) -> str:
        """The timeout that closes a connection for ``reason``: seconds, and the keys that they come from."""
        if reason is CloseReason.LIFETIME:
            key = "extendedKeepAliveLifetime" if self.is_extended else "maxConnectionLifetime"
            return f"open for {self.lifetime:g} s ({key})"
        if reason is CloseReason.HALF_CLOSE_TIMEOUT:
            return f"one direction has ended, and no byte moved for {self.half_close:g} s (halfCloseTimeout)"
        if self.is_tunnel:
            return f"no byte moved for {self.inactivity:g} s (http.websocket.idleTimeout)"
        multiplied = ", times keepAliveInactivityMultiplier" if self.is_extended else ""
        return f"no byte moved for {self.inactivity:g} s (inactivityTimeout{multiplied})"


def tunnel_timeouts(route: RoutePlan, terms: HttpPlan) -> EffectiveTimeouts:
    """Return those of a connection of HTTP that was upgraded; before that it has the deadlines of HTTP."""
    timeouts = route.timeouts
    return EffectiveTimeouts(
        terms.tunnel_timeout, timeouts.max_lifetime, timeouts.half_close, timeouts.jitter, is_tunnel=True
    )


def effective_timeouts(route: RoutePlan) -> EffectiveTimeouts:
    """Return the timeouts of a route, by its keep-alive treatment."""
    timeouts, keep_alive = route.timeouts, route.keep_alive
    treatment = keep_alive.applied
    if treatment is Treatment.IMMORTAL:
        return EffectiveTimeouts(0, 0, 0)
    if treatment is Treatment.EXTENDED:
        return EffectiveTimeouts(
            timeouts.inactivity * keep_alive.inactivity_multiplier,
            keep_alive.extended_lifetime,
            timeouts.half_close,
            timeouts.jitter,
            is_extended=True,
        )
    return EffectiveTimeouts(timeouts.inactivity, timeouts.max_lifetime, timeouts.half_close, timeouts.jitter)


class TimeoutWatch:
    """The deadline of one connection. Only a deadline closes it, never a call into this class."""

    __slots__ = ("_deadline", "_delivery", "_limits", "_record", "_timeouts")

    def __init__(
        self, timeouts: ConnectionTimeouts, record: ConnectionRecord, limits: EffectiveTimeouts
    ) -> None:
        self._timeouts = timeouts
        self._record = record
        self._limits = limits
        self._deadline: Deadline | None = None
        self._delivery: Delivery | None = None  # made when it is needed, which is for few connections
        self._set(self._next()[1])

    def half_closed(self) -> None:
        """One direction has ended: the half-close timeout applies from now on."""
        self._record.half_closed_at = self._timeouts.clock()
        self._set(self._next()[1])

    def cancel(self) -> None:
        """Stop watching the connection."""
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    def _check(self) -> None:
        """Close the connection if a timeout has passed; else set the deadline again."""
        reason, left = self._next()
        if left <= 0 and reason is not CloseReason.LIFETIME and self._still_delivers():
            reason, left = self._next()
        if left <= 0:
            self._record.explain(reason, self._limits.in_words(reason))
            self._record.owner.abort(reason)
        else:
            self._set(left)

    def _still_delivers(self) -> bool:
        self._delivery = self._delivery or Delivery()
        return self._delivery.goes_on(self._record, self._timeouts.clock())

    def _set(self, left: float) -> None:
        self.cancel()
        if left < inf:
            self._deadline = self._timeouts.deadlines.call_later(max(left, 0.0), self._check)

    def _next(self) -> tuple[CloseReason, float]:
        """Return the timeout that passes first, and in how many seconds."""
        record, limits = self._record, self._limits
        now = self._timeouts.clock()
        silent = now - record.last_activity_at
        reason, left = CloseReason.INACTIVITY, limits.inactivity - silent
        lifetime = limits.lifetime - (now - record.opened_at)
        if lifetime < left:
            reason, left = CloseReason.LIFETIME, lifetime
        if record.half_closed_at is not None:
            # Counted from the later of the half-close and the last byte.
            half_close = limits.half_close - min(silent, now - record.half_closed_at)
            if half_close < left:
                reason, left = CloseReason.HALF_CLOSE_TIMEOUT, half_close
        return reason, left


class ConnectionTimeouts:
    """Creates the timeouts of connections. There is one per configuration: it caches the timeouts of its routes.

    :param clock: monotonic seconds.
    :param random: returns numbers from 0 to 1, for the jitter.
    """

    def __init__(self, deadlines: Deadlines, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self.deadlines = deadlines
        self.clock = clock
        self._random = random
        self._limits: dict[RoutePlan, EffectiveTimeouts] = {}

    def watch(self, record: ConnectionRecord, route: RoutePlan) -> None:
        """Watch ``record`` from now on, in place of what has watched it; its ``watch`` is cancelled when the record is closed."""
        limits = self._limits.get(route)
        if limits is None:
            limits = self._limits[route] = effective_timeouts(route)
        self._watch(record, limits)

    def watch_tunnel(self, record: ConnectionRecord, route: RoutePlan, terms: HttpPlan) -> None:
        """The same for a connection of HTTP that was upgraded. Its route may have been made for it alone."""
        self._watch(record, tunnel_timeouts(route, terms))

    def _watch(self, record: ConnectionRecord, limits: EffectiveTimeouts) -> None:
        if limits.jitter:
            limits = limits.shortened(self._random())
        if record.watch is not None:
            record.watch.cancel()
        record.watch = TimeoutWatch(self, record, limits)
