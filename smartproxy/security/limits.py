"""How many connections may there be, and how quickly may one client open them.

The live counts are not held here: the registry of connections has them, because it is what knows when one ends. A
limit asks *before* the connection is counted, and whoever asks counts it in the same turn of the
reactor; nothing can come between, so a burst cannot overshoot. The rate has no end to wait for, so it
is checked and recorded in one call.

The questions are asked as soon as their facts are there: :meth:`Admission.accept` when nothing is known
but that a socket came in, :meth:`Admission.client` when the client is (behind a trusted proxy: the
announced one, never the proxy), :meth:`Admission.route` when the route is. What is not configured costs a
comparison.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Protocol

from smartproxy.model.outcome import RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartproxy.model.plan import ProxyPlan, RoutePlan

#: ``connectionRateLimitPerMinute``: the window, in seconds.
WINDOW = 60.0


class ConnectionCounts(Protocol):
    """The live connections: all of them, by the client's address, and by the route's name."""

    @property
    def active(self) -> int: ...

    @property
    def by_ip(self) -> Mapping[str, int]: ...

    @property
    def by_route(self) -> Mapping[str, int]: ...


class RateLimit:
    """At most so many connections of one client in any 60 seconds, wherever the 60 seconds begin.

    Exact: it keeps the moments of the admitted connections, eight bytes each. A window of two counters would be
    smaller, and let through nearly twice the limit across its boundary. A refused attempt is not recorded, so
    a client that hammers gets its limit and no less.

    Clients stand in two generations, and every 60 seconds the older one is dropped whole: nobody in it has come
    for a window. So the memory is that of two minutes of admitted connections however many clients
    there ever were, and no sweep looks at each.

    :param limit_per_minute: at least 1.
    :param clock: monotonic seconds.
    """

    __slots__ = ("_clock", "_earlier", "_limit", "_recent", "_turns_at")

    def __init__(self, limit_per_minute: int, clock: Callable[[], float]) -> None:
        if limit_per_minute < 1:
            raise ValueError(f"a rate limit must be at least 1 (got {limit_per_minute})")
        self._limit = limit_per_minute
        self._clock = clock
        self._recent: dict[str, array[float]] = {}
        self._earlier: dict[str, array[float]] = {}
        self._turns_at = clock() + WINDOW

    def __len__(self) -> int:
        """How many clients are remembered."""
        return len(self._recent) + len(self._earlier)

    def allow(self, ip: str) -> bool:
        """Whether ``ip`` may connect now; if so, the connection is recorded."""
        now = self._clock()
        if now >= self._turns_at:
            self._turn(now)
        moments = self._recent.get(ip)
        if moments is None:
            moments = self._recent[ip] = self._earlier.pop(ip) if ip in self._earlier else array("d")
        if len(moments) >= self._limit:
            del moments[: bisect_right(moments, now - WINDOW)]
            if len(moments) >= self._limit:
                return False
        moments.append(now)
        return True

    def prune(self) -> None:
        """Discard clients that have not connected within the last one to two windows.

        :meth:`allow` does the same at the first connection of a new window. A sweep calls this one, so that the memory
        is also freed while no client connects. It costs a comparison, and once a window what it takes to free the
        older generation (measured: 3 ms for 100,000 clients).
        """
        now = self._clock()
        if now >= self._turns_at:
            self._turn(now)

    def _turn(self, now: float) -> None:
        # After two windows without a call the recent generation is as stale as the earlier one.
        self._earlier = self._recent if now < self._turns_at + WINDOW else {}
        self._recent = {}
        self._turns_at = now + WINDOW


class Admission:
    """Every limit and list of a configuration, each asked where its answer is known.

    :param counts: the live connections, without the one that is asked about.
    :param rate: ``None`` where ``connectionRateLimitPerMinute`` is not set. It outlives a reload, so that a
        new configuration does not forgive anyone.
    """

    __slots__ = ("_counts", "_max", "_max_per_ip", "_rate")

    def __init__(self, plan: ProxyPlan, counts: ConnectionCounts, rate: RateLimit | None) -> None:
        self._max = plan.max_connections
        self._max_per_ip = plan.max_connections_per_ip
        self._counts = counts
        self._rate = rate

    def accept(self) -> RejectReason | None:
        """Why a socket that has just come in is refused, whoever it is."""
        if self._max and self._counts.active >= self._max:
            return RejectReason.GLOBAL_LIMIT
        return None

    def client(self, ip: str) -> RejectReason | None:
        """Why this client is refused. It counts towards the rate even where the limit per IP then refuses it."""
        if self._rate is not None and not self._rate.allow(ip):
            return RejectReason.RATE_LIMIT
        if self._max_per_ip and self._counts.by_ip.get(ip, 0) >= self._max_per_ip:
            return RejectReason.IP_LIMIT
        return None

    def route(self, route: RoutePlan, ip: str) -> RejectReason | None:
        """Why this client is refused on this route. The block list wins; an empty allow list is everyone."""
        if route.block is not None and ip in route.block:
            return RejectReason.IP_BLOCKED
        if route.allow and ip not in route.allow:
            return RejectReason.IP_NOT_ALLOWED
        if route.max_connections and self._counts.by_route.get(route.name, 0) >= route.max_connections:
            return RejectReason.ROUTE_LIMIT
        return None
