"""What the admin listener of a supervisor reads and changes: the configuration here, connections in the workers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from zope.interface import implementer

from smartproxy._version import BUILD, __version__
from smartproxy.admin.control import IProxyControl
from smartproxy.metrics.family import MetricFamily
from smartproxy.proxy.local_control import ConfiguredProxy
from smartproxy.workers.all_workers import AllWorkers
from smartproxy.workers.slot import SlotState
from smartproxy.workers.worker_link import WorkerState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.metrics.counters import Counters
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.workers.all_workers import Ask
    from smartproxy.workers.slots import WorkerSlots
    from smartproxy.workers.worker_link import WorkerLink


class Supervised(ConfiguredProxy, Protocol):
    """What is used of a :class:`~smartproxy.workers.supervisor.Supervisor`."""

    @property
    def serving(self) -> bool: ...

    def listeners(self) -> list[str]: ...


@implementer(IProxyControl)
class SupervisorControl(AllWorkers):
    """The control of a proxy with several processes.

    :param slots: the workers.
    :param own: what the supervisor counts itself.
    """

    def __init__(
        self,
        supervisor: Supervised,
        slots: WorkerSlots,
        ask: Ask,
        ask_one: Ask,
        own: Counters,
        clock: IReactorTime,
    ) -> None:
        super().__init__(
            ask, ask_one, own, lambda: supervisor.plan, clock, self._families, self._draining_workers
        )
        self._supervisor = supervisor
        self._slots = slots
        self._started_at = clock.seconds()
        self.reload = supervisor.reload
        self.replace_routes = supervisor.replace_routes
        self.waiting_for_restart = supervisor.waiting_for_restart
        self.drain = supervisor.drain

    @property
    def plan(self) -> ProxyPlan:
        """The configuration in force."""
        return self._supervisor.plan

    @property
    def serving(self) -> bool:
        """Whether every worker has begun, and one serves now."""
        return self._supervisor.serving

    @property
    def draining(self) -> bool:
        """Whether no new connections are accepted."""
        return self._supervisor.draining

    def status(self) -> Deferred[dict[str, object]]:
        """Facts about the supervisor, with the numbers of all workers."""
        return self.status_sums().addCallback(self._status)

    def _status(self, sums: dict[str, int]) -> dict[str, object]:
        return {
            "version": __version__,
            "build": BUILD,
            "pid": os.getpid(),
            "uptimeSeconds": round(self._clock.seconds() - self._started_at, 3),
            "state": "draining" if self.draining else "running",
            "reactor": type(self._clock).__name__,
            "acceleration": "splice" if self.plan.acceleration else "off",
            "listeners": self._supervisor.listeners(),
            "routes": len(self.plan.routes),
            "workers": len(self._slots.slots),
            **sums,
        }

    def workers(self) -> Sequence[dict[str, object]]:
        """Every worker process: those that serve, those that begin, and those that end their last connections."""
        now = self._clock.seconds()
        return [
            {
                "slot": link.slot,
                "generation": link.generation,
                "pid": link.process or None,
                "state": self._state(link),
                "connections": link.active,
                "uptimeSeconds": round(now - link.since, 3),
            }
            for link in sorted(self._slots.links, key=lambda link: (link.slot, link.generation))
        ]

    def _state(self, link: WorkerLink) -> WorkerState:
        """What a worker does: none accepts connections once the proxy drains."""
        return WorkerState.DRAINING if self.draining and link.doing is WorkerState.SERVING else link.doing

    def _draining_workers(self) -> set[int]:
        return {link.generation for link in self._slots.links if link.doing is WorkerState.DRAINING}

    def _families(self) -> Sequence[MetricFamily]:
        counts: dict[str, int] = dict.fromkeys(WorkerState, 0)
        for link in self._slots.links:
            counts[self._state(link)] += 1
        missing = sum(slot.state is SlotState.WAITING for slot in self._slots.slots)
        return worker_families({**counts, "missing": missing}, self._slots.restarts)


def worker_families(counts: Mapping[str, int], restarts: int) -> tuple[MetricFamily, ...]:
    """The metric families of worker processes.

    :param counts: how many there are, by state.
    :param restarts: how many were started again.
    """
    return (
        MetricFamily(
            "smartproxy_workers", "gauge", "Worker processes by state; missing: ended, and not started again yet.",
            ("state",), [((state,), count) for state, count in counts.items()],
        ),
        MetricFamily(
            "smartproxy_worker_restarts", "counter", "Worker processes that were started again.", (), [((), restarts)]
        ),
    )  # fmt: skip
