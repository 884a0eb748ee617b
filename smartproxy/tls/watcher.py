"""Puts certificates that are replaced on disk in force, without a reload of the configuration.

::

    watch = CertificateWatch(store, clock, counters, reactor)
    watch.configure(plan.tls)       # after the certificates of a configuration have come into force
    watch.start()

Files are polled every 10 s, and checked on inotify events. A change is applied after 1 s without further change,
because a key is written after its certificate and does not belong to the former one. A file that cannot be used is
ignored: the former certificate stays in use, and each problem is logged once.

Files are read in the reactor's thread. A thousand take about 0.2 s, once in each renewal.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from smartproxy.errors import InvalidCertificate
from smartproxy.tls.directory import files_in, read_directory
from smartproxy.tls.inotify import DirectoryNotifications

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime

    from smartproxy.metrics.counters import Counters
    from smartproxy.model.plan import CertificatePlan, TlsPlan
    from smartproxy.tls.store import CertificateStore

#: Seconds between two polls.
POLL_INTERVAL: Final = 10.0
#: Seconds without further change after which a change is applied.
SETTLE_TIME: Final = 1.0

#: Size, inode and modification time by file; None for one that does not exist.
_State: TypeAlias = "dict[str, tuple[int, int, int] | None]"

log = Logger()


class CertificateWatch:
    """Watches the files of the certificates in force.

    :param store: gets renewed certificates.
    :param clock: schedules polls.
    :param counters: counts renewals, and has the expiry of each certificate.
    :param reactor: reads inotify events; without it, files are only polled.
    """

    def __init__(
        self,
        store: CertificateStore,
        clock: IReactorTime,
        counters: Counters,
        reactor: IReactorFDSet | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._counters = counters
        self._directory: str | None = None
        self._shared: tuple[CertificatePlan, ...] = ()
        #: By the configuration's entry, what its files contained when they were last read.
        self._current: dict[CertificatePlan, CertificatePlan] = {}
        #: The files as they were when they were last read, and as they were at the last poll.
        self._applied: _State = {}
        self._polled: _State = {}
        self._logged: set[str] = set()
        self._settling: IDelayedCall | None = None
        self._polling = LoopingCall(self.poll)
        self._polling.clock = clock
        self._notifications = (
            None if reactor is None else DirectoryNotifications(reactor, self._poll_when_settled)
        )

    def configure(self, plan: TlsPlan) -> None:
        """Watch the files of the certificates in force, from now on. They have just been read."""
        self._directory, self._shared = plan.directory, plan.certificates
        own = (entry for entry in self._store.entries if entry not in plan.certificates)
        self._current = {entry: entry for entry in own if entry.reread is not None}
        self._logged.clear()
        self._applied = self._polled = self._state()
        self._publish_expiry()
        self._watch_files()

    def start(self) -> None:
        """Begin to watch."""
        if not self._polling.running:
            self._polling.start(POLL_INTERVAL, now=False)
        self._watch_files()

    def stop(self) -> None:
        """Stop watching."""
        if self._polling.running:
            self._polling.stop()
        if self._settling is not None and self._settling.active():
            self._settling.cancel()
        if self._notifications is not None:
            self._notifications.stop()

    def poll(self) -> None:
        """Apply changes that have settled: those that the poll before has seen in the same state."""
        state = self._state()
        if state == self._applied:
            self._polled = state
        elif state == self._polled:
            before, self._applied = self._applied, state
            self._apply({file for file in {*before, *state} if before.get(file) != state.get(file)})
        else:
            self._polled = state
            self._poll_when_settled()

    def _poll_when_settled(self) -> None:
        """Poll after the settle time, which each further change begins anew."""
        if self._settling is not None and self._settling.active():
            self._settling.reset(SETTLE_TIME)
        else:
            self._settling = self._clock.callLater(SETTLE_TIME, self.poll)

    def _apply(self, changed: set[str]) -> None:
        self._renew(changed)
        if self._directory is not None and any(self._is_in_directory(file) for file in changed):
            self._reload_directory(self._directory)
        self._publish_expiry()
        self._watch_files()

    def _renew(self, changed: set[str]) -> None:
        """Read the certificates of routes anew that have one of the ``changed`` files."""
        renewed = {}
        for entry, current in self._current.items():
            if not changed.isdisjoint(current.files):
                found = self._reread(current)
                if found is not None and found != current:
                    renewed[entry] = found
        if renewed:
            self._current.update(renewed)
            self._store.renew(renewed)

    def _reread(self, current: CertificatePlan) -> CertificatePlan | None:
        assert current.reread is not None  # noqa: S101 - configure() selects such entries only
        try:
            found = current.reread()
        except InvalidCertificate as problem:
            self._report([str(problem)])
            return None
        self._count("ok")
        log.info("certificate renewed: {source}", source=found.source)
        return found

    def _reload_directory(self, directory: str) -> None:
        try:
            found = read_directory(directory)
        except InvalidCertificate as problem:
            self._report([str(problem)])
            return
        kept = self._still_needed(found.certificates) if found.problems else ()
        self._report(found.problems)
        shared = (*found.certificates, *kept)
        if shared != self._shared:
            self._shared = shared
            self._store.replace_shared(shared)
            self._count("ok")
            log.info("certificate directory reloaded: {directory}", directory=directory)

    def _still_needed(self, found: Iterable[CertificatePlan]) -> tuple[CertificatePlan, ...]:
        """Former certificates whose files still exist and can no longer be used."""
        good = {file for plan in found for file in plan.files}
        return tuple(
            plan
            for plan in self._shared
            if good.isdisjoint(plan.files) and all(Path(file).exists() for file in plan.files)
        )

    def _report(self, problems: Iterable[str]) -> None:
        """Count a failed renewal, and log each problem once until the next reload."""
        problems = list(problems)
        if problems:
            self._count("failed")
        for problem in problems:
            if problem not in self._logged:
                log.error("certificate not renewed, the former one is kept: {problem}", problem=problem)
        self._logged.update(problems)

    def _count(self, result: str) -> None:
        self._counters.certificate_reloads[result] += 1

    def _publish_expiry(self) -> None:
        """The first expiry for each name: several certificates may have the same."""
        expiry: dict[str, float] = {}
        for certificate in self._store.certificates:
            until = certificate.not_after.timestamp()
            expiry[certificate.name] = min(until, expiry.get(certificate.name, until))
        self._counters.certificate_expiry = expiry

    # -- files ---------------------------------------------------------------------------------------

    def _files(self) -> set[str]:
        files = {file for current in self._current.values() for file in current.files}
        if self._directory is not None and Path(self._directory).is_dir():
            files.update(files_in(self._directory))
        return files

    def _is_in_directory(self, file: str) -> bool:
        return self._directory is not None and Path(file).is_relative_to(self._directory)

    def _state(self) -> _State:
        return {file: _signature(file) for file in self._files()}

    def _watch_files(self) -> None:
        if self._notifications is None or not self._polling.running:
            return
        directories = {str(Path(file).parent) for file in self._files()}
        # A symbolic link is followed: certbot's live/ directory links to the files in archive/.
        directories |= {str(Path(os.path.realpath(file)).parent) for file in self._files()}
        if self._directory is not None:
            directories.add(self._directory)
        self._notifications.watch(directories)


def _signature(file: str) -> tuple[int, int, int] | None:
    """Values that change when a file is written or replaced; ``None`` if it does not exist."""
    try:
        found = os.stat(file)  # noqa: PTH116 - for every file in every poll, and Path would make another object
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
