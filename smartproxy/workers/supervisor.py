"""The supervisor: the service of a proxy with several worker processes.

::

    Supervisor(Settings.load("smartproxy.yaml"), reactor).setServiceParent(application)

It holds the listening sockets, reads the configuration, has the admin listener, and carries no connection. What belongs to
one process (:class:`~smartproxy.proxy.core.ProxyCore`) runs in each worker.

A change of the configuration is prepared by every worker before any commits it. So either all of them use it, or none.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, maybeDeferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from smartproxy._version import __version__
from smartproxy.errors import ConfigurationError, WorkerFailed
from smartproxy.flow.joined import JoinedCall
from smartproxy.flow.threads import thread_for
from smartproxy.metrics.counters import Counters
from smartproxy.net.listening import named
from smartproxy.proxy.admin_listener import admin_note, listen_for_admin
from smartproxy.settings import Settings
from smartproxy.workers import commands
from smartproxy.workers.certificate_changes import CertificateChanges
from smartproxy.workers.forking import Forking
from smartproxy.workers.held_sockets import HeldSockets
from smartproxy.workers.memory import LimitsMemory
from smartproxy.workers.nurseries import Nurseries
from smartproxy.workers.passed_settings import settings_file
from smartproxy.workers.shared_configuration import LOAD, SharedConfiguration, check_access_log
from smartproxy.workers.slots import WorkerSlots
from smartproxy.workers.supervisor_control import SupervisorControl
from smartproxy.workers.worker_log import RelayedLog, log_sockets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from twisted.internet.interfaces import IListeningPort
    from twisted.python.failure import Failure

    from smartproxy.model.address import Endpoint
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.net.activated import ActivatedSockets
    from smartproxy.proxy.given import Place
    from smartproxy.workers.answers import Answered
    from smartproxy.workers.worker_link import WorkerLink

log = Logger()

#: Seconds after ``gracefulShutdownTimeout`` in which a worker ends its connections and exits, before it is killed.
_MARGIN = 10.0
#: Rows of the memory for limits: each worker, and those that it has replaced and that end their last connections.
_ROWS_EACH = 4
#: Seconds that an answer of a worker is waited for, and seconds between two looks at what each has counted.
_PATIENCE, _OBSERVED = 5.0, 1.0


class Supervisor(Service):
    """A proxy with ``workers`` processes.

    :param settings: the configuration, or the path of its file.
    :raises ConfigurationError: with every problem of the configuration.
    :ivar draining: whether new connections are refused.
    :ivar begun: fires when every worker serves; fails if one cannot; does neither if the proxy is stopped before.
    """

    name = "smartproxy"

    def __init__(self, settings: Settings | str | Path, reactor: Any) -> None:
        settings = Settings.of(settings)
        plan = settings.compile()
        self._reactor = reactor
        self.draining = False
        self.begun: Deferred[None] = Deferred()
        self._changing = DeferredLock()
        self._memory = LimitsMemory.create(_ROWS_EACH * (plan.workers + 1))
        ours, self._log_end = log_sockets()
        self._log = RelayedLog(ours, reactor)
        self._held = HeldSockets(plan.workers)
        self._slots = WorkerSlots(
            plan.workers,
            self._held,
            self._new_forking(),
            reactor,
            self._changing,
            self._memory,
            self._worker_begun,
            self._worker_retired,
        )
        counters = Counters()
        self._configuration = SharedConfiguration(
            settings,
            plan,
            self._held,
            self._slots,
            counters,
            self._changing,
            thread_for("configuration", reactor),
        )
        self._nurseries = Nurseries(
            self._new_forking, self._slots, lambda: self._configuration.settings, self._changing, reactor
        )
        self._control = SupervisorControl(self, self._slots, self._ask, self._ask_one, counters, reactor)
        self._certificates = CertificateChanges(
            self._slots, self._changing, counters, self._configuration.put_in_force_again, reactor
        )
        self._configuration.on_change += [
            self._control.configure,
            lambda: self._certificates.follow(self.plan),
        ]
        self._observing = LoopingCall(self._observe)
        self._observing.clock = reactor
        self._admin: IListeningPort | None = None
        self._bound = False
        self._stopping = JoinedCall(self._stop)

    def listening_descriptors(self) -> dict[str, list[int]]:
        """The descriptors of listening sockets, by the names of listeners."""
        return self._held.descriptors()

    def use_sockets(self, activated: ActivatedSockets) -> None:
        """Listen on these sockets where routes want their addresses; called before the start."""
        self._held.activated = activated

    # -- life cycle ------------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind every port, and start the process that forks workers, with the configuration.

        :raises CannotListenError: where a port cannot be bound; then none is.
        :raises ConfigurationError: where that process cannot use the configuration, or the access log cannot be opened.
        """
        if self._bound:
            return
        self._configuration.listen()
        try:
            check_access_log(self._configuration.settings, self.plan)
            self._slots.forking.start()
            with settings_file(self._configuration.settings) as settings:
                self._slots.forking.ask_now(LOAD, settings)
            if self.plan.admin is not None:
                self._admin = listen_for_admin(self._control, self.plan.admin, self._reactor)
        except Exception as why:
            self._held.close()
            self._slots.forking.close()
            if isinstance(why, WorkerFailed):
                raise ConfigurationError([f"workers: {why}"]) from why
            raise
        self._bound = True

    def startService(self) -> None:
        """Start the workers, when the event loop runs; the process has its user by now."""
        if self.running:
            return
        self.privilegedStartService()
        super().startService()
        self._log.startReading()
        self._slots.forking.watch()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        beginning = Deferred.fromCoroutine(self._start_workers())
        beginning.addCallbacks(self.begun.callback, self._not_begun_to_serve)

    def _not_begun_to_serve(self, why: Failure) -> None:
        if self._bound and not self._stopping.is_running:  # else a stop has ended the start
            self.begun.errback(why)

    async def _start_workers(self) -> None:
        user: dict[str, object] = {"user": os.geteuid(), "group": os.getegid(), "groups": os.getgroups()}
        await self._slots.forking.ask({"do": "become", **user})
        await self._slots.start_all()
        self._control.start()
        self._certificates.follow(self.plan)
        self._certificates.start()
        self._observing.start(_OBSERVED, now=False).addErrback(
            lambda why: log.failure("workers are no longer asked for their counts", why)
        )
        log.info(
            "smartproxy {version} listens on {listeners}{admin}; {workers} workers; configuration {file}",
            version=__version__,
            listeners=self.listening_on(),
            admin=admin_note(self.plan.admin, self._admin),
            workers=len(self._slots.slots),
            file=self._configuration.settings.file or "of the program",
        )

    def stopService(self) -> Deferred[None]:
        """Drain, and let the workers end. Fires when none is left."""
        return self._stopping() if self._bound else succeed(None)

    async def _stop(self) -> None:
        self.drain()
        killing = Deferred.fromCoroutine(self._slots.kill_after(self.plan.graceful_shutdown + _MARGIN))
        killing.addErrback(lambda _: None)
        self._certificates.stop()
        self._nurseries.stop()
        await self._slots.stop_all()
        killing.cancel()
        if self._observing.running:
            self._observing.stop()
        self._control.stop()
        if self._admin is not None:
            admin, self._admin = self._admin, None
            await maybeDeferred(admin.stopListening)
        self._slots.forking.close()
        self._log.close()
        self._bound = False
        await maybeDeferred(super().stopService)

    def drain(self) -> None:
        """Refuse new connections; live ones go on. Repeating it changes nothing."""
        if not self.draining:
            self.draining = True
            self._configuration.close()
            self._tell_all(commands.Drain)
            log.info("draining: no new connections")

    def reopen_logs(self) -> None:
        """Let every worker reopen the access log, also one that drains, and the process that later ones have it from."""
        for link in list(self._slots.links):
            if link.has_begun:  # else it is about to open it
                Deferred.fromCoroutine(link.do_or_end(link.tell(commands.Reopen)))
        self._slots.forking.ask({"do": "reopen"}).addErrback(
            lambda why: log.warn("{why}", why=why.getErrorMessage())
        )

    def replace_workers(self) -> Deferred[None]:
        """Replace the workers one by one by new processes, with the code that is installed now.

        :return: fires when all are replaced; fails with :class:`~smartproxy.errors.WorkerFailed` where a new one cannot
            serve. Then it and those behind it go on as they are.
        """
        return Deferred.fromCoroutine(self._nurseries.replace_workers())

    # -- changes of the configuration ------------------------------------------------------------------

    def reload(self) -> Deferred[None]:
        """Read the configuration file again and put it in force in every worker, or in none."""
        return self._configuration.change(self._configuration.settings.again)

    def replace_routes(self, routes: list[dict[str, object]]) -> Deferred[None]:
        """As :meth:`reload`, with these routes as written in a file instead of those of the configuration."""
        return self._configuration.change(lambda: self._configuration.settings.with_routes(routes))

    def _tell_all(self, command: type[Any]) -> None:
        Deferred.fromCoroutine(self._slots.tell_all(command))

    # -- what happens to the other processes -----------------------------------------------------------

    def _worker_exited(self, process: int, code: int) -> None:
        self._slots.has_exited(process, code)

    async def _worker_begun(self, link: WorkerLink) -> None:
        """A worker serves: let it know what operators have set in the others, and that there was a drain."""
        wanted = self._control.set_by_hand()
        # All at once: what is set from now on is asked behind it.
        asked = [Deferred.fromCoroutine(link.ask("hold_target", one)) for one in wanted]
        answered = await DeferredList(asked, consumeErrors=True)
        if not all(ok for ok, _ in answered):  # a refusal is an answer: a reload may have removed the target
            raise WorkerFailed(f"worker {link.slot} cannot be told what was set by hand")
        if self.draining:  # asked last: a drain from now on is told to this worker, too
            await link.tell(commands.Drain)

    def _worker_retired(self, link: WorkerLink) -> None:
        """A worker has ended."""
        self._control.retire(link.generation, link.farewell, killed=link.farewell is None)

    def _new_forking(self) -> Forking:
        inherited = self._log_end, self._memory
        return Forking(self._reactor, inherited, self._worker_exited, self._nursery_lost)

    def _nursery_lost(self, forking: Forking) -> None:
        self._nurseries.lost(forking)

    # -- questions to the workers ----------------------------------------------------------------------

    def _ask(self, question: str, arguments: dict[str, object]) -> Deferred[Mapping[int, Answered]]:
        links = [link for link in self._slots.links if link.has_begun]
        return Deferred.fromCoroutine(self._answers(sorted(links, key=_place), question, arguments))

    def _ask_one(self, question: str, arguments: dict[str, object]) -> Deferred[Mapping[int, Answered]]:
        links = list(self._slots.serving())[:1]
        return Deferred.fromCoroutine(self._answers(links, question, arguments))

    async def _answers(
        self, links: list[WorkerLink], question: str, arguments: dict[str, object]
    ) -> dict[int, Answered]:
        """The answers of those that answer in time, by generation."""
        asked = [Deferred.fromCoroutine(link.ask(question, arguments)) for link in links]
        for one in asked:
            one.addTimeout(_PATIENCE, self._reactor)
        results = await DeferredList(asked, consumeErrors=True)
        return {link.generation: result for link, (ok, result) in zip(links, results, strict=True) if ok}

    def _observe(self) -> Deferred[None]:
        """Know what each worker has counted, as far as one that is killed next has not told it."""
        return Deferred.fromCoroutine(self._control.observe())

    # -- what can be read ------------------------------------------------------------------------------

    def addresses(self) -> dict[Place, Endpoint]:
        """The addresses it listens on, by what the configuration asked for."""
        return self._held.addresses()

    @property
    def serving(self) -> bool:
        """Whether every worker has begun, and one serves now."""
        return self.begun.called and next(self._slots.serving(), None) is not None

    @property
    def active(self) -> int:
        """Live connections of all workers, as of their last signs of life."""
        return sum(link.active for link in self._slots.links)

    @property
    def all_answer(self) -> bool:
        """Whether there is a worker in every slot, and each shows signs of life."""
        return self._slots.all_answer

    def waiting_for_restart(self) -> list[str]:
        """The keys of changed settings that are not in force before the process starts again."""
        return self._configuration.waiting_for_restart()

    @property
    def plan(self) -> ProxyPlan:
        """The configuration in force, compiled."""
        return self._configuration.plan

    def listeners(self) -> list[str]:
        """The addresses that it listens on."""
        return sorted(map(str, self._held.addresses().values()))

    def listening_on(self) -> str:
        """``[::]:80, [::]:443``, for a log line: the first ones, and how many more there are."""
        return named(self._held.addresses().values())


def _place(link: WorkerLink) -> tuple[int, int]:
    return link.slot, -link.generation
