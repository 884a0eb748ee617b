"""Certificates that are replaced on disk are shown from then on, without a reload.

::

    watch = CertificateWatch(clock, counters, reactor)
    watch.follow(contexts, plan.tls)        # and again after each reload
    watch.start()

Every file is looked at now and then, and at once where the system tells of changes (inotify). A change counts when
it has come to rest for a moment: a key is written after its certificate, and between the two nothing fits. What
cannot be used then is not taken; the old one goes on, and a line says why, once.

Files are read in the reactor: a thousand take some 0.2 s, once a renewal.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from smartproxy.errors import InvalidCertificate
from smartproxy.tls.directory import files_in, read_directory
from smartproxy.tls.inotify import Notices

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from smartproxy.metrics.counters import Counters
    from smartproxy.model.plan import CertificatePlan, TlsPlan
    from smartproxy.tls.contexts import ServerContexts

#: Seconds between two looks: at most so late is a change where nothing tells of it.
EVERY: Final = 10.0
#: Seconds for which a change must have been at rest.
REST: Final = 1.0

log = Logger()


class CertificateWatch:
    """Looks after the certificates of the configuration in force.

    :param clock: wakes it up.
    :param counters: reloads and expiries are told to it.
    :param reactor: where the system's notices come in; ``None`` does without them.
    """

    def __init__(self, clock: IReactorTime, counters: Counters, reactor: Any = None) -> None:
        self._clock = clock
        self._counters = counters
        self._contexts: ServerContexts | None = None
        self._directory: str | None = None
        self._store: tuple[CertificatePlan, ...] = ()
        self._current: dict[CertificatePlan, CertificatePlan] = {}
        self._taken: dict[str, object] = {}
        self._seen: dict[str, object] = {}
        self._told: set[str] = set()
        self._again: IDelayedCall | None = None
        self._looking = LoopingCall(self.look)
        self._looking.clock = clock
        self._notices = Notices(reactor, self._noticed) if reactor is not None else None

    def follow(self, contexts: ServerContexts, plan: TlsPlan) -> None:
        """From now on, look after these. They are what the files hold now."""
        self._contexts = contexts
        self._directory, self._store = plan.directory, plan.certificates
        own = (configured for configured in contexts.certificates if configured not in plan.certificates)
        self._current = {configured: configured for configured in own if configured.reread is not None}
        self._told.clear()
        self._taken = self._seen = self._state()
        self._tell_expiries()
        self._watch_files()

    def start(self) -> None:
        """Begin to look."""
        if not self._looking.running:
            self._looking.start(EVERY, now=False)
        self._watch_files()

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()
        if self._again is not None and self._again.active():
            self._again.cancel()
        if self._notices is not None:
            self._notices.stop()

    def look(self) -> None:
        """Take what has changed, if it is at rest."""
        state = self._state()
        if state == self._taken:
            self._seen = state
        elif state == self._seen:
            before, self._taken = self._taken, state
            self._take({file for file in {*before, *state} if before.get(file) != state.get(file)})
        else:
            self._seen = state
            self._noticed()

    def _noticed(self) -> None:
        """Something has changed: look when it has had its rest."""
        if self._again is not None and self._again.active():
            self._again.reset(REST)
        else:
            self._again = self._clock.callLater(REST, self.look)

    def _take(self, changed: set[str]) -> None:
        contexts = self._contexts
        if contexts is None:
            return
        renewed = {}
        for configured, current in self._current.items():
            if not changed.isdisjoint(current.files):
                found = self._reread(current)
                if found is not None and found != current:
                    renewed[configured] = found
        if renewed:
            self._current.update(renewed)
            contexts.renew(renewed)
        if self._directory is not None and any(self._is_stored(file) for file in changed):
            self._restock(contexts, self._directory)
        self._tell_expiries()
        self._watch_files()

    def _reread(self, current: CertificatePlan) -> CertificatePlan | None:
        assert current.reread is not None  # noqa: S101 - only such ones are looked after
        try:
            found = current.reread()
        except InvalidCertificate as problem:
            self._bad([str(problem)])
            return None
        self._count("ok")
        log.info("certificate renewed: {source}", source=found.source)
        return found

    def _restock(self, contexts: ServerContexts, directory: str) -> None:
        try:
            found = read_directory(directory)
        except InvalidCertificate as problem:
            self._bad([str(problem)])
            return
        kept = self._still_needed(found.certificates) if found.problems else ()
        self._bad(found.problems)
        store = (*found.certificates, *kept)
        if store != self._store:
            self._store = store
            contexts.restock(store)
            self._count("ok")
            log.info("certificates read again: {directory}", directory=directory)

    def _still_needed(self, found: Iterable[CertificatePlan]) -> tuple[CertificatePlan, ...]:
        """Those of old whose files are there, and cannot be used any more."""
        good = {file for plan in found for file in plan.files}
        return tuple(
            plan
            for plan in self._store
            if good.isdisjoint(plan.files) and all(Path(file).exists() for file in plan.files)
        )

    def _bad(self, problems: Iterable[str]) -> None:
        """Tell each problem once; the old certificate goes on."""
        problems = list(problems)
        if problems:
            self._count("failed")
        for problem in problems:
            if problem not in self._told:
                log.error("certificate not renewed, the old one goes on: {problem}", problem=problem)
        self._told.update(problems)

    def _count(self, result: str) -> None:
        self._counters.certificate_reloads[result] += 1

    def _tell_expiries(self) -> None:
        told: dict[str, float] = {}
        for certificate in self._contexts.certificates.values() if self._contexts is not None else ():
            until = certificate.not_after.timestamp()
            told[certificate.name] = min(until, told.get(certificate.name, until))
        self._counters.certificate_expiry = told

    # -- files ---------------------------------------------------------------------------------------

    def _files(self) -> set[str]:
        files = {file for current in self._current.values() for file in current.files}
        if self._directory is not None and Path(self._directory).is_dir():
            files.update(files_in(self._directory))
        return files

    def _is_stored(self, file: str) -> bool:
        return self._directory is not None and Path(file).is_relative_to(self._directory)

    def _state(self) -> dict[str, object]:
        return {file: _signature(file) for file in self._files()}

    def _watch_files(self) -> None:
        if self._notices is None or not self._looking.running:
            return
        places = {str(Path(file).parent) for file in self._files()}
        places |= {str(Path(os.path.realpath(file)).parent) for file in self._files()}
        if self._directory is not None:
            places.add(self._directory)
        self._notices.watch(places)


def _signature(file: str) -> object:
    """What changes with a file; ``None`` where there is none."""
    try:
        found = os.stat(file)  # noqa: PTH116 - once a file and look; Path makes an object more
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
