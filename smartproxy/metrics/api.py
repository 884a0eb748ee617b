"""What an embedder reads: ``proxy.metrics.connections`` and ``proxy.metrics.throughput``.

Plain looks at the registry, the meters and the sampler. Each answer is a copy of one moment, and may be kept.
"""

from __future__ import annotations

from heapq import nlargest
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from smartproxy.metrics.sketch import Sketch
from smartproxy.metrics.throughput import STILL
from smartproxy.model.outcome import CloseReason

if TYPE_CHECKING:
    from smartproxy.metrics.rates import MeterAssignment
    from smartproxy.metrics.source import ConnectionSource
    from smartproxy.metrics.throughput import Rate, Sample, ThroughputTracker
    from smartproxy.model.record import ClosedConnection

#: How many clients ``top_ips`` names.
TOP_IPS = 10


class Totals(NamedTuple):
    """Since the process began: payload bytes from and to clients, and connections accepted."""

    bytes_received: int
    bytes_sent: int
    connections: int


class CleanupCounts(NamedTuple):
    """Ended connections that wait to be put away, batches that have run, and connections put away."""

    queued: int
    batches: int
    cleaned: int


class Quantiles(NamedTuple):
    """The median and its kin, within 1 %; ``None`` before there is anything to tell them from."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Percentiles(NamedTuple):
    """Of connections that have ended and were not refused: seconds from accept to end, and bytes of both directions."""

    duration_seconds: Quantiles = Quantiles()
    bytes: Quantiles = Quantiles()


class Connections:
    """Connections, counted."""

    def __init__(self, registry: ConnectionSource) -> None:
        self._registry = registry

    def active(self) -> int:
        """How many live now."""
        return self._registry.active

    def total(self) -> int:
        """How many there have ever been."""
        return self._registry.opened

    def by_route(self) -> dict[str, int]:
        """Live ones of each route that has any."""
        return dict(self._registry.by_route)

    def by_ip(self) -> dict[str, int]:
        """Live ones of each client that has any."""
        return dict(self._registry.by_ip)

    def top_ips(self, most: int = TOP_IPS) -> list[tuple[str, int]]:
        """The clients with most live connections, most first."""
        return nlargest(most, self._registry.by_ip.items(), key=itemgetter(1))


class Throughput:
    """Payload bytes per second."""

    def __init__(self, tracker: ThroughputTracker, meters: MeterAssignment) -> None:
        self.instant = tracker.instant
        self.recent = tracker.recent
        self.average = tracker.average
        self.custom = tracker.custom
        self.history = tracker.history
        self.by_route = meters.routes.rates
        self.by_ip = meters.clients.rates


class NoThroughput:
    """The same where nothing is measured (``metrics: false``): nothing moves."""

    def instant(self) -> Rate:
        """Unknown."""
        return STILL

    recent = average = instant

    def custom(self, seconds: float) -> Rate:
        """Unknown."""
        return STILL

    def history(self, seconds: float) -> list[Sample]:
        """There is none."""
        return []

    def by_route(self) -> dict[str, Rate]:
        """Unknown."""
        return {}

    by_ip = by_route


class Distributions:
    """How long connections last and how much they carry."""

    def __init__(self) -> None:
        self.durations = Sketch()
        self.sizes = Sketch()

    def add(self, ended: ClosedConnection) -> None:
        """One is over. Those that were refused are not counted: the histogram of durations has none of them either."""
        record = ended.record
        if isinstance(ended.outcome, CloseReason):
            self.durations.add(ended.at - record.opened_at)
            self.sizes.add(record.bytes_received + record.bytes_sent)

    def percentiles(self) -> Percentiles:
        """Of all so far."""
        return Percentiles(_quantiles(self.durations), _quantiles(self.sizes))


def _quantiles(sketch: Sketch) -> Quantiles:
    return Quantiles(sketch.quantile(0.5), sketch.quantile(0.95), sketch.quantile(0.99))
