"""The supervisor: the service of a proxy with several worker processes.

::

    Supervisor(Settings.load("smartproxy.yaml"), reactor).setServiceParent(application)

It holds the listening sockets, reads the configuration, has the admin listener, and carries no connection. What belongs to
one process (:class:`~smartproxy.proxy.core.ProxyCore`) runs in each worker.

A change of the configuration is prepared by every worker before any commits it. So either all of them use it, or none.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred, succeed
from twisted.logger import Logger

from smartproxy._version import __version__
from smartproxy.errors import ConfigurationError, WorkerFailed
from smartproxy.flow.clock import clock_of
from smartproxy.flow.threads import thread_for
from smartproxy.proxy.assembly import listening_places
from smartproxy.settings import Settings
from smartproxy.workers import commands
from smartproxy.workers.forking import Forking
from smartproxy.workers.held_sockets import HeldSockets
from smartproxy.workers.passed_settings import settings_file
from smartproxy.workers.slots import WorkerSlots
from smartproxy.workers.worker_log import RelayedLog, log_sockets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.python.failure import Failure

    from smartproxy.model.address import Endpoint
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.proxy.given import Place
    from smartproxy.workers.worker_link import WorkerLink

log = Logger()

#: Listeners that a log line names.
_NAMED = 8
#: Seconds after ``gracefulShutdownTimeout`` in which a worker ends its connections and exits, before it is killed.
_MARGIN = 10.0
#: Keys of settings that are used when the process starts.
_AT_START = ("acceleration", "admin", "workers")


class Supervisor(Service):
    """A proxy with ``workers`` processes.

    :param settings: the configuration, or the path of its file.
    :raises ConfigurationError: with every problem of the configuration.
    :ivar plan: the configuration in force, compiled.
    :ivar draining: whether new connections are refused.
    :ivar begun: fires when every worker serves; fails if one cannot.
    """

    name = "smartproxy"

    def __init__(self, settings: Settings | str | Path, reactor: Any) -> None:
        self._settings = Settings.of(settings)
        self._reactor = reactor
        self._clock = clock_of(reactor)
        self._in_thread = thread_for("configuration", reactor)
        self.plan: ProxyPlan = self._settings.compile()
        self.draining = False
        self.begun: Deferred[None] = Deferred()
        self._changing = DeferredLock()
        self._replacing = DeferredLock()
        self._held = HeldSockets(self.plan.workers)
        ours, self._log_end = log_sockets()
        self._log = RelayedLog(ours, reactor)
        self._forking = Forking(reactor, self._log_end, self._worker_exited, self._nursery_lost)
        self._slots = WorkerSlots(
            self.plan.workers,
            self._held,
            self._forking,
            reactor,
            self._changing,
            self._worker_retired,
        )
        self._bound = False
        self._started_with = self.plan
        #: Who waits for the end of the stop in progress; ``None`` without one.
        self._stopping: list[Deferred[None]] | None = None

    # -- life cycle ------------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind every port, and start the process that forks workers, with the configuration.

        :raises CannotListenError: where a port cannot be bound; then none is.
        :raises ConfigurationError: where that process cannot use the configuration.
        """
        if self._bound:
            return
        self._held.open(listening_places(self.plan))
        try:
            self._forking.start()
            with settings_file(self._settings) as settings:
                self._forking.ask_now({"do": "load"}, settings)
        except WorkerFailed as why:
            self._held.close()
            self._forking.close()
            raise ConfigurationError([f"workers: {why}"]) from why
        self._bound = True

    def startService(self) -> None:
        """Start the workers, when the event loop runs; the process has its user by now."""
        if self.running:
            return
        self.privilegedStartService()
        super().startService()
        self._log.startReading()
        self._forking.watch()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        beginning = Deferred.fromCoroutine(self._start_workers())
        beginning.addCallbacks(self.begun.callback, self.begun.errback)

    async def _start_workers(self) -> None:
        user: dict[str, object] = {"user": os.getuid(), "group": os.getgid(), "groups": os.getgroups()}
        await self._forking.ask({"do": "become", **user})
        await self._slots.start_all()
        log.info(
            "smartproxy {version} listens on {listeners}; {workers} workers; configuration {file}",
            version=__version__,
            listeners=self.listening_on(),
            workers=len(self._slots.slots),
            file=self._settings.file or "of the program",
        )

    def stopService(self) -> Deferred[None]:
        """Drain, and let the workers end. Fires when none is left."""
        if not self._bound:
            return succeed(None)
        if self._stopping is None:
            self._stopping = []
            Deferred.fromCoroutine(self._stop()).addBoth(self._has_stopped)
        # Each caller has a Deferred of its own: one that gives up does not stop the stop.
        stopped: Deferred[None] = Deferred()
        self._stopping.append(stopped)
        return stopped

    def _has_stopped(self, result: Failure | None) -> None:
        waiting, self._stopping = self._stopping or [], None
        for stopped in waiting:
            if not stopped.called:
                stopped.callback(result)  # a Failure makes it fail

    async def _stop(self) -> None:
        self.drain()
        killing = Deferred.fromCoroutine(self._slots.kill_after(self.plan.graceful_shutdown + _MARGIN))
        killing.addErrback(lambda _: None)
        await self._slots.stop_all()
        killing.cancel()
        self._forking.close()
        self._log.close()
        self._bound = False
        await maybeDeferred(super().stopService)

    def drain(self) -> None:
        """Refuse new connections; live ones go on. Repeating it changes nothing."""
        if not self.draining:
            self.draining = True
            self._held.close()
            self._tell_all(commands.Drain)
            log.info("draining: no new connections")

    def reopen_logs(self) -> None:
        """Let every worker reopen the access log."""
        self._tell_all(commands.Reopen)

    def replace_workers(self) -> Deferred[None]:
        """Replace the workers one by one by new processes, with the code that is installed now.

        :return: fires when all are replaced; fails with :class:`~smartproxy.errors.WorkerFailed` where a new one cannot
            serve. Then it and those behind it go on as they are.
        """
        return Deferred.fromCoroutine(self._replace())

    async def _replace(self) -> None:
        async with self._replacing:
            await self._use_new_nursery()
            await self._slots.replace_all()

    async def _use_new_nursery(self) -> None:
        """Fork workers from a process with the code that is installed now."""
        fresh = Forking(self._reactor, self._log_end, self._worker_exited, self._nursery_lost)
        async with self._changing:
            fresh.start()
            fresh.watch()
            try:
                await self._load(fresh, self._settings)
            except BaseException:
                fresh.close()
                raise
            former, self._forking = self._forking, fresh
            self._slots.use(fresh)
            former.close()

    # -- changes of the configuration ------------------------------------------------------------------

    def reload(self) -> Deferred[None]:
        """Read the configuration file again and put it in force in every worker, or in none."""
        return self._change(self._settings.again)

    def replace_routes(self, routes: list[dict[str, object]]) -> Deferred[None]:
        """As :meth:`reload`, with these routes as written in a file instead of those of the configuration."""
        return self._change(lambda: self._settings.with_routes(routes))

    def _change(self, make: Callable[[], Settings]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._put_in_force(make))

    async def _put_in_force(self, make: Callable[[], Settings]) -> None:
        async with self._changing:
            settings, plan = await self._in_thread(partial(_compiled, make))
            places = listening_places(plan)
            opened = self._held.open(places)
            try:
                await self._prepare(settings, opened)
            except BaseException:
                await self._tell_quietly(commands.Abort)
                self._held.close(opened)
                raise
            self._held.keep(places)
            await self._slots.tell_all(commands.Commit)
            self._settings, self.plan = settings, plan

    async def _prepare(self, settings: Settings, opened: set[Place]) -> None:
        """Let every worker, and the process that forks more of them, prepare ``settings``; none uses them yet."""
        try:
            for link in self._slots.serving():
                for number in self._slots.served_by(link):
                    await link.take(self._held.of_slot(number, opened))
                await link.prepare(settings)
            await self._load(self._forking, settings)
        except WorkerFailed as why:
            raise ConfigurationError([str(why)]) from why

    async def _load(self, forking: Forking, settings: Settings) -> None:
        with settings_file(settings) as descriptor:
            asked = forking.ask({"do": "load"}, descriptor)
        await asked

    def _tell_all(self, command: type[Any]) -> None:
        Deferred.fromCoroutine(self._tell_quietly(command))

    async def _tell_quietly(self, command: type[Any]) -> None:
        with contextlib.suppress(WorkerFailed):
            await self._slots.tell_all(command)

    # -- what happens to the other processes -----------------------------------------------------------

    def _worker_exited(self, process: int, code: int) -> None:
        self._slots.has_exited(process, code)

    def _worker_retired(self, link: WorkerLink) -> None:
        """A worker has ended."""

    def _nursery_lost(self) -> None:
        """The process that forks workers has ended: start it again. Workers go on."""
        if self._stopping is None:
            log.error("the process that forks workers has ended, and is started again")
            self._forking = Forking(self._reactor, self._log_end, self._worker_exited, self._nursery_lost)
            self._slots.use(self._forking)
            try:
                self._forking.start()
            except WorkerFailed as why:
                log.critical("no worker can be started any more: {why}", why=why)
                return
            self._forking.watch()
            Deferred.fromCoroutine(self._load(self._forking, self._settings)).addErrback(
                lambda why: log.critical("no worker can be started any more: {why}", why=why.value)
            )

    # -- what can be read ------------------------------------------------------------------------------

    def addresses(self) -> dict[Place, Endpoint]:
        """The addresses it listens on, by what the configuration asked for."""
        return self._held.addresses()

    @property
    def active(self) -> int:
        """Live connections of all workers, as of their last signs of life."""
        return sum(link.active for link in self._slots.links)

    def waiting_for_restart(self) -> list[str]:
        """The keys of changed settings that are not in force before the process starts again."""
        return [key for key in _AT_START if getattr(self.plan, key) != getattr(self._started_with, key)]

    def listening_on(self) -> str:
        """``[::]:80, [::]:443``, for a log line: the first ones, and how many more there are."""
        places = sorted(self._held.addresses().values(), key=lambda place: (place.port, place.host))
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        return ", ".join(map(str, places[:_NAMED])) + more


def _compiled(make: Callable[[], Settings]) -> tuple[Settings, ProxyPlan]:
    settings = make()
    return settings, settings.compile()
