"""Limits on the number of connections, and on the rate at which a client opens them.

The registry of connections keeps the live counts, because it knows when a connection ends. It is asked whether there may
be one more *before* the connection is counted, and the caller counts it in the same event loop iteration: no other
connection is handled between the two, so a burst cannot exceed a limit. A rate is checked and recorded in one call,
because it does not depend on the end of a connection. Where several processes share the limits, others answer these
questions in place of the registry and of :class:`RateWindows`.

Each check is made as soon as its facts are known: :meth:`Admission.accept` when a socket was accepted,
:meth:`Admission.client` when the client is known (behind a trusted proxy: the announced client, never the proxy),
:meth:`Admission.route` when the route is. A limit that is not configured costs one comparison.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from itertools import repeat
from typing import TYPE_CHECKING, Protocol, cast

from smartproxy.model.outcome import RejectReason
from smartproxy.security.address_files import entry_of
from smartproxy.security.client_key import ADDRESS, client_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.plan import ProxyPlan, RoutePlan

#: ``connectionRateLimitPerMinute``: the window, in seconds.
WINDOW = 60.0


class ConnectionCounts(Protocol):
    """The numbers of live connections, compared with limits: :class:`~smartproxy.connections.registry.Registry`.

    Where the answer is yes, the caller counts the connection at once.
    """

    @property
    def active(self) -> int:
        """Number of live connections, without the one that is asked about."""

    def may_open(self, limit: int) -> bool:
        """Whether one more connection may be accepted."""

    def may_add_client(self, ip: str, limit: int) -> bool:
        """Whether the client that ``ip`` belongs to may have one more connection."""

    def may_assign(self, route: str, limit: int) -> bool:
        """Whether the route of this name may have one more connection."""


class ConnectionRates(Protocol):
    """When clients connected: :class:`RateWindows`."""

    def allow(self, ip: str, limit: int) -> bool:
        """Whether ``ip`` may connect now; if so, the connection is recorded."""

    def regroup(self, prefix: int) -> None:
        """Count IPv6 networks of this prefix length from now on."""

    def prune(self) -> None:
        """Free memory that is not needed any more. Called every second."""


class LingeringSockets(Protocol):
    """Sockets of refused connections: :class:`~smartproxy.connections.lingering.Lingering`."""

    def __len__(self) -> int: ...

    def make_room(self) -> None:
        """Close one of them."""


class _NetworkTimes(array):  # type: ignore[type-arg] # array[float] exists from Python 3.12 on
    """When clients of one IPv6 network connected.

    :ivar addresses: the address of each, in the same order.
    """

    __slots__ = ("addresses",)

    def __init__(self, _typecode: str) -> None:
        self.addresses: list[str] = []


def _admit(times: array[float], limit: int, now: float) -> bool:
    """Append ``now`` if there are fewer than ``limit`` times in the window."""
    # Times older than the window are deleted only when they count, so most calls are one append.
    if len(times) >= limit:
        del times[: bisect_right(times, now - WINDOW)]
        if len(times) >= limit:
            return False
    times.append(now)
    return True


def _delete(times: array[float], start: int, end: int) -> None:
    del times[start:end]
    if isinstance(times, _NetworkTimes):
        del times.addresses[start:end]


class RateWindows:
    """When each client last connected, to hold it to so many connections in any 60 seconds, wherever they begin.

    Exact: it keeps the times of admitted connections, eight bytes each. Two counters per client would be smaller, but
    let through nearly twice the limit across their boundary. A refused attempt is not recorded, so a client that keeps
    trying gets its limit and no less.

    Clients are kept in two generations, and every 60 seconds the older one is discarded whole: none of its clients has
    connected for a window. So memory is that of two minutes of admitted connections, however many clients there have
    been, and nothing visits each client.

    It holds no limit, only what happened, and lives as long as the proxy: a reload does not forgive a client, whether it
    changes the limit or not. Where a client is an IPv6 network, the addresses are kept beside the times, so that a reload can
    count them by networks of another size.

    :param clock: monotonic seconds.
    """

    __slots__ = ("_clock", "_earlier", "_prefix", "_recent", "_turns_at")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._prefix = ADDRESS
        self._recent: dict[str, array[float]] = {}
        self._earlier: dict[str, array[float]] = {}
        self._turns_at = clock() + WINDOW

    def __len__(self) -> int:
        """The number of clients whose connections are kept."""
        return len(self._recent) + len(self._earlier)

    def allow(self, ip: str, limit: int) -> bool:
        """Whether ``ip`` may connect now; if so, the connection is recorded.

        :param limit: connections in any 60 seconds, at least 1.
        """
        now = self._clock()
        if now >= self._turns_at:
            self._turn(now)
        if self._prefix != ADDRESS and ":" in ip:
            return self._allow_network(ip, limit, now)
        times = self._recent.get(ip)
        if times is None:
            times = self._recent[ip] = self._earlier.pop(ip) if ip in self._earlier else array("d")
        return _admit(times, limit, now)

    def _allow_network(self, ip: str, limit: int, now: float) -> bool:
        key = client_key(ip, self._prefix)
        times = self._recent.get(key)
        if times is None:
            times = self._recent[key] = self._earlier.pop(key) if key in self._earlier else _NetworkTimes("d")
        allowed = _admit(times, limit, now)
        if isinstance(times, _NetworkTimes):
            if allowed:
                times.addresses.append(ip)
            del times.addresses[: len(times.addresses) - len(times)]  # those of times that were deleted
        return allowed

    def has_room(self, ip: str, limit: int, now: float) -> bool:
        """Whether ``ip`` may connect now. Nothing is recorded: see :meth:`record`.

        :param limit: connections in any 60 seconds, at least 1.
        :param now: monotonic seconds.
        """
        times = self._find(ip)
        return times is None or len(times) < limit or len(times) - bisect_right(times, now - WINDOW) < limit

    def record(self, ip: str, at: float) -> None:
        """Record a connection that was admitted, here or by another process.

        Several processes record theirs in any order, with the same clock.

        :param at: monotonic seconds.
        """
        if at >= self._turns_at:
            self._turn(at)
        key = client_key(ip, self._prefix)
        times = self._recent.get(key)
        if times is None:
            times = self._earlier.pop(key, None)
            if times is None:
                times = array("d") if key == ip else _NetworkTimes("d")
            self._recent[key] = times
        # Here no limit says how many are kept. A client loses those of one window at once, so most calls delete nothing.
        if times and times[0] <= at - 2 * WINDOW:
            _delete(times, 0, bisect_right(times, at - WINDOW))
        place = len(times) if not times or at >= times[-1] else bisect_right(times, at)
        times.insert(place, at)
        if key != ip:
            cast("_NetworkTimes", times).addresses.insert(place, ip)

    def withdraw(self, ip: str, at: float) -> None:
        """Remove what :meth:`record` has recorded with the same time, if it is still there."""
        times = self._find(ip)
        if times is None:
            return
        for place in range(bisect_left(times, at), bisect_right(times, at)):
            if not isinstance(times, _NetworkTimes) or times.addresses[place] == ip:
                _delete(times, place, place + 1)
                return

    def _find(self, ip: str) -> array[float] | None:
        key = client_key(ip, self._prefix)
        times = self._recent.get(key)
        return self._earlier.get(key) if times is None else times

    def regroup(self, prefix: int) -> None:
        """Count IPv6 networks of this prefix length from now on, recorded connections included."""
        if prefix == self._prefix:
            return
        self._prefix = prefix
        kept = [*self._earlier.items(), *self._recent.items()]
        self._earlier, self._recent = {}, {key: times for key, times in kept if ":" not in key}
        recorded = sorted(
            (at, ip)
            for key, times in kept
            if ":" in key
            for at, ip in zip(times, getattr(times, "addresses", repeat(key)), strict=False)
        )
        for at, ip in recorded:
            key = client_key(ip, prefix)
            times = self._recent.get(key)
            if times is None:
                times = self._recent[key] = array("d") if key == ip else _NetworkTimes("d")
            times.append(at)
            if isinstance(times, _NetworkTimes):
                times.addresses.append(ip)

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

    :param counts: the live connections.
    :param rate: when each client connected. It outlives this configuration.
    :param lingering: likewise; ``maxConnections`` bounds the sockets of both, and a live connection has priority.
    """

    __slots__ = ("_counts", "_lingering", "_max", "_max_per_ip", "_per_minute", "_rate")

    def __init__(
        self, plan: ProxyPlan, counts: ConnectionCounts, rate: ConnectionRates, lingering: LingeringSockets
    ) -> None:
        self._max = plan.max_connections
        self._max_per_ip = plan.max_connections_per_ip
        self._per_minute = plan.connection_rate_per_minute
        self._counts = counts
        self._rate = rate
        self._lingering = lingering

    def accept(self) -> RejectReason | None:
        """Why a socket that was just accepted is refused, whoever the client is; ``None`` where it is not."""
        if self._max:
            if not self._counts.may_open(self._max):
                return RejectReason.GLOBAL_LIMIT
            if self._counts.active + len(self._lingering) >= self._max:
                self._lingering.make_room()
        return None

    def explain(self, reason: RejectReason, ip: str = "", route: RoutePlan | None = None) -> str:
        """The limit or the entry of a list for which ``ip`` was just refused, as the configuration spells it."""
        if reason is RejectReason.GLOBAL_LIMIT:
            return f"maxConnections {self._max}"
        if reason is RejectReason.RATE_LIMIT:
            return f"connectionRateLimitPerMinute {self._per_minute}"
        if reason is RejectReason.IP_LIMIT:
            return f"maxConnectionsPerIP {self._max_per_ip}"
        return "" if route is None else _explain_route(reason, ip, route)

    def client(self, ip: str) -> RejectReason | None:
        """Why this client is refused, if so. It counts towards the rate even where the limit per IP then refuses it."""
        if self._per_minute and not self._rate.allow(ip, self._per_minute):
            return RejectReason.RATE_LIMIT
        if self._max_per_ip and not self._counts.may_add_client(ip, self._max_per_ip):
            return RejectReason.IP_LIMIT
        return None

    def lists(self, route: RoutePlan, ip: str, *, listed: bool = True) -> RejectReason | None:
        """Why the lists of a route refuse this client, if so. The block list wins; an empty allow list admits everyone.

        :param listed: whether the address lists apply to it.
        """
        if listed and route.block is not None and ip in route.block:
            return RejectReason.IP_BLOCKED
        if listed and route.allow and ip not in route.allow:
            return RejectReason.IP_NOT_ALLOWED
        return None

    def route(self, route: RoutePlan, ip: str, *, listed: bool = True) -> RejectReason | None:
        """Why this client is refused on this route, if so: by its :meth:`lists`, or for its number of connections."""
        reason = self.lists(route, ip, listed=listed)
        if reason is not None or not route.max_connections:
            return reason
        may = self._counts.may_assign(route.name, route.max_connections)
        return None if may else RejectReason.ROUTE_LIMIT


def _explain_route(reason: RejectReason, ip: str, route: RoutePlan) -> str:
    if reason is RejectReason.ROUTE_LIMIT:
        return f"security.maxConnections {route.max_connections}"
    if reason is RejectReason.IP_BLOCKED:
        return f"security.ipBlockList {entry_of(route.block, ip) or ip}"
    return f"not in security.ipAllowList ({route.allow})"
