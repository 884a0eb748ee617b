"""What can be read of a proxy's metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from smartproxy.metrics.api import CleanupCounts, Percentiles, Totals
    from smartproxy.model.outcome import CloseReason, RejectReason


class IMetrics(Interface):
    """What a proxy counts and measures, as ``proxy.metrics``. Everything told is a copy of one moment."""

    connections = Attribute(
        """``active()``, ``total()``, ``by_route()``, ``by_ip()`` and ``top_ips(n)``: see
        :class:`~smartproxy.metrics.api.Connections`."""
    )
    throughput = Attribute(
        """``instant()``, ``recent()``, ``average()``, ``custom(seconds)``, ``history(seconds)``, ``by_route()``
        and ``by_ip()``, in bytes per second: see :class:`~smartproxy.metrics.api.Throughput`."""
    )

    def totals() -> Totals:
        """Bytes and connections since the process began: from the records only, live and ended."""

    def closed() -> dict[CloseReason, int]:
        """Ended connections by reason: every reason, from 0."""

    def rejected() -> dict[RejectReason, int]:
        """Refused connections by reason: every reason, from 0."""

    def zombies() -> dict[str, int]:
        """Dead connections that a sweep found, by kind."""

    def cleanup() -> CleanupCounts:
        """The queue of what has ended."""

    def percentiles() -> Percentiles:
        """How long ended connections lived, and how much they carried."""
