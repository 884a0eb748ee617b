"""The counts of the metrics: what is kept whether or not throughput is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.metrics import totals
from smartproxy.metrics.api import CleanupCounts, Connections, Totals

if TYPE_CHECKING:
    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.source import ConnectionSource
    from smartproxy.model.outcome import CloseReason, RejectReason


class CountedMetrics:
    """The part of :class:`~smartproxy.metrics.interfaces.IMetrics` that is read from a registry and counters."""

    def __init__(self, registry: ConnectionSource, counters: Counters) -> None:
        self._registry = registry
        self._counters = counters
        self.connections = Connections(registry)

    def totals(self) -> Totals:
        """Bytes and connections since the process started."""
        return Totals(*totals.overall(self._registry), self._registry.opened)

    def closed(self) -> dict[CloseReason, int]:
        """Closed connections by reason."""
        return totals.closed(self._counters)

    def rejected(self) -> dict[RejectReason, int]:
        """Refused connections by reason."""
        return dict(self._counters.rejected)

    def zombies(self) -> dict[str, int]:
        """Dead connections found by the sweep, by kind."""
        return dict(self._counters.zombies)

    def cleanup(self) -> CleanupCounts:
        """State of the queue of closed connections."""
        queue = self._registry.ended
        return CleanupCounts(len(queue), queue.batches, queue.cleaned)
