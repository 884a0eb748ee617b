"""Puts certificates that are replaced on disk in force, without a reload of the configuration.

::

    watch = CertificateWatch(store, clock, counters, call, reactor)
    watch.configure(plan.tls)       # after the certificates of a configuration have come into force
    watch.start()

Changes are noticed by :class:`~smartproxy.files.watch.FileWatch`. They are applied after 1 s without further change,
because a key is written after its certificate and does not belong to the former one. A file that cannot be used is
ignored: the former certificate stays in use, and each problem is logged once.

Files are read in a thread, and only those that have changed. The event loop exchanges the
complete result for the former one (:mod:`smartproxy.tls.renewal` has what runs in the thread).

Authorities, revocation lists and our certificates for targets are part of the configuration's plan. When one of these
files changes, the configuration in force is compiled again, which changes nothing else.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from smartproxy.errors import ConfigurationError
from smartproxy.files.watch import FileWatch
from smartproxy.flow.threads import call_here
from smartproxy.tls.renewal import Renewal, WatchedFiles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from twisted.internet.interfaces import IReactorFDSet, IReactorTime

    from smartproxy.files.states import FileStates
    from smartproxy.flow.threads import Call
    from smartproxy.metrics.counters import Counters
    from smartproxy.model.plan import DirectoryPlan, LeftOut, TlsPlan
    from smartproxy.tls.store import CertificateStore

log = Logger()


class CertificateWatch:
    """Watches the files of the certificates in force.

    :param store: gets renewed certificates.
    :param clock: schedules polls.
    :param counters: counts renewals.
    :param call: calls what takes long, in a thread.
    :param reactor: reads inotify events; without it, files are only polled.
    :ivar compile_again: compiles the configuration from its files again, and puts it in force.
    """

    def __init__(
        self,
        store: CertificateStore,
        clock: IReactorTime,
        counters: Counters,
        call: Call = call_here,
        reactor: IReactorFDSet | None = None,
    ) -> None:
        self._store = store
        self._counters = counters
        self._call = call
        self._logged: set[str] = set()
        self.compile_again: Callable[[], Awaitable[None]] = _not_compiled
        self._watch: FileWatch[WatchedFiles] = FileWatch(clock, self._read, call, reactor)
        self.start, self.stop, self.poll = self._watch.start, self._watch.stop, self._watch.poll

    def configure(self, plan: TlsPlan) -> None:
        """Watch the files of the certificates in force, from now on, and log which of them are left out."""
        own = {entry: entry for entry in self._store.own_entries if entry.reread is not None}
        left_out = () if plan.directory is None else plan.directory.left_out
        self._logged.intersection_update(one.problem for one in left_out)
        self._report_left_out(left_out)
        self._watch.follow(WatchedFiles(own, plan.directory, dict(plan.files)))

    async def _read(self, watched: WatchedFiles, before: FileStates, states: FileStates) -> None:
        renewal = await self._call(partial(watched.read, before, states, self._store))
        if self._watch.is_current(watched):
            self._apply(watched, renewal)
            compiled = [file for file in watched.compiled if before.get(file) != states.get(file)]
            if compiled:
                await self._compile(compiled)

    async def _compile(self, changed: list[str]) -> None:
        """Have the configuration compiled again: authorities, revocation lists and the like have ``changed``."""
        try:
            await self.compile_again()
        except (ConfigurationError, CannotListenError) as failed:
            self._count("failed")
            for problem in failed.problems if isinstance(failed, ConfigurationError) else [str(failed)]:
                self._log_kept(problem)
            return
        self._count("ok")
        for file in changed:
            log.info("certificate renewed: {source}", source=file)

    def _apply(self, watched: WatchedFiles, renewal: Renewal) -> None:
        watched.current.update(renewal.renewed)
        if renewal.selection is not None:
            self._store.show(renewal.selection)
        for plan in renewal.renewed.values():
            self._count("ok")
            log.info("certificate renewed: {source}", source=plan.source)
        for problem in renewal.failed:
            self._count("failed")
            self._log_kept(problem)
        if renewal.directory is not None:
            self._apply_directory(watched, renewal, renewal.directory)

    def _apply_directory(self, watched: WatchedFiles, renewal: Renewal, directory: DirectoryPlan) -> None:
        former, watched.directory = watched.directory, directory
        if renewal.is_shared_changed:
            self._count("ok")
            log.info("certificate directory reloaded: {directory}", directory=directory.path)
        if former is not None:
            self._logged -= {one.problem for one in former.left_out} - {
                one.problem for one in directory.left_out
            }
        self._report_left_out(directory.left_out)

    # -- reports -------------------------------------------------------------------------------------

    def _report_left_out(self, left_out: Iterable[LeftOut]) -> None:
        """Count and log each file of the directory that cannot be used, once until it has changed."""
        new = [one for one in left_out if one.problem not in self._logged]
        kept = {file for entry in (self._store.shared if new else ()) for file in entry.files}
        for file, problem in new:
            self._count("failed")
            if file in kept:
                self._log_kept(problem)
            else:
                self._logged.add(problem)
                log.warn("certificate left out: {problem}", problem=problem)

    def _log_kept(self, problem: str) -> None:
        if problem not in self._logged:
            self._logged.add(problem)
            log.error("certificate not renewed, the former one is kept: {problem}", problem=problem)

    def _count(self, result: str) -> None:
        self._counters.certificate_reloads[result] += 1


async def _not_compiled() -> None:
    """In place of :attr:`CertificateWatch.compile_again` until it is set."""
