"""What one worker has counted and measured, as plain values that can be pickled and added.

::

    snapshot = await take_snapshot(proxy, clock)

A snapshot consists of numbers, strings, tuples, lists and dicts only. So a supervisor can read that of a worker that runs
newer code, and leaves out what it does not know. Lists that can be long are pickled in pieces of :data:`PIECE` rows:
neither writing nor reading them stops a process for longer than a slice (:mod:`smartproxy.flow.slices`).

The bytes of live connections, and those that are counted for their routes already, are read without a pause: a connection
that is cleaned up meanwhile would be counted twice, or not at all. It takes half a millisecond for 1,000 connections. Everything
else is read in slices. Routes that were never used are left out.
"""

from __future__ import annotations

import pickle
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict

from smartproxy.flow.slices import Slices
from smartproxy.metrics import totals
from smartproxy.metrics.totals import Bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.metrics.api import Distributions
    from smartproxy.metrics.counters import Counters, RouteCounters
    from smartproxy.metrics.histogram import Histogram
    from smartproxy.metrics.requests import RequestCounters
    from smartproxy.metrics.source import ConnectionSource
    from smartproxy.proxy.local_control import AnsweringProxy

#: Rows that are pickled together: about half a millisecond.
PIECE: Final = 100
#: Attributes of :class:`~smartproxy.metrics.counters.Counters` that are dicts of counts.
BY_LABEL: Final = (
    "acme_orders", "certificate_reloads", "closed_before", "handshakes", "ocsp_responses", "postgres_cancels",
    "proxy_headers", "rejected", "zombies",
)  # fmt: skip
#: Those that are numbers.
PLAIN: Final = ("access_log_dropped", "resumed")
#: Those that are called for times by name, in seconds since the epoch.
TIMES: Final = ("acme_next_renewal", "certificate_expiry")

#: Counts by bucket, and the sum of all observations in seconds.
HistogramState: TypeAlias = tuple[list[int], float]
#: Counts by bucket, and the number of values that count as 0.
SketchState: TypeAlias = tuple[dict[int, int], int]


class RequestsState(TypedDict):
    """A copy of :class:`~smartproxy.metrics.requests.RequestCounters`."""

    answered: dict[tuple[str, int], int]
    active: int
    upgrades: int
    seconds: HistogramState


class RouteState(TypedDict):
    """A copy of :class:`~smartproxy.metrics.counters.RouteCounters`; bytes of live connections are in it.

    ``dial_seconds`` and ``duration_seconds`` are ``None`` where nothing was observed.
    """

    opened: int
    active: int
    unsettled: int
    received: int
    sent: int
    closed: dict[str, int]
    dial_seconds: HistogramState | None
    duration_seconds: HistogramState | None
    requests: RequestsState | None


class ProcessState(TypedDict):
    """What is counted for the whole process: connections, bytes, the clean-up queue, and what has labels of its own.

    ``received`` and ``sent`` are the bytes of all connections since the process began, live ones included.
    """

    opened: int
    active: int
    received: int
    sent: int
    queued: int
    batches: int
    cleaned: int
    by_label: dict[str, dict[Any, int]]
    plain: dict[str, int]
    times: dict[str, dict[str, float]]
    handshake_seconds: HistogramState
    durations: SketchState
    sizes: SketchState


class WorkerSnapshot(TypedDict):
    """One worker. Each list of bytes is read with :func:`rows_of`.

    :ivar process: counts of the whole process.
    :ivar routes: rows of route name and :class:`RouteState`.
    :ivar clients: rows of client address and number of live connections.
    :ivar route_rates: rows of route name, bytes per second from clients and to clients.
    :ivar client_rates: rows of client address and the same.
    :ivar targets: rows that are dicts with the fields of :class:`~smartproxy.metrics.targets.TargetCounts`.
    :ivar queues: rows of group name and number of waiting clients.
    :ivar requests: rows that are dicts with the fields of :class:`~smartproxy.metrics.targets.RequestsOfGroup`.
    """

    process: ProcessState
    routes: list[bytes]
    clients: list[bytes]
    route_rates: list[bytes]
    client_rates: list[bytes]
    targets: list[bytes]
    queues: list[bytes]
    requests: list[bytes]


async def take_snapshot(proxy: AnsweringProxy, clock: IReactorTime) -> WorkerSnapshot:
    """Copy what ``proxy`` has counted and measured.

    :param clock: the reactor; it gets its turn every two milliseconds.
    """
    slices = Slices(clock)
    registry, counters, measured = proxy.registry, proxy.counters, proxy.metrics
    frozen = FrozenBytes(registry, counters)
    process = process_state(registry, counters, measured.distributions, frozen.total)
    await slices.turn()
    if not proxy.draining:  # else no client gets its certificates any more, and none is renewed
        process["times"] = {name: dict(getattr(counters, name)()) for name in TIMES}
    await slices.turn()
    rates, groups = measured.throughput, proxy.groups
    return WorkerSnapshot(
        process=process,
        routes=await _in_pieces(route_rows(frozen), slices),
        clients=await _in_pieces(list(registry.by_ip.items()), slices),
        route_rates=await _in_pieces(((name, *rate) for name, rate in rates.each_route()), slices),
        client_rates=await _in_pieces(((ip, *rate) for ip, rate in rates.each_client()), slices),
        targets=await _in_pieces((counts._asdict() for counts in groups.each_target_count()), slices),
        queues=await _in_pieces(groups.each_queue_length(), slices),
        requests=await _in_pieces([counts._asdict() for counts in groups.request_counts()], slices),
    )


def rows_of(pieces: Iterable[bytes]) -> Iterator[Any]:
    """The rows of a list of a snapshot."""
    for piece in pieces:
        yield from pickle.loads(piece)  # noqa: S301 - from a worker of ours, over a socket that nobody else has


def pieces_of(rows: Iterable[Any]) -> Iterator[bytes]:
    """A list of a snapshot, piece by piece."""
    iterator = iter(rows)
    while piece := list(islice(iterator, PIECE)):
        yield pickle.dumps(piece, pickle.HIGHEST_PROTOCOL)


async def _in_pieces(rows: Iterable[Any], slices: Slices) -> list[bytes]:
    pieces = []
    for piece in pieces_of(rows):
        pieces.append(piece)
        await slices.turn()
    return pieces


class FrozenBytes:
    """The bytes of all routes and connections, as they were when it was created.

    A route without connections is read later: what is counted meanwhile counts once all the same.

    :ivar total: of all connections.
    """

    def __init__(self, registry: ConnectionSource, counters: Counters) -> None:
        received: dict[str, int] = {}
        sent: dict[str, int] = {}
        totals.add_unsettled(registry, received, sent)
        self.total = Bytes(
            registry.closed_received + sum(received.values()), registry.closed_sent + sum(sent.values())
        )
        for name in received:
            if (counted := counters.routes.get(name)) is not None:
                received[name] += counted.received
                sent[name] += counted.sent
        self._received = received
        self._sent = sent
        self._names = list(counters.routes)
        self._counted = list(counters.routes.values())

    def routes(self) -> Iterator[tuple[str, RouteCounters, int, int]]:
        """The name of each route, its counters, and its bytes received and sent. A reader may pause in between."""
        for name, counted in zip(self._names, self._counted, strict=True):
            if name in self._received:
                yield name, counted, self._received[name], self._sent[name]
            else:
                yield name, counted, counted.received, counted.sent


def process_state(
    registry: ConnectionSource, counters: Counters, distributions: Distributions, moved: Bytes
) -> ProcessState:
    """Copy what is counted for the whole process, except :data:`TIMES`."""
    queue = registry.ended
    return ProcessState(
        opened=registry.opened,
        active=registry.active,
        received=moved.received,
        sent=moved.sent,
        queued=len(queue),
        batches=queue.batches,
        cleaned=queue.cleaned,
        by_label={name: _plain(getattr(counters, name)) for name in BY_LABEL},
        plain={name: getattr(counters, name) for name in PLAIN},
        times={},
        handshake_seconds=_histogram(counters.handshake_seconds),
        durations=distributions.durations.state(),
        sizes=distributions.sizes.state(),
    )


def route_rows(frozen: FrozenBytes) -> Iterator[tuple[str, RouteState]]:
    """A row for each route that was used."""
    for name, counted, received, sent in frozen.routes():
        yield name, _route_state(counted, received, sent)


def _route_state(counted: RouteCounters, received: int, sent: int) -> RouteState:
    dialed, lived, requests = counted.dial_seconds, counted.duration_seconds, counted.requests
    return RouteState(
        opened=counted.opened,
        active=counted.active,
        unsettled=counted.unsettled,
        received=received,
        sent=sent,
        closed=_plain(counted.closed),
        dial_seconds=_histogram(dialed) if any(dialed.counts) else None,
        duration_seconds=_histogram(lived) if any(lived.counts) else None,
        requests=None if requests is None else _request_state(requests),
    )


def _request_state(requests: RequestCounters) -> RequestsState:
    return RequestsState(
        answered=dict(requests.answered),
        active=requests.active,
        upgrades=requests.upgrades,
        seconds=_histogram(requests.seconds),
    )


def _histogram(histogram: Histogram) -> HistogramState:
    return list(histogram.counts), histogram.total


def _plain(counts: Mapping[Any, int]) -> dict[Any, int]:
    """A copy whose keys are of no class of ours: a member of an enum would have to be known to the reader."""
    return {str(key) if isinstance(key, str) else key: count for key, count in counts.items()}
