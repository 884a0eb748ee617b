"""A proxy as far as it is the same in every process that carries connections: a compiled configuration in, listeners out.

:class:`~smartproxy.proxy.service.SmartProxy` adds reading the configuration and the admin listener. Where several processes
serve, one of them has these, and the others are given what they need (:mod:`smartproxy.proxy.given`).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from smartproxy._version import BUILD, __version__
from smartproxy.flow.joined import JoinedCall
from smartproxy.flow.threads import thread_for
from smartproxy.model.outcome import CloseReason
from smartproxy.net.listening import named
from smartproxy.proxy.accounting import not_opened
from smartproxy.proxy.listeners import Listeners
from smartproxy.proxy.reload import ConfigurationInForce
from smartproxy.proxy.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartproxy.acme.automatic import AutomaticCertificates
    from smartproxy.connections.registry import Registry
    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.service import Metrics, NoMetrics
    from smartproxy.model.address import Endpoint
    from smartproxy.model.certificate_status import ShownCertificate
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.net.activated import ActivatedSockets
    from smartproxy.proxy.given import Given
    from smartproxy.settings import Settings
    from smartproxy.upstream.health.service import HealthChecks
    from smartproxy.upstream.steering import TargetGroups

log = Logger()


class ProxyCore(Service):
    """Listens, and carries connections.

    :param plan: ``settings``, compiled.
    :param given: what another process has made before; by default everything is made here.
    :ivar draining: whether new connections are refused.
    """

    def __init__(self, settings: Settings, plan: ProxyPlan, reactor: Any, given: Given | None = None) -> None:
        self._reactor = reactor
        self.draining = False
        self._runtime = Runtime(plan, reactor, given)
        self._started_at = self._runtime.clocks.seconds()
        self._listeners = Listeners(self._runtime, given)
        self._configuration = ConfigurationInForce(
            settings,
            plan,
            self._runtime,
            self._listeners,
            lambda: self._bound,
            lambda: self.draining,
            is_reporting=given is None,
        )
        # Of its own, so that reading a file waits for nothing else, and nothing else for a file system that hangs.
        self._in_thread = thread_for("configuration", reactor)
        self._listeners_closed: Deferred[None] = succeed(None)
        self._bound = False
        self._stopping = JoinedCall(self._stop, self._has_stopped)
        self._start_after_stop = False

    def listening_descriptors(self) -> dict[str, list[int]]:
        """The descriptors of listening sockets, by the names of listeners."""
        return self._listeners.descriptors()

    @property
    def checks(self) -> HealthChecks:
        """The active checks of targets."""
        return self._runtime.targets.checks

    def use_sockets(self, activated: ActivatedSockets) -> None:
        """Listen on these sockets where routes want their addresses; called before the start."""
        self._listeners.activated = activated

    # -- life cycle ----------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Open the access log, and listen.

        :raises ConfigurationError: where the log cannot be opened.
        :raises CannotListenError: where a port cannot be bound; then none is.
        """
        if self._bound:
            return
        self.draining = False
        self._runtime.sockets.open()
        self._configuration.listen()
        try:
            self._open_log()
            self._open_others()
        except Exception:
            self._listeners.close()
            self._runtime.targets.stop()
            self._runtime.accounting.close_log()
            raise
        self._bound = True

    def _open_log(self) -> None:
        try:
            self._runtime.accounting.open_log()
        except OSError as why:
            raise not_opened(self._configuration.settings, why) from why

    def _open_others(self) -> None:
        """Open what a subclass has besides: nothing, where it raises."""

    def startService(self) -> None:
        """Begin to carry connections: now, or when a stop in progress is complete."""
        if self._stopping.is_running:
            self._start_after_stop = True
            return
        if self.running:
            log.warn("{service} is running: a second startService() has no effect", service=self.name)
            return
        self.privilegedStartService()
        super().startService()
        self._configuration.check_access()
        self._runtime.start()
        self._started()

    def _started(self) -> None:
        """It carries connections."""

    def stopService(self) -> Deferred[None]:
        """Drain, then end the connections that are left. Fires when none is open and nothing runs."""
        self._start_after_stop = False
        return self._stopping() if self._bound else succeed(None)

    def _has_stopped(self) -> None:
        if self._start_after_stop and not self._stopping.is_running:
            try:
                self.startService()
            except Exception:
                log.failure("smartproxy could not be started again")

    async def _stop(self) -> None:
        began = self._runtime.clocks.seconds()
        self.drain()
        emptied = self.registry.emptied()
        is_empty = emptied.called
        timeout = self.plan.graceful_shutdown
        if not is_empty and timeout:
            log.info(
                "waiting up to {timeout} s for {active} connections",
                timeout=timeout,
                active=self.registry.active,
            )
            with contextlib.suppress(TimeoutError):
                await self.registry.emptied().addTimeout(timeout, self._reactor, _timed_out)
        self.end_connections(f"still open after {timeout:g} s (gracefulShutdownTimeout)")
        await emptied
        if not is_empty:
            # Not within the sweep that has ended the last connection: it is stopped now, and may be started again.
            await deferLater(self._reactor, 0)
        await self._listeners_closed
        left = began + timeout - self._runtime.clocks.seconds()
        if left > 0:  # for commands that remove what they have added to the DNS
            with contextlib.suppress(TimeoutError):
                await self._runtime.tls.acme.ended().addTimeout(left, self._reactor, _timed_out)
        await self._close_others()
        self._runtime.stop()
        self._bound = False
        super().stopService()

    async def _close_others(self) -> None:
        """Close what a subclass has opened; no connection is left."""

    def reopen_logs(self) -> None:
        """Close the access log and open the file at the configured path: the old one has been renamed."""
        access_log = self._runtime.accounting.access_log
        if access_log is not None:
            access_log.reopen()

    def drain(self) -> None:
        """Refuse new connections; live ones go on. Repeating it changes nothing."""
        if not self.draining:
            self.draining = True
            self._listeners_closed = self._listeners.close()
            self._runtime.tls.acme.stop()  # no challenge could be answered
            self._runtime.close_idle_clients()
            log.info("draining: no new connections")

    # -- what can be read ----------------------------------------------------------------------------

    @property
    def plan(self) -> ProxyPlan:
        """The configuration in force, compiled."""
        return self._configuration.plan

    @property
    def registry(self) -> Registry:
        """Live connections, and the totals of closed ones."""
        return self._runtime.accounting.registry

    @property
    def active(self) -> int:
        """The number of live connections."""
        return self.registry.active

    @property
    def metrics(self) -> Metrics | NoMetrics:
        """What is counted and measured: an IMetrics, and an IService that starts and stops with the proxy."""
        return self._runtime.accounting.metrics

    @property
    def counters(self) -> Counters:
        """Everything that is counted besides connections and bytes."""
        return self._runtime.accounting.counters

    @property
    def connections(self) -> list[ConnectionRecord]:
        """The records of live connections."""
        return list(self.registry.live.values())

    def addresses(self) -> dict[tuple[str, int], Endpoint]:
        """The addresses it listens on, by what the configuration asked for."""
        return self._listeners.addresses()

    @property
    def groups(self) -> TargetGroups:
        """The target groups: what state their targets are in, and setting it by hand."""
        return self._runtime.targets.steering

    def listening_on(self) -> str:
        """``[::]:80, [::]:443``, for a log line: the first ones, and how many more there are."""
        return named(self._listeners.addresses().values())

    def certificates(self) -> list[ShownCertificate]:
        """The certificates in force, the one that expires first at the head."""
        return self._runtime.tls.certificates()

    def renew_certificate(self, name: str) -> Sequence[str]:
        """Order the automatic certificates with this name now; return the names of all of them without waiting for the orders.

        :raises UnknownCertificate: if no certificate has this name.
        :raises NotAutomatic: if it is not ordered by ACME.
        """
        return self._runtime.tls.acme.renew(name)

    @property
    def acme(self) -> AutomaticCertificates:
        """The automatic certificates: what happens to them, and ordering one now."""
        return self._runtime.tls.automatic

    def end_connection(self, number: int) -> bool:
        """End one connection with the reason ``admin``. ``False`` where no live connection has this number."""
        record = self.registry.live.get(number)
        if record is None:
            return False
        record.owner.abort(CloseReason.ADMIN)
        return True

    def end_connections(self, why: str) -> None:
        """End every live connection with the reason ``shutdown``.

        :param why: for the access log.
        """
        for record in self.connections:
            record.explain(CloseReason.SHUTDOWN, why)
            record.owner.abort(CloseReason.SHUTDOWN)

    def status(self) -> dict[str, object]:
        """Facts about the process: plain values that JSON can carry."""
        return {
            "version": __version__,
            "build": BUILD,
            "pid": os.getpid(),
            "uptimeSeconds": round(self._runtime.clocks.seconds() - self._started_at, 3),
            "state": "draining" if self.draining else "running",
            "reactor": type(self._reactor).__name__,
            "acceleration": "splice" if self._runtime.sockets.pipes is not None else "off",
            "listeners": sorted(str(place) for place in self._listeners.addresses().values()),
            "routes": len(self.plan.routes),
            "connections": self.active,
            "lingering": len(self._runtime.lingering),
        }


def _timed_out(_: object, timeout: float) -> None:
    raise TimeoutError(f"{timeout} s have passed")
