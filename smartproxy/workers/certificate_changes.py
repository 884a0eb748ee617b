"""Watches the files of certificates for all processes, and tells them what has changed.

Each of them reads the changed files itself: first the one that forks workers, so that no worker begins with the former
certificates, then the workers.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorFDSet
from twisted.logger import Logger

from smartproxy.errors import WorkerFailed
from smartproxy.files.states import changed_between
from smartproxy.files.watch import FileWatch
from smartproxy.flow.pace import Pace
from smartproxy.flow.threads import thread_for
from smartproxy.tls.renewal import WatchedFiles
from smartproxy.tls.renewal_report import RenewalReport
from smartproxy.tls.watcher import compile_where_changed
from smartproxy.workers.passed_values import as_file

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.defer import DeferredLock

    from smartproxy.files.states import FileStates
    from smartproxy.metrics.counters import Counters
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.workers.slots import WorkerSlots

log = Logger()


class CertificateChanges:
    """Follows the certificates of the configuration in force.

    :param slots: the workers.
    :param changing: is held while they are told: no worker is started then, and the configuration does not change.
    :param counters: count changes of authorities, revocation lists and the like; workers count those of their certificates.
    :param compile_again: puts the configuration in force again, with what is in the files that it names.
    """

    def __init__(
        self,
        slots: WorkerSlots,
        changing: DeferredLock,
        counters: Counters,
        compile_again: Callable[[], Awaitable[None]],
        reactor: Any,
    ) -> None:
        self._slots = slots
        self._changing = changing
        self._report = RenewalReport(counters)
        self._compile_again = compile_again
        descriptors = reactor if IReactorFDSet.providedBy(reactor) else None
        self._call = thread_for("certificates", reactor)
        self._watch: FileWatch[WatchedFiles] = FileWatch(reactor, self._changed, self._call, descriptors)
        self.start, self.stop = self._watch.start, self._watch.stop

    def follow(self, plan: ProxyPlan) -> None:
        """``plan`` is in force from now on."""
        own = {entry for route in plan.routes if route.tls is not None for entry in route.tls.certificates}
        self._watch.follow(WatchedFiles.of(own, plan.tls))

    async def _changed(self, watched: WatchedFiles, before: FileStates, states: FileStates) -> None:
        changed = changed_between(before, states, Pace()) - watched.compiled.keys()
        if changed:
            former, present = ({file: of.get(file) for file in changed} for of in (before, states))
            async with self._changing:
                await self._tell(former, present)
            await self._call(partial(watched.reread, changed))
        await compile_where_changed(watched, before, states, self._compile_again, self._report)

    async def _tell(self, before: FileStates, states: FileStates) -> None:
        with as_file((before, states)) as descriptor:
            try:
                await self._slots.forking.ask({"do": "renew"}, descriptor)
            except WorkerFailed as why:
                log.warn("a worker that is started later may have former certificates: {why}", why=why)
            for link in list(self._slots.serving()):
                await link.do_or_end(link.renew(descriptor))
