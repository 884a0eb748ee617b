"""The interface of ``proxy.metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from smartproxy.metrics.api import CleanupCounts, Percentiles, Totals
    from smartproxy.model.outcome import CloseReason, RejectReason


class IMetrics(Interface):
    """The metrics of a proxy, as ``proxy.metrics``. Every result is a copy that later events do not change."""

    connections = Attribute(
        """``active()``, ``total()``, ``by_route()``, ``by_ip()`` and ``top_ips(n)``: see
        :class:`~smartproxy.metrics.api.Connections`."""
    )
    throughput = Attribute(
        """``instant()``, ``recent()``, ``average()``, ``custom(seconds)``, ``history(seconds)``, ``by_route()``
        and ``by_ip()``, in bytes per second: see :class:`~smartproxy.metrics.api.Throughput`."""
    )

    def totals() -> Totals:
        """Bytes and connections since the process started, summed over the records of live and closed connections."""

    def closed() -> dict[CloseReason, int]:
        """Closed connections by reason; every reason is in it."""

    def rejected() -> dict[RejectReason, int]:
        """Refused connections by reason; every reason is in it."""

    def zombies() -> dict[str, int]:
        """Dead connections found by the sweep, by kind."""

    def cleanup() -> CleanupCounts:
        """State of the queue of closed connections."""

    def percentiles() -> Percentiles:
        """Percentiles of the duration and the size of closed connections."""
