"""Adds snapshots of several processes.

::

    sums = Sums(names)                  # of the configuration
    for _ in sums.add(snapshot):
        ...                          # a good moment for a turn of the event loop
    sums.counters.routes["web"].opened

What a snapshot of newer code has beyond what is known here is left out.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from smartproxy.metrics.api import Distributions
from smartproxy.metrics.counters import UNROUTED, Counters
from smartproxy.metrics.throughput import ZERO_RATE, Rate
from smartproxy.model.outcome import CloseReason
from smartproxy.model.timestamps import keep_earliest
from smartproxy.workers.merged_targets import MergedTargets, add_counts
from smartproxy.workers.snapshot import (
    BY_LABEL,
    PLAIN,
    TIMES,
    FrozenBytes,
    pieces_of,
    process_state,
    route_rows,
    rows_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from smartproxy.metrics.counters import RouteCounters
    from smartproxy.metrics.histogram import Histogram
    from smartproxy.metrics.requests import RequestCounters
    from smartproxy.metrics.source import MeterSource
    from smartproxy.model.record import ClosedConnection, ConnectionRecord
    from smartproxy.workers.snapshot import (
        HistogramState,
        ProcessState,
        RequestsState,
        RouteState,
        WorkerSnapshot,
    )

#: Numbers of :class:`~smartproxy.workers.snapshot.ProcessState`.
_NUMBERS = ("opened", "active", "received", "sent", "queued", "batches", "cleaned")


class Names(NamedTuple):
    """What has series even where nothing has been counted.

    :ivar routes: names of routes, in their order.
    :ivar targets: targets by group and name.
    :ivar groups: names of groups.
    """

    routes: AbstractSet[str] = frozenset()
    targets: Collection[tuple[str, str]] = ()
    groups: Collection[str] = ()


class Sums:
    """The sums of snapshots.

    :param configured: what has series even where nothing has been counted.
    :ivar counters: what is counted; bytes of live connections are in those of their route.
    :ivar targets: the sums of targets and groups.
    :ivar opened: accepted connections.
    :ivar active: live connections.
    :ivar received: bytes received from clients, those of live connections included.
    :ivar sent: bytes sent to clients, likewise.
    :ivar queued: closed connections that wait for clean-up.
    :ivar batches: batches of clean-ups.
    :ivar cleaned: connections that have been cleaned up.
    """

    def __init__(self, configured: Names | None = None) -> None:
        configured = configured or Names()
        self.counters = Counters()
        self.counters.keep(configured.routes, 0.0)
        self.targets = MergedTargets(configured.targets, configured.groups)
        self.counters.targets = self.targets
        self.distributions = Distributions()
        self.opened = self.active = self.received = self.sent = 0
        self.queued = self.batches = self.cleaned = 0
        self._times: dict[str, dict[str, float]] = {name: {} for name in TIMES}
        for name, times in self._times.items():
            setattr(self.counters, name, times.copy)
        self._clients: list[bytes] = []
        self._route_rates: list[bytes] = []
        self._client_rates: list[bytes] = []

    def add(self, snapshot: WorkerSnapshot, *, ended: bool = False, drains: bool = False) -> Iterator[None]:
        """Add a snapshot, in pieces between which a reader may pause.

        :param ended: whether its process does not run any more. Then targets are left out that no process has any more.
        :param drains: whether its process takes no new connections; to be added after those that do.
        """
        self._add_process(snapshot["process"])
        yield
        for piece in snapshot["routes"]:
            for name, state in rows_of([piece]):
                _add_route(self.counters.route(name), state)
            yield
        for piece in snapshot["targets"]:
            for row in rows_of([piece]):
                self.targets.add_target(row, ended=ended, drains=drains)
            yield
        for piece in snapshot["queues"]:
            for group, waiting in rows_of([piece]):
                self.targets.add_queue(group, waiting)
            yield
        for row in rows_of(snapshot["requests"]):
            self.targets.add_requests(row, ended=ended)
        self._clients += snapshot["clients"]
        self._route_rates += snapshot["route_rates"]
        self._client_rates += snapshot["client_rates"]

    def add_own(self, own: Counters) -> None:
        """Add what the supervisor itself has counted; changes of the configuration are those of the supervisor alone."""
        self._add_counters(
            {name: getattr(own, name) for name in BY_LABEL}, {name: getattr(own, name) for name in PLAIN}
        )
        self.counters.handshake_seconds.merge(own.handshake_seconds.counts, own.handshake_seconds.total)
        self._add_times({name: dict(getattr(own, name)()) for name in TIMES})
        self.counters.config_reloads = dict(own.config_reloads)
        self.counters.config_reload_ok = own.config_reload_ok
        self.counters.config_reload_at = own.config_reload_at

    def end(self, *, killed: bool) -> None:
        """The processes do not run any more: set everything to 0 that they had at the time.

        :param killed: whether they have ended without closing their connections, which count as closed with ``error`` then.
        """
        if killed:
            without_route = self.active - sum(counted.active for counted in self.counters.routes.values())
            for counted in self.counters.routes.values():
                _close(counted, counted.active)
            if without_route > 0:
                _close(self.counters.route(UNROUTED), without_route)
        for counted in self.counters.routes.values():
            counted.active = counted.unsettled = 0
            if counted.requests is not None:
                counted.requests.active = counted.requests.upgrades = 0
        self.active = self.queued = 0
        self.targets.end()
        for times in self._times.values():
            times.clear()
        self._clients, self._route_rates, self._client_rates = [], [], []

    def snapshot(self) -> WorkerSnapshot:
        """The sums as a snapshot."""
        connections = MergedConnections(self)
        frozen = FrozenBytes(connections, self.counters)
        process = process_state(connections, self.counters, self.distributions, frozen.total)
        process["times"] = {name: dict(times) for name, times in self._times.items()}
        targets = self.targets
        return {
            "process": process,
            "routes": list(pieces_of(route_rows(frozen))),
            "clients": self._clients,
            "route_rates": self._route_rates,
            "client_rates": self._client_rates,
            "targets": list(pieces_of(counts._asdict() for counts in targets.target_counts())),
            "queues": list(pieces_of(targets.queue_lengths())),
            "requests": list(pieces_of(counts._asdict() for counts in targets.request_counts())),
        }

    def by_ip(self) -> dict[str, int]:
        """Live connections by client address."""
        return _added(self._clients)

    def route_rates(self) -> dict[str, Rate]:
        """Bytes per second by route name."""
        return _added_rates(self._route_rates)

    def client_rates(self) -> dict[str, Rate]:
        """Bytes per second by client address."""
        return _added_rates(self._client_rates)

    def _add_process(self, state: ProcessState) -> None:
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + state[name])  # type: ignore[literal-required]  # one of its keys
        self._add_counters(state["by_label"], state["plain"])
        self._add_times(state["times"])
        _merge(self.counters.handshake_seconds, state["handshake_seconds"])
        self.distributions.durations.merge(*state["durations"])
        self.distributions.sizes.merge(*state["sizes"])

    def _add_counters(self, by_label: dict[str, dict[Any, int]], plain: dict[str, int]) -> None:
        for name in BY_LABEL:
            add_counts(getattr(self.counters, name), by_label.get(name, {}))
        for name in PLAIN:
            setattr(self.counters, name, getattr(self.counters, name) + plain.get(name, 0))

    def _add_times(self, times: dict[str, dict[str, float]]) -> None:
        """All processes have the same certificates, but one may have failed to renew its own: the earliest time counts."""
        for name, known in self._times.items():
            for key, at in times.get(name, {}).items():
                keep_earliest(known, key, at)


class _Cleanup:
    """The clean-up queues of several processes: a :class:`~smartproxy.metrics.source.CleanupProgress`."""

    def __init__(self, sums: Sums) -> None:
        self._queued = sums.queued
        self.batches = sums.batches
        self.cleaned = sums.cleaned

    def __len__(self) -> int:
        return self._queued


class MergedConnections:
    """The connections of several processes: a :class:`~smartproxy.metrics.source.ConnectionSource` without records.

    :ivar closed_received: bytes from clients of all connections, because there are no records for those of live ones.
    :ivar closed_sent: bytes to clients, likewise.
    :ivar by_route: live connections by route name.
    """

    def __init__(self, sums: Sums) -> None:
        self._sums = sums
        self.on_closed: list[Callable[[ClosedConnection], object]] = []
        self.active = sums.active
        self.opened = sums.opened
        self.closed_received = sums.received
        self.closed_sent = sums.sent
        self.ended = _Cleanup(sums)
        self.by_route = {
            name: counted.active for name, counted in sums.counters.routes.items() if counted.active
        }

    @cached_property
    def by_ip(self) -> dict[str, int]:
        """Live connections by client address. Added when they are read: a scrape does not need them."""
        return self._sums.by_ip()

    def unsettled(self) -> Iterable[ConnectionRecord]:
        """None."""
        return ()

    def measure(self, meters: MeterSource | None) -> None:
        """Do nothing: the processes measure."""


def _add_route(counted: RouteCounters, state: RouteState) -> None:
    counted.opened += state["opened"]
    counted.active += state["active"]
    counted.unsettled += state["unsettled"]
    counted.received += state["received"]
    counted.sent += state["sent"]
    for reason, count in state["closed"].items():
        known = _reason(reason)
        counted.closed[known] = counted.closed.get(known, 0) + count
    _merge(counted.dial_seconds, state["dial_seconds"])
    _merge(counted.duration_seconds, state["duration_seconds"])
    if state["requests"] is not None:
        _add_requests(counted.of_requests(), state["requests"])


def _add_requests(requests: RequestCounters, state: RequestsState) -> None:
    add_counts(requests.answered, state["answered"])
    requests.active += state["active"]
    requests.upgrades += state["upgrades"]
    _merge(requests.seconds, state["seconds"])


def _merge(histogram: Histogram, state: HistogramState | None) -> None:
    if state is not None:
        with suppress(ValueError):  # newer code with other buckets
            histogram.merge(*state)


def _reason(value: str) -> CloseReason:
    """The reason with this label; ``error`` for one of newer code."""
    try:
        return CloseReason(value)
    except ValueError:
        return CloseReason.ERROR


def _close(counted: RouteCounters, connections: int) -> None:
    if connections:
        counted.closed[CloseReason.ERROR] = counted.closed.get(CloseReason.ERROR, 0) + connections


def _added(pieces: Iterable[bytes]) -> dict[str, int]:
    added: dict[str, int] = {}
    for key, count in rows_of(pieces):
        added[key] = added.get(key, 0) + count
    return added


def _added_rates(pieces: Iterable[bytes]) -> dict[str, Rate]:
    added: dict[str, Rate] = {}
    for key, in_, out in rows_of(pieces):
        before = added.get(key, ZERO_RATE)
        added[key] = Rate(before.in_ + in_, before.out + out)
    return added
