"""SmartProxy, the service: settings in, a running proxy out.

::

    proxy = SmartProxy(Settings.load("smartproxy.yaml"))
    proxy.setServiceParent(application)

Ports are bound in ``privilegedStartService``, so that a proxy on port 443 can then run as nobody (``twistd
-u``). Stopping drains: no new connections, and those that live have ``gracefulShutdownTimeout`` to come to
their own end.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.logger import Logger
from zope.interface import implementer

from smartproxy._version import __version__
from smartproxy.admin.control import IProxyControl
from smartproxy.admin.site import make_admin_site
from smartproxy.connections.removed_routes import RemovedRoutes
from smartproxy.errors import ConfigurationError
from smartproxy.flow.threads import call_here, thread_of
from smartproxy.model.outcome import CloseReason
from smartproxy.proxy.assembly import Machinery, Paths
from smartproxy.proxy.listeners import Listeners
from smartproxy.security.limits import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from smartproxy.connections.registry import Registry
    from smartproxy.flow.threads import Call
    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.service import Metrics, NoMetrics
    from smartproxy.model.address import Endpoint
    from smartproxy.model.certificate_status import ShownCertificate
    from smartproxy.model.plan import AdminPlan, ProxyPlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.settings import Route, Settings

log = Logger()


@implementer(IProxyControl)
class SmartProxy(Service):
    """A proxy.

    :param settings: a configuration that has been found valid.
    :param reactor: the installed one unless told.
    :ivar plan: the configuration in force, compiled. :ivar draining: whether new connections are refused.
    """

    name = "smartproxy"

    def __init__(self, settings: Settings, reactor: Any = None) -> None:
        if reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 - importing it installs a reactor
        self._reactor = reactor
        self._settings = settings
        self.plan: ProxyPlan = settings.compile()
        self.draining = False
        self._machinery = Machinery(self.plan, reactor)
        self._started_at = self._machinery.clock()
        self._rate = self._rate_of(self.plan)
        self._listeners = Listeners(self._machinery, max_pending=self.plan.max_pending_data)
        self._changing = DeferredLock()
        self._removed = RemovedRoutes(
            self.registry, self._machinery.deadlines, self._machinery.clock, self._names
        )
        self._closed: Deferred[Any] = succeed(None)
        self._admin: Any = None
        self._bound = False

    # -- life ----------------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Open the access log and bind every port.

        :raises ConfigurationError: where the log cannot be opened.
        :raises CannotListenError: where a port cannot be had; then none is bound.
        """
        if self._bound:
            return
        paths = self._paths(self.plan, self._rate)
        self._listeners.apply(paths)
        self._machinery.tls.apply(paths.contexts, self.plan)
        try:
            self._open_log()
            if self.plan.admin is not None:
                self._admin = self._listen_for_admin(self.plan.admin)
        except Exception:
            self._listeners.close()
            raise
        self._bound = True

    def startService(self) -> None:
        """Begin to carry connections."""
        self.privilegedStartService()
        super().startService()
        self._machinery.start()
        log.info(
            "smartproxy {version} listens on {ports}",
            version=__version__,
            ports=", ".join(str(place) for place in self._listeners.addresses().values()),
        )

    def stopService(self) -> Deferred[None]:
        """Drain, then end what is left. Fires when nothing lives any more."""
        if not self._bound:
            return succeed(None)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.drain()
        emptied = self.registry.emptied()
        timeout = self.plan.graceful_shutdown
        if not emptied.called and timeout:
            log.info(
                "waiting up to {timeout} s for {active} connections",
                timeout=timeout,
                active=self.registry.active,
            )
            with contextlib.suppress(TimeoutError):
                await self.registry.emptied().addTimeout(timeout, self._reactor, _timed_out)
        for record in list(self.registry.live.values()):
            record.end(CloseReason.SHUTDOWN)
        await emptied
        await self._closed
        if self._admin is not None:
            await self._admin.stopListening()
        self._machinery.stop()
        self._bound = False
        super().stopService()

    def _open_log(self) -> None:
        if self._machinery.access_log is None:
            return
        try:
            self._machinery.access_log.open()
        except OSError as why:
            raise ConfigurationError([f"accessLog.path: cannot be opened: {why}"]) from why

    def reopen_logs(self) -> None:
        """Go on in the access log that has the configured path now: the old one has been moved away."""
        if self._machinery.access_log is not None:
            self._machinery.access_log.reopen()

    def drain(self) -> None:
        """Take no new connections; those that live go on. Repeating it is harmless."""
        if not self.draining:
            self.draining = True
            self._closed = self._listeners.close()
            log.info("draining: no new connections")

    # -- changes -------------------------------------------------------------------------------------

    def update_routes(self, routes: Iterable[Route | Mapping[str, Any]]) -> Deferred[None]:
        """Put these routes in force in place of all others, at once or not at all.

        Ports open and close as they ask for. Connections that live go on as they began; those of a route whose name
        is gone have ``gracefulShutdownTimeout`` left, and then end with the reason ``route_removed``.

        :return: fires when it is done; fails with :class:`~smartproxy.errors.ConfigurationError` or
            ``CannotListenError``, and then nothing has changed.
        """
        return Deferred.fromCoroutine(self._change(partial(self._with_routes, list(routes)), call_here))

    def replace_routes(self, routes: list[dict[str, object]]) -> Deferred[None]:
        """As :meth:`update_routes`, for routes as they stand in a file; a long list is read in a thread."""
        make = partial(self._with_routes, routes)
        return Deferred.fromCoroutine(self._change(make, thread_of(self._reactor)))

    def reload(self) -> Deferred[None]:
        """Read the configuration file again and put its routes and limits in force; as :meth:`update_routes`.

        It is read in a thread, so that a big one stops nobody.
        """
        return Deferred.fromCoroutine(self._change(self._settings.again, thread_of(self._reactor)))

    async def _change(self, make: Callable[[], Settings], call: Call) -> None:
        """One after the other: each begins with what the one before has left."""
        async with self._changing:
            settings, plan = await call(lambda: _compiled(make()))
            rate = self._rate if self._same_rate(plan) else self._rate_of(plan)
            paths = await call(lambda: self._paths(plan, rate))
            closing = None
            if self._bound and not self.draining:
                closing = self._listeners.apply(paths)
                self._machinery.tls.apply(paths.contexts, plan)
            removed = self._names() - {route.name for route in plan.routes}
            self._settings, self.plan, self._rate = settings, plan, rate
            self._removed.remove(removed, plan.graceful_shutdown)
            if closing is not None:
                await closing

    def _with_routes(self, routes: Iterable[Route | Mapping[str, Any]]) -> Settings:
        return self._settings.with_routes(routes)

    def _names(self) -> set[str]:
        return {route.name for route in self.plan.routes}

    # -- what can be seen ----------------------------------------------------------------------------

    @property
    def registry(self) -> Registry:
        """All live connections, and their totals."""
        return self._machinery.registry

    @property
    def metrics(self) -> Metrics | NoMetrics:
        """What is counted and measured: an IMetrics, and an IService that starts and stops with the proxy."""
        return self._machinery.metrics

    @property
    def counters(self) -> Counters:
        """Everything else that is counted."""
        return self._machinery.counters

    @property
    def connections(self) -> list[ConnectionRecord]:
        """The live connections' records."""
        return list(self.registry.live.values())

    def addresses(self) -> dict[tuple[str, int], Endpoint]:
        """Where it listens, by what the configuration asked for."""
        return self._listeners.addresses()

    def certificates(self) -> list[ShownCertificate]:
        """The certificates that clients are shown, those first that expire first."""
        return self._machinery.tls.certificates()

    def end_connection(self, number: int) -> bool:
        """End one connection with the reason ``admin``. ``False`` where there is none of that number."""
        record = self.registry.live.get(number)
        if record is None:
            return False
        record.end(CloseReason.ADMIN)
        return True

    def status(self) -> dict[str, object]:
        """Facts about the process for a person: plain values that JSON can carry."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptimeSeconds": round(self._machinery.clock() - self._started_at, 3),
            "state": "draining" if self.draining else "running",
            "reactor": type(self._reactor).__name__,
            "acceleration": "splice" if self._machinery.pool is not None else "off",
            "listeners": sorted(str(place) for place in self._listeners.addresses().values()),
            "routes": len(self.plan.routes),
            "connections": self.registry.active,
        }

    # -- parts ---------------------------------------------------------------------------------------

    def _paths(self, plan: ProxyPlan, rate: RateLimit | None) -> Paths:
        return Paths(plan, self._machinery, rate, lambda: self.draining)

    def _same_rate(self, plan: ProxyPlan) -> bool:
        return plan.connection_rate_per_minute == self.plan.connection_rate_per_minute

    def _rate_of(self, plan: ProxyPlan) -> RateLimit | None:
        if not plan.connection_rate_per_minute:
            return None
        return RateLimit(plan.connection_rate_per_minute, self._machinery.clock)

    def _listen_for_admin(self, plan: AdminPlan) -> Any:
        site = make_admin_site(self, plan, self._reactor)
        if plan.unix is not None:
            return self._reactor.listenUNIX(plan.unix, site, mode=0o600, wantPID=True)
        return self._reactor.listenTCP(plan.port, site, interface=plan.address)


def _compiled(settings: Settings) -> tuple[Settings, ProxyPlan]:
    return settings, settings.compile()


def _timed_out(_: object, timeout: float) -> None:
    raise TimeoutError(f"{timeout} s have passed")
