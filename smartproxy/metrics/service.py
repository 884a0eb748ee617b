"""The metrics as an IService: :attr:`SmartProxy.metrics <smartproxy.SmartProxy>`.

::

    metrics = make_metrics(plan.metrics, registry, counters, clock)
    metrics.startService()
    metrics.throughput.recent().out

:class:`Metrics` measures throughput: it gives the registry the meters for the records, samples them once per interval,
and drops the meters of idle routes and clients. :class:`NoMetrics` (``metrics: false``) does none of that and costs nothing
on the byte path. Both give the counts: the registry and the counters keep them in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from smartproxy.metrics.api import Distributions, NoThroughput, Percentiles, Throughput
from smartproxy.metrics.counted import CountedMetrics
from smartproxy.metrics.interfaces import IMetrics
from smartproxy.metrics.rates import STAMP_INTERVAL, MeterAssignment
from smartproxy.metrics.throughput import ThroughputTracker

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.source import ConnectionSource
    from smartproxy.model.plan import MetricsPlan

log = Logger()


@implementer(IMetrics)
class Metrics(CountedMetrics, Service):
    """Counts, and measures throughput and distributions.

    :param registry: its records add to the meters from now on.
    :param clock: monotonic.
    :ivar distributions: of the duration and the size of closed connections.
    """

    name = "metrics"

    def __init__(
        self, plan: MetricsPlan, registry: ConnectionSource, counters: Counters, clock: IReactorTime
    ) -> None:
        super().__init__(registry, counters)
        self._tracker = ThroughputTracker(plan, clock)
        self._meters = MeterAssignment(self._tracker.meter, clock.seconds)
        self.distributions = Distributions()
        self._rotating = LoopingCall(self._rotate)
        self._rotating.clock = clock
        self.throughput = Throughput(self._tracker, self._meters.routes, self._meters.clients)
        self.percentiles = self.distributions.percentiles
        registry.measure(self._meters)
        registry.on_closed.append(self.distributions.add)

    def startService(self) -> None:
        """Start sampling, and dropping idle meters."""
        super().startService()
        self._tracker.start()
        self._rotating.start(STAMP_INTERVAL, now=False).addErrback(
            lambda why: log.failure("meters of idle clients are no longer dropped", failure=why)
        )

    def stopService(self) -> None:
        """Stop both. The results so far can still be read."""
        self._tracker.stop()
        if self._rotating.running:
            self._rotating.stop()
        super().stopService()

    def configure(self, plan: MetricsPlan) -> None:
        """Sample as ``plan`` says from now on."""
        self._tracker.configure(plan)

    def detach(self) -> None:
        """Measure nothing any more: the configuration has ``metrics: false`` now."""
        self._registry.measure(None)
        self._registry.on_closed.remove(self.distributions.add)

    def _rotate(self) -> None:
        self._meters.clients.rotate(self._registry.by_ip)
        self._meters.routes.rotate({name for name, of in self._counters.routes.items() if of.unsettled})
        self._meters.routes.keep(
            self._counters.routes
        )  # a removed route without connections has no series any more


@implementer(IMetrics)
class NoMetrics(CountedMetrics, Service):
    """Counts, and measures nothing.

    :ivar distributions: without values.
    """

    name = "metrics"

    def __init__(self, registry: ConnectionSource, counters: Counters) -> None:
        super().__init__(registry, counters)
        self.throughput = NoThroughput()
        self.distributions = Distributions()

    def detach(self) -> None:
        """Do nothing: nothing is measured."""

    def percentiles(self) -> Percentiles:
        """No values."""
        return self.distributions.percentiles()


def make_metrics(
    plan: MetricsPlan | None, registry: ConnectionSource, counters: Counters, clock: IReactorTime
) -> Metrics | NoMetrics:
    """The metrics that the configuration asks for; ``None`` is ``metrics: false``."""
    if plan is None:
        return NoMetrics(registry, counters)
    return Metrics(plan, registry, counters, clock)
