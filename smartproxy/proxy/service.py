"""SmartProxy, the service: settings in, a running proxy out.

::

    proxy = SmartProxy(Settings.load("smartproxy.yaml"))
    proxy.setServiceParent(application)

Ports are bound in ``privilegedStartService``, so that a proxy on port 443 can then run as nobody (``twistd -u``).
Stopping drains: new connections are refused, and live ones have ``gracefulShutdownTimeout`` to end by themselves.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from smartproxy._version import __version__
from smartproxy.admin.control import IProxyControl
from smartproxy.admin.site import make_admin_site
from smartproxy.errors import ConfigurationError
from smartproxy.flow.threads import call_here, thread_of
from smartproxy.model.outcome import CloseReason
from smartproxy.proxy.listeners import Listeners
from smartproxy.proxy.reload import ConfigurationInForce
from smartproxy.proxy.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from twisted.internet.interfaces import IListeningPort

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

    :param settings: a configuration that was found valid.
    :param reactor: the installed one unless given.
    :ivar draining: whether new connections are refused.
    """

    name = "smartproxy"

    def __init__(self, settings: Settings, reactor: Any = None) -> None:
        if reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 - importing it installs a reactor
        self._reactor = reactor
        self.draining = False
        plan = settings.compile()
        self._runtime = Runtime(plan, reactor)
        self._started_at = self._runtime.clocks.seconds()
        self._listeners = Listeners(self._runtime, max_pending=plan.max_pending_data)
        self._configuration = ConfigurationInForce(
            settings, plan, self._runtime, self._listeners, lambda: self.draining
        )
        self._listeners_closed: Deferred[None] = succeed(None)
        self._admin: IListeningPort | None = None
        self._bound = False

    # -- life cycle ----------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Open the access log and bind every port.

        :raises ConfigurationError: where the log cannot be opened.
        :raises CannotListenError: where a port cannot be bound; then none is.
        """
        if self._bound:
            return
        self._configuration.listen()
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
        self._runtime.start()
        log.info(
            "smartproxy {version} listens on {ports}",
            version=__version__,
            ports=", ".join(str(place) for place in self._listeners.addresses().values()),
        )

    def stopService(self) -> Deferred[None]:
        """Drain, then end the connections that are left. Fires when none is open and nothing runs."""
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
            record.owner.abort(CloseReason.SHUTDOWN)
        await emptied
        await self._listeners_closed
        if self._admin is not None:
            await maybeDeferred(self._admin.stopListening)
        self._runtime.stop()
        self._bound = False
        super().stopService()

    def _open_log(self) -> None:
        access_log = self._runtime.accounting.access_log
        if access_log is None:
            return
        try:
            access_log.open()
        except OSError as why:
            raise ConfigurationError([f"accessLog.path: cannot be opened: {why}"]) from why

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
            log.info("draining: no new connections")

    # -- changes -------------------------------------------------------------------------------------

    def update_routes(self, routes: Iterable[Route | Mapping[str, Any]]) -> Deferred[None]:
        """Replace all routes by these, as a whole or not at all.

        Ports open and close as they ask for. Live connections go on as they began; those of a route whose name is no
        longer configured end after ``gracefulShutdownTimeout`` with the reason ``route_removed``.

        :return: fires when it is done; fails with :class:`~smartproxy.errors.ConfigurationError` or
            ``CannotListenError``, and then nothing has changed.
        """
        return self._change(partial(self._with_routes, list(routes)), call_here)

    def replace_routes(self, routes: list[dict[str, object]]) -> Deferred[None]:
        """As :meth:`update_routes`, for routes as written in a file; they are checked in a thread."""
        return self._change(partial(self._with_routes, routes), thread_of(self._reactor))

    def reload(self) -> Deferred[None]:
        """Read the configuration file again and put its routes and limits in force; as :meth:`update_routes`.

        It is read in a thread, so that a large file does not block the event loop.
        """
        return self._change(self._configuration.settings.again, thread_of(self._reactor))

    def _change(self, make: Callable[[], Settings], call: Call) -> Deferred[None]:
        return Deferred.fromCoroutine(self._configuration.change(make, call, listening=self._bound))

    def _with_routes(self, routes: Iterable[Route | Mapping[str, Any]]) -> Settings:
        return self._configuration.settings.with_routes(routes)

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

    def certificates(self) -> list[ShownCertificate]:
        """The certificates in force, the one that expires first at the head."""
        return self._runtime.tls.certificates()

    def end_connection(self, number: int) -> bool:
        """End one connection with the reason ``admin``. ``False`` where no live connection has this number."""
        record = self.registry.live.get(number)
        if record is None:
            return False
        record.owner.abort(CloseReason.ADMIN)
        return True

    def status(self) -> dict[str, object]:
        """Facts about the process: plain values that JSON can carry."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptimeSeconds": round(self._runtime.clocks.seconds() - self._started_at, 3),
            "state": "draining" if self.draining else "running",
            "reactor": type(self._reactor).__name__,
            "acceleration": "splice" if self._runtime.sockets.pipes is not None else "off",
            "listeners": sorted(str(place) for place in self._listeners.addresses().values()),
            "routes": len(self.plan.routes),
            "connections": self.registry.active,
            "lingering": len(self._runtime.lingering),
        }

    def _listen_for_admin(self, plan: AdminPlan) -> IListeningPort:
        site = make_admin_site(self, plan, self._reactor)
        if plan.unix is not None:
            port: IListeningPort = self._reactor.listenUNIX(plan.unix, site, mode=0o600, wantPID=True)
        else:
            port = self._reactor.listenTCP(plan.port, site, interface=plan.address)
        return port


def _timed_out(_: object, timeout: float) -> None:
    raise TimeoutError(f"{timeout} s have passed")
