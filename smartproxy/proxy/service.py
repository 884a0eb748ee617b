"""SmartProxy, the service: settings in, a running proxy out.

::

    proxy = SmartProxy(Settings.load("smartproxy.yaml"))
    proxy.setServiceParent(application)

Ports are bound in ``privilegedStartService``, so that a proxy on port 443 can then run as nobody (``twistd -u``).
Stopping drains: new connections are refused, and live ones have ``gracefulShutdownTimeout`` to end by themselves. A stopped
proxy may be started again; its counters go on. Each of the calls may be repeated: the last one wins.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from twisted.application.service import IServiceCollection, Service
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from smartproxy._version import BUILD, __version__
from smartproxy.admin.control import IProxyControl
from smartproxy.errors import ConfigurationError
from smartproxy.flow.threads import call_here, thread_for
from smartproxy.model.outcome import CloseReason
from smartproxy.proxy.admin_listener import admin_address, listen_for_admin
from smartproxy.proxy.listeners import Listeners
from smartproxy.proxy.reload import ConfigurationInForce
from smartproxy.proxy.runtime import Runtime
from smartproxy.settings import Settings, route_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from twisted.internet.interfaces import IListeningPort
    from twisted.python.failure import Failure

    from smartproxy.acme.automatic import AutomaticCertificates
    from smartproxy.connections.registry import Registry
    from smartproxy.flow.threads import Call
    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.service import Metrics, NoMetrics
    from smartproxy.model.address import Endpoint
    from smartproxy.model.certificate_status import ShownCertificate
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.settings import Route
    from smartproxy.upstream.steering import TargetGroups

log = Logger()

#: Listeners that a log line names.
_NAMED = 8


@implementer(IProxyControl)
class SmartProxy(Service):
    """A proxy.

    :param settings: the configuration: settings, the path of a file, or a mapping with the keys of a file.
    :param reactor: the installed one unless given.
    :raises ConfigurationError: with every problem of the configuration.
    :ivar draining: whether new connections are refused.
    """

    name = "smartproxy"

    def __init__(self, settings: Settings | str | Path | Mapping[str, Any], reactor: Any = None) -> None:
        settings = Settings.of(settings)
        if reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 - importing it installs a reactor
        self._reactor = reactor
        # Of its own, so that reading a file waits for nothing else, and nothing else for a file system that hangs.
        self._in_thread = thread_for("configuration", reactor)
        self.draining = False
        plan = settings.compile()
        self._runtime = Runtime(plan, reactor)
        self._started_at = self._runtime.clocks.seconds()
        self._listeners = Listeners(self._runtime)
        self._configuration = ConfigurationInForce(
            settings, plan, self._runtime, self._listeners, lambda: self.draining
        )
        self._runtime.tls.follow(self._compile_again)
        self._listeners_closed: Deferred[None] = succeed(None)
        self._admin: IListeningPort | None = None
        self._bound = False
        #: Who waits for the end of the stop in progress; ``None`` without one.
        self._stopping: list[Deferred[None]] | None = None
        self._start_after_stop = False

    # -- life cycle ----------------------------------------------------------------------------------

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Join ``parent``. Services have unique names there, so a second proxy is called ``smartproxy-2``, and so on."""
        self.name = self._free_name(IServiceCollection(parent, parent))
        super().setServiceParent(parent)

    def _free_name(self, parent: IServiceCollection) -> str:
        for number in count(1):
            name = self.name if number == 1 else f"{self.name}-{number}"
            try:
                found = parent.getServiceNamed(name)
            except KeyError:
                break
            if found is self:
                break
        return name

    def privilegedStartService(self) -> None:
        """Open the access log and bind every port.

        :raises ConfigurationError: where the log cannot be opened.
        :raises CannotListenError: where a port cannot be bound; then none is.
        """
        if self._bound:
            return
        self.draining = False
        self._runtime.sockets.open()
        self._configuration.listen()
        try:
            self._runtime.accounting.open_log()
            if self.plan.admin is not None:
                self._admin = listen_for_admin(self, self.plan.admin, self._reactor)
        except Exception:
            self._listeners.close()
            self._runtime.accounting.close_log()
            raise
        self._bound = True

    def startService(self) -> None:
        """Begin to carry connections: now, or when a stop in progress is complete."""
        if self._stopping is not None:
            self._start_after_stop = True
            return
        if self.running:
            log.warn("{service} is running: a second startService() has no effect", service=self.name)
            return
        self.privilegedStartService()
        super().startService()
        self._configuration.check_access()
        self._runtime.start()
        log.info(
            "smartproxy {version} listens on {listeners}{admin}; {workers} worker; configuration {file}",
            version=__version__,
            listeners=self.listening_on(),
            admin=self._admin_note(),
            workers=1,
            file=self._configuration.settings.file or "of the program",
        )

    def stopService(self) -> Deferred[None]:
        """Drain, then end the connections that are left. Fires when none is open and nothing runs."""
        self._start_after_stop = False
        if not self._bound:
            return succeed(None)
        # Each caller has a Deferred of its own: one that gives up does not stop the stop.
        stopped: Deferred[None] = Deferred()
        if self._stopping is not None:
            self._stopping.append(stopped)
        else:
            self._stopping = [stopped]
            Deferred.fromCoroutine(self._stop()).addBoth(self._has_stopped)
        return stopped

    def _has_stopped(self, result: Failure | None) -> None:
        waiting, self._stopping = self._stopping or [], None
        for stopped in waiting:
            if not stopped.called:
                stopped.callback(result)  # a Failure makes it fail
        if self._start_after_stop and self._stopping is None:
            try:
                self.startService()
            except Exception:
                log.failure("smartproxy could not be started again")

    async def _stop(self) -> None:
        began = self._runtime.clocks.seconds()
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
        self.end_connections(f"still open after {timeout:g} s (gracefulShutdownTimeout)")
        await emptied
        await self._listeners_closed
        left = began + timeout - self._runtime.clocks.seconds()
        if left > 0:  # for commands that remove what they have added to the DNS
            with contextlib.suppress(TimeoutError):
                await self._runtime.tls.acme.ended().addTimeout(left, self._reactor, _timed_out)
        if self._admin is not None:
            admin, self._admin = self._admin, None
            await maybeDeferred(admin.stopListening)
        self._runtime.stop()
        self._bound = False
        super().stopService()

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

    # -- changes -------------------------------------------------------------------------------------

    def update_routes(self, routes: Iterable[Route | Mapping[str, Any]]) -> Deferred[None]:
        """Replace all routes by these, as a whole or not at all.

        Ports open and close as they ask for. Live connections go on as they began; those of a route whose name is no
        longer configured end after ``gracefulShutdownTimeout`` with the reason ``route_removed``.

        :return: fires when it is done; fails with :class:`~smartproxy.errors.ConfigurationError` or
            ``CannotListenError``, and then nothing has changed.
        """
        try:
            given = route_list(routes)
        except ConfigurationError:
            return fail()
        return self._change(partial(self._with_routes, given), call_here)

    def replace_routes(self, routes: list[dict[str, object]]) -> Deferred[None]:
        """As :meth:`update_routes`, for routes as written in a file; they are checked in a thread."""
        return self._change(partial(self._with_routes, routes), self._in_thread)

    def reload(self) -> Deferred[None]:
        """Read the configuration file again and put its routes and limits in force; as :meth:`update_routes`.

        It is read in a thread, so that a large file does not block the event loop.
        """
        return self._change(self._configuration.settings.again, self._in_thread)

    def _compile_again(self) -> Deferred[None]:
        """Put the configuration in force once more, with what is now in the files that it names."""
        again = self._configuration.put_in_force(
            lambda: self._configuration.settings, self._in_thread, lambda: self._bound
        )
        return Deferred.fromCoroutine(again)

    def _change(self, make: Callable[[], Settings], call: Call) -> Deferred[None]:
        return Deferred.fromCoroutine(self._configuration.change(make, call, lambda: self._bound))

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

    @property
    def groups(self) -> TargetGroups:
        """The target groups: what state their targets are in, and setting it by hand."""
        return self._runtime.targets.steering

    def listening_on(self) -> str:
        """``[::]:80, [::]:443``, for a log line: the first ones, and how many more there are."""
        places = sorted(self._listeners.addresses().values(), key=lambda place: (place.port, place.host))
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        return ", ".join(map(str, places[:_NAMED])) + more

    def _admin_note(self) -> str:
        admin, port = self.plan.admin, self._admin
        return "" if admin is None or port is None else f"; admin {admin_address(admin, port)}"

    def certificates(self) -> list[ShownCertificate]:
        """The certificates in force, the one that expires first at the head."""
        return self._runtime.tls.certificates()

    def renew_certificate(self, name: str) -> Sequence[str]:
        """Order the automatic certificate with this name now; see :class:`~smartproxy.admin.control.IProxyControl`."""
        return self._runtime.tls.acme.renew(name)

    @property
    def acme(self) -> AutomaticCertificates:
        """The automatic certificates: what happens to them, and ordering one now."""
        return self._runtime.tls.automatic

    def waiting_for_restart(self) -> list[str]:
        """The keys of changed settings that are not in force before the process starts again."""
        return self._configuration.waiting_for_restart()

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
            "connections": self.registry.active,
            "lingering": len(self._runtime.lingering),
        }


def _timed_out(_: object, timeout: float) -> None:
    raise TimeoutError(f"{timeout} s have passed")
