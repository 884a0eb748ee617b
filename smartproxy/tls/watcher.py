"""Puts certificates that are replaced on disk in force, without a reload of the configuration.

::

    watch = CertificateWatch(store, clock, counters, call, reactor)
    watch.configure(plan.tls)       # after the certificates of a configuration have come into force
    watch.start()

Files are polled every 10 s, and checked on inotify events. A change is applied after 1 s without further change,
because a key is written after its certificate and does not belong to the former one. A file that cannot be used is
ignored: the former certificate stays in use, and each problem is logged once.

Files are looked at and read in a thread, and only those that have changed are read. The event loop exchanges the
complete result for the former one (:mod:`smartproxy.tls.renewal` has what runs in the thread).

Authorities, revocation lists and our certificates for targets are part of the configuration's plan. When one of these
files changes, the configuration in force is compiled again, which changes nothing else.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from smartproxy.errors import ConfigurationError
from smartproxy.flow.threads import call_here
from smartproxy.tls.inotify import DirectoryNotifications
from smartproxy.tls.renewal import Renewal, WatchedFiles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime

    from smartproxy.flow.threads import Call
    from smartproxy.metrics.counters import Counters
    from smartproxy.model.plan import DirectoryPlan, LeftOut, TlsPlan
    from smartproxy.tls.renewal import FileStates, Look
    from smartproxy.tls.store import CertificateStore

#: Seconds between two polls.
POLL_INTERVAL: Final = 10.0
#: Seconds without further change after which a change is applied.
SETTLE_TIME: Final = 1.0
#: Seconds from an event to the poll.
_GATHER_TIME: Final = 0.1

log = Logger()


class CertificateWatch:
    """Watches the files of the certificates in force.

    :param store: gets renewed certificates.
    :param clock: schedules polls.
    :param counters: counts renewals, and has the expiry of each certificate.
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
        self._clock = clock
        self._counters = counters
        self._call = call
        #: What is watched; another object after each reload.
        self._watched = WatchedFiles({}, None)
        #: The files as they were when they were last read, and as they were at the last poll.
        self._applied: FileStates = {}
        self._polled: FileStates = {}
        #: When they were first seen in the latter state, and when the last poll ended.
        self._polled_at = self._last_poll_at = float("-inf")
        self._logged: set[str] = set()
        self._settling: IDelayedCall | None = None
        self._is_polling = False
        self.compile_again: Callable[[], Awaitable[None]] = _not_compiled
        self._loop = LoopingCall(self.poll)
        self._loop.clock = clock
        self._notifications = None if reactor is None else DirectoryNotifications(reactor, self._on_event)

    def configure(self, plan: TlsPlan) -> None:
        """Watch the files of the certificates in force, from now on, and log which of them are left out."""
        own = {entry: entry for entry in self._store.own_entries if entry.reread is not None}
        self._watched = WatchedFiles(own, plan.directory, dict(plan.files))
        self._applied = self._polled = self._watched.states_as_read()
        self._counters.certificate_expiry = self._store.expiry
        left_out = () if plan.directory is None else plan.directory.left_out
        self._logged.intersection_update(one.problem for one in left_out)
        self._report_left_out(left_out)
        self._poll_after(0)

    def start(self) -> None:
        """Begin to watch."""
        if not self._loop.running:
            self._loop.start(POLL_INTERVAL, now=False)
            self._poll_after(0)

    def stop(self) -> None:
        """Stop watching."""
        if self._loop.running:
            self._loop.stop()
        if self._settling is not None and self._settling.active():
            self._settling.cancel()
        self._stop_notifications()

    def _stop_notifications(self) -> None:
        if self._notifications is not None:
            self._notifications.stop()

    def poll(self) -> Deferred[None]:
        """Apply changes that have settled: those that the poll before has seen in the same state."""
        return Deferred.fromCoroutine(self._poll())

    async def _poll(self) -> None:
        if self._is_polling:
            return
        self._is_polling = True
        try:
            await self._look(self._watched)
        except Exception:  # the next poll may succeed
            log.failure("looking for changed certificates failed")
        finally:
            self._is_polling = False
            self._last_poll_at = self._clock.seconds()

    async def _look(self, watched: WatchedFiles) -> None:
        found = await self._call(partial(watched.look, self._applied, self._polled, self._notifications))
        if found.watch is not None:
            found.watch()
            self._poll_after(SETTLE_TIME)  # a change may have come after the look and before the watch
        if not self._is_current(watched):
            return
        if found.is_as_applied:
            self._polled = found.states
        elif not self._has_settled(found):
            self._poll_after(SETTLE_TIME)
        else:
            await self._read(watched, found.states)

    def _has_settled(self, found: Look) -> bool:
        now = self._clock.seconds()
        if not found.is_as_polled:
            self._polled, self._polled_at = found.states, now
        return now - self._polled_at >= SETTLE_TIME

    async def _read(self, watched: WatchedFiles, states: FileStates) -> None:
        before, self._applied = self._applied, states
        renewal = await self._call(partial(watched.read, before, states, self._store))
        if self._is_current(watched):
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

    def _is_current(self, watched: WatchedFiles) -> bool:
        """Whether there was neither a reload nor a stop while a thread was at work."""
        if not self._loop.running:
            self._stop_notifications()
        elif watched is not self._watched:
            self._poll_after(0)
        return watched is self._watched and self._loop.running

    def _on_event(self) -> None:
        # One poll serves the many events of a change; and where a folder changes all the time, not every event needs one.
        since = self._clock.seconds() - self._last_poll_at
        self._poll_after(max(_GATHER_TIME, SETTLE_TIME - since))

    def _poll_after(self, seconds: float) -> None:
        """Poll after some time, unless a poll is due anyway."""
        if self._loop.running and (self._settling is None or not self._settling.active()):
            self._settling = self._clock.callLater(seconds, self.poll)

    def _apply(self, watched: WatchedFiles, renewal: Renewal) -> None:
        watched.current.update(renewal.renewed)
        if renewal.selection is not None:
            self._store.show(renewal.selection)
            self._counters.certificate_expiry = self._store.expiry
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
