"""The Python API of the metrics: ``proxy.metrics.connections`` and ``proxy.metrics.throughput``.

They read the registry, the meters and the throughput samples. Every result is a copy that later events do not change.
"""

from __future__ import annotations

from heapq import nlargest
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from smartproxy.metrics.sketch import Sketch
from smartproxy.metrics.throughput import ZERO_RATE
from smartproxy.model.outcome import CloseReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.metrics.source import ConnectionSource, RateSource
    from smartproxy.metrics.throughput import Rate, Sample, ThroughputTracker
    from smartproxy.model.record import ClosedConnection

#: Default number of clients in ``top_ips``.
TOP_IPS = 10


class Totals(NamedTuple):
    """Since the process started: payload bytes received from and sent to clients, and accepted connections."""

    bytes_received: int
    bytes_sent: int
    connections: int


class CleanupCounts(NamedTuple):
    """Closed connections that wait for clean-up, batches run so far, and connections cleaned up so far."""

    queued: int
    batches: int
    cleaned: int


class Quantiles(NamedTuple):
    """Quantiles within 1 % of the true value; ``None`` before the first value."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Percentiles(NamedTuple):
    """Of closed connections that were not refused: seconds from accept to close, and bytes of both directions together."""

    duration_seconds: Quantiles = Quantiles()
    bytes: Quantiles = Quantiles()


class Connections:
    """Counts of connections."""

    def __init__(self, registry: ConnectionSource) -> None:
        self._registry = registry

    def active(self) -> int:
        """Live connections."""
        return self._registry.active

    def total(self) -> int:
        """Connections accepted since the process started."""
        return self._registry.opened

    def by_route(self) -> dict[str, int]:
        """Live connections by route name; routes without any are left out."""
        return dict(self._registry.by_route)

    def by_ip(self) -> dict[str, int]:
        """Live connections by client address."""
        return dict(self._registry.by_ip)

    def top_ips(self, most: int = TOP_IPS) -> list[tuple[str, int]]:
        """The clients with the most live connections, in descending order."""
        return nlargest(most, self._registry.by_ip.items(), key=itemgetter(1))


class Throughput:
    """Payload bytes per second: of the whole proxy, by route and by client.

    The methods are those of the tracker and the meters, without a wrapper in between:
    :class:`~smartproxy.metrics.throughput.ThroughputTracker` and :meth:`RateMeters.rates`.

    :param routes: the rates by route name.
    :param clients: the rates by client address.
    """

    def __init__(self, tracker: ThroughputTracker, routes: RateSource, clients: RateSource) -> None:
        self.instant = tracker.instant
        self.recent = tracker.recent
        self.average = tracker.average
        self.custom = tracker.custom
        self.history = tracker.history
        self.by_route = routes.rates
        self.by_ip = clients.rates
        self.each_route = routes.each
        self.each_client = clients.each


class NoThroughput:
    """Has the methods of :class:`Throughput` where nothing is measured (``metrics: false``): every rate is 0."""

    def instant(self) -> Rate:
        """A rate of 0."""
        return ZERO_RATE

    recent = average = instant

    def custom(self, seconds: float) -> Rate:
        """A rate of 0."""
        return ZERO_RATE

    def history(self, seconds: float) -> list[Sample]:
        """No samples."""
        return []

    def by_route(self) -> dict[str, Rate]:
        """No rates."""
        return {}

    by_ip = by_route

    def each_route(self) -> Iterator[tuple[str, Rate]]:
        """No rates."""
        return iter(())

    each_client = each_route


class Distributions:
    """Distributions of the duration and the size of closed connections."""

    def __init__(self) -> None:
        self.durations = Sketch()
        self.sizes = Sketch()

    def add(self, ended: ClosedConnection) -> None:
        """Add a closed connection. Refused ones are left out, as in the histogram of durations."""
        record = ended.record
        if isinstance(ended.outcome, CloseReason):
            self.durations.add(ended.at - record.opened_at)
            self.sizes.add(record.bytes_received + record.bytes_sent)

    def percentiles(self) -> Percentiles:
        """The percentiles of all connections added so far."""
        return Percentiles(_quantiles(self.durations), _quantiles(self.sizes))


def _quantiles(sketch: Sketch) -> Quantiles:
    return Quantiles(sketch.quantile(0.5), sketch.quantile(0.95), sketch.quantile(0.99))
