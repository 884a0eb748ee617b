"""What a proxy is given from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from smartproxy.connections.registry import PublishedNumbers
from smartproxy.security.limits import ConnectionCounts, ConnectionRates
from smartproxy.upstream.shared_targets import SharedTargets

if TYPE_CHECKING:
    from smartproxy.connections.registry import Registry
    from smartproxy.model.plan import ProxyPlan


class LimitsOfProcesses(PublishedNumbers, ConnectionCounts, ConnectionRates, SharedTargets, Protocol):
    """Holds limits over several processes: :class:`~smartproxy.workers.shared_limits.SharedLimits`."""

    def bind(self, registry: Registry) -> None:
        """Count the connections of ``registry``, which has none yet."""

    def apply(self, plan: ProxyPlan) -> None:
        """Hold the limits of ``plan``. Called before the first connection, and after each reload."""
