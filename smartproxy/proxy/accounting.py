"""What a proxy knows, counts and logs of its connections, as the configuration in force asks for it.

::

    accounting = Accounting(plan, clock)
    prepared = accounting.prepare(other)    # OSError: its access log cannot be opened; nothing has changed
    accounting.apply(other, prepared)       # connections, counters and samples are kept
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.connections.registry import Registry
from smartproxy.connections.zombies import ZombieSweep
from smartproxy.metrics.counters import Counters
from smartproxy.metrics.service import Metrics, NoMetrics, make_metrics
from smartproxy.observe.access_log import AccessLog
from smartproxy.observe.refusal_log import RefusalLog

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.connections.registry import PublishedNumbers
    from smartproxy.errors import ConfigurationError
    from smartproxy.model.plan import AccessLogPlan, MetricsPlan, ProxyPlan, ZombiePlan
    from smartproxy.settings import Settings


class Accounting:
    """What is known, counted and logged of connections.

    :param clock: monotonic.
    :param first_connection: the number of the first connection.
    :param published: gets the numbers of live connections, for limits that several processes share.
    :param inherited_log: a descriptor of the access log, where another process has opened it.
    :ivar metrics: another object after a change between ``metrics: false`` and a measurement.
    :ivar access_log: ``None`` where the configuration has none.
    """

    def __init__(
        self,
        plan: ProxyPlan,
        clock: IReactorTime,
        first_connection: int = 1,
        published: PublishedNumbers | None = None,
        inherited_log: int | None = None,
    ) -> None:
        self._clock = clock
        self._plan = plan
        self._running = False
        self.counters = Counters()
        self.counters.keep(plan.by_name.keys(), clock.seconds())
        self.registry = Registry(self.counters, plan.cleanup, clock, first_connection, published)
        self.metrics = make_metrics(plan.metrics, self.registry, self.counters, clock)
        self.refusals = RefusalLog(clock.seconds)
        self.access_log: AccessLog | None = None
        self._use_log(self._new_log(plan.access_log, inherited_log))
        self._zombies = self._new_sweep(plan.zombies)

    def start(self) -> None:
        """Begin to sweep for zombies and to measure."""
        self._running = True
        if self._zombies is not None:
            self._zombies.start()
        self.metrics.startService()

    def stop(self) -> None:
        """Stop sweeping, and complete totals and logs."""
        self._running = False
        if self._zombies is not None:
            self._zombies.stop()
        self.registry.ended.empty()
        self.metrics.stopService()
        self.close_log()
        self.refusals.flush(everything=True)

    # -- the access log ------------------------------------------------------------------------------

    def open_log(self) -> None:
        """Open the access log, if there is one.

        :raises OSError: if it cannot be opened.
        """
        if self.access_log is not None:
            self.access_log.open()

    def close_log(self) -> None:
        """Close the access log, if there is one."""
        if self.access_log is not None:
            self.access_log.close()

    # -- changes -------------------------------------------------------------------------------------

    def prepare(self, plan: ProxyPlan, *, opened: bool = True) -> AccessLog | None:
        """The access log of ``plan``: the one in use where the path is the same. Nothing has changed yet.

        :param opened: whether to open another one.
        :raises OSError: if it cannot be opened.
        """
        if self.access_log is not None and plan.access_log is not None:
            former = self._plan.access_log
            if former is not None and former.path == plan.access_log.path:
                return self.access_log
        prepared = self._new_log(plan.access_log)
        if opened and prepared is not None:
            prepared.open()
        return prepared

    def discard(self, prepared: AccessLog | None) -> None:
        """Close a prepared access log: the change has failed."""
        if prepared is not None and prepared is not self.access_log:
            prepared.close()

    def apply(self, plan: ProxyPlan, prepared: AccessLog | None) -> None:
        """Put ``plan`` in force; what it does not change goes on as it is."""
        if prepared is not self.access_log:
            self.close_log()
            self._use_log(prepared)
        if prepared is not None and plan.access_log is not None:
            prepared.set_format(plan.access_log.format)
        self.registry.ended.configure(plan.cleanup)
        self.registry.clients.regroup(plan.ipv6_limit_prefix)
        if plan.metrics != self._plan.metrics:
            self._measure(plan.metrics)
        if plan.zombies != self._plan.zombies:
            self._sweep(plan.zombies)
        self._plan = plan

    def _new_log(self, plan: AccessLogPlan | None, inherited: int | None = None) -> AccessLog | None:
        return None if plan is None else AccessLog(plan, self.counters, self._clock, inherited=inherited)

    def _use_log(self, access_log: AccessLog | None) -> None:
        if self.access_log is not None:
            self.registry.on_closed.remove(self.access_log.write)
            self.registry.on_exchange.remove(self.access_log.write_exchange)
        if access_log is not None:
            self.registry.on_closed.append(access_log.write)
            self.registry.on_exchange.append(access_log.write_exchange)
        self.access_log = access_log

    def _measure(self, plan: MetricsPlan | None) -> None:
        """Measure as ``plan`` says; samples and meters are kept unless there were none, or shall be none."""
        if plan is not None and isinstance(self.metrics, Metrics):
            self.metrics.configure(plan)
            return
        former: Metrics | NoMetrics = self.metrics
        if former.running:
            former.stopService()
        former.detach()
        self.metrics = make_metrics(plan, self.registry, self.counters, self._clock)
        if self._running:
            self.metrics.startService()

    def _sweep(self, plan: ZombiePlan | None) -> None:
        if plan is not None and self._zombies is not None:
            self._zombies.configure(plan)
            return
        if self._zombies is not None:
            self._zombies.stop()
        self._zombies = self._new_sweep(plan)
        if self._zombies is not None and self._running:
            self._zombies.start()

    def _new_sweep(self, plan: ZombiePlan | None) -> ZombieSweep | None:
        return None if plan is None else ZombieSweep(plan, self.registry, self.counters, self._clock)


def not_opened(settings: Settings, why: OSError) -> ConfigurationError:
    """The exception for an access log of ``settings`` that cannot be opened."""
    file = "" if why.filename is None else f"{why.filename}: "
    return settings.problem(("accessLog", "path"), f"{file}cannot be opened: {why.strerror}")
