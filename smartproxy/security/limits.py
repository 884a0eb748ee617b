"""Limits on the number of connections, and on the rate at which a client opens them.

The registry of connections keeps the live counts, because it knows when a connection ends. A limit is checked
*before* the connection is counted, and the caller counts it in the same event loop iteration: no other connection is
handled between the two, so a burst cannot exceed a limit. A rate is checked and recorded in one call, because it does
not depend on the end of a connection.

Each check is made as soon as its facts are known: :meth:`Admission.accept` when a socket was accepted,
:meth:`Admission.client` when the client is known (behind a trusted proxy: the announced client, never the proxy),
:meth:`Admission.route` when the route is. A limit that is not configured costs one comparison.
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
    """The numbers of live connections."""

    @property
    def active(self) -> int:
        """All together."""

    @property
    def by_ip(self) -> Mapping[str, int]:
        """By the client's address."""

    @property
    def by_route(self) -> Mapping[str, int]:
        """By the name of the route."""


class RateLimit:
    """A sliding window: at most so many connections of one client in any 60 seconds.

    It is exact, because it keeps the time of every admitted connection, eight bytes each. Two counters per client
    would be smaller, but admit nearly twice the limit around the boundary between two windows. Refused attempts are
    not recorded: a client that keeps trying is admitted at its limit, not below.

    Clients are kept in two generations. Every 60 seconds the older generation is discarded as a whole, because none of
    its clients has connected for a window. So the memory is that of the connections admitted in two minutes, and no
    sweep has to look at each client.

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
        """The number of clients whose connections are kept."""
        return len(self._recent) + len(self._earlier)

    def allow(self, ip: str) -> bool:
        """Whether ``ip`` may connect now. If so, the connection is recorded."""
        now = self._clock()
        if now >= self._turns_at:
            self._turn(now)
        moments = self._recent.get(ip)
        if moments is None:
            moments = self._recent[ip] = self._earlier.pop(ip) if ip in self._earlier else array("d")
        # Times older than the window are deleted only when they count, so most calls are one append.
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
        # Where nothing was called for two windows, the recent generation has expired, too.
        self._earlier = self._recent if now < self._turns_at + WINDOW else {}
        self._recent = {}
        self._turns_at = now + WINDOW


class Admission:
    """The limits and address lists of a configuration, each checked as soon as its facts are known.

    :param counts: the live connections, without the one that is checked.
    :param rate: ``None`` where ``connectionRateLimitPerMinute`` is not set. It is kept across reloads, so that
        a reload does not reset the rate of a client.
    """

    __slots__ = ("_counts", "_max", "_max_per_ip", "_rate")

    def __init__(self, plan: ProxyPlan, counts: ConnectionCounts, rate: RateLimit | None) -> None:
        self._max = plan.max_connections
        self._max_per_ip = plan.max_connections_per_ip
        self._counts = counts
        self._rate = rate

    def accept(self) -> RejectReason | None:
        """Why a socket that was just accepted is refused, whoever the client is; ``None`` where it is not."""
        if self._max and self._counts.active >= self._max:
            return RejectReason.GLOBAL_LIMIT
        return None

    def client(self, ip: str) -> RejectReason | None:
        """Why this client is refused, if so. It counts towards the rate even where the limit per IP refuses it."""
        if self._rate is not None and not self._rate.allow(ip):
            return RejectReason.RATE_LIMIT
        if self._max_per_ip and self._counts.by_ip.get(ip, 0) >= self._max_per_ip:
            return RejectReason.IP_LIMIT
        return None

    def route(self, route: RoutePlan, ip: str) -> RejectReason | None:
        """Why this client is refused on this route, if so. The block list wins; an empty allow list admits everyone."""
        if route.block is not None and ip in route.block:
            return RejectReason.IP_BLOCKED
        if route.allow and ip not in route.allow:
            return RejectReason.IP_NOT_ALLOWED
        if route.max_connections and self._counts.by_route.get(route.name, 0) >= route.max_connections:
            return RejectReason.ROUTE_LIMIT
        return None
