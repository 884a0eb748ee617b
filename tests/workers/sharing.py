"""Several processes with shared limits, as objects of one process over the same memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.task import Clock

from smartproxy.connections.registry import Registry
from smartproxy.metrics.counters import Counters
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import CloseReason
from smartproxy.model.plan import CleanupPlan, MatchPlan, ProxyPlan, RoutePlan
from smartproxy.workers.shared_limits import SharedLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.workers.memory import LimitsMemory

PEER = Endpoint("198.51.100.9", 5000)
CLIENT = "192.0.2.1"


def a_plan(route_limit: int = 0, names: tuple[str, ...] = ("web",), **limits: int) -> ProxyPlan:
    routes = (RoutePlan(name, 0, MatchPlan((range(80, 81),)), max_connections=route_limit) for name in names)
    return ProxyPlan(tuple(routes), **limits)


class Process:
    """A worker: its row, its registry and its limits."""

    def __init__(self, memory: LimitsMemory, seconds: Callable[[], float] = lambda: 0.0) -> None:
        self.row = memory.claim()
        self.limits = SharedLimits(memory, self.row, seconds)
        self.registry = Registry(Counters(), CleanupPlan(), Clock(), published=self.limits)
        self.limits.bind(self.registry)
        self.records = []

    def apply(self, plan: ProxyPlan) -> None:
        """Use another configuration."""
        self.registry.clients.regroup(plan.ipv6_limit_prefix)
        self.limits.apply(plan)

    def open(self, limit: int) -> bool:
        """Accept a connection if there is room."""
        admitted = self.limits.may_open(limit)
        if admitted:
            self.accept()
        return admitted

    def accept(self):
        record = self.registry.open(Accepted(":80", 80, PEER, 0.0))
        self.records.append(record)
        return record

    def add_client(self, ip: str = CLIENT, limit: int = 1) -> bool:
        """Accept a connection of a client if it may have one more."""
        admitted = self.limits.may_add_client(ip, limit)
        if admitted:
            self.registry.identify(self.accept(), Endpoint(ip, 4000))
        return admitted

    def assign(self, route: str = "web", limit: int = 1) -> bool:
        admitted = self.limits.may_assign(route, limit)
        if admitted:
            self.registry.assign(self.accept(), route)
        return admitted

    def close(self, number: int = 1) -> None:
        for _ in range(number):
            self.registry.close(self.records.pop(), CloseReason.NORMAL, 0.0)
