"""What is done in a thread when certificates are watched: look at files, read those that have changed, select anew.

::

    watched = WatchedFiles(own, plan.directory)          # of one configuration
    found = watched.look(applied, polled)           # the state of every file
    renewal = watched.read(applied, found.states, store)    # the certificates of the changed files, not shown yet

Nothing here changes what is in force; :mod:`smartproxy.tls.renewals` does that in the event loop.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from smartproxy.errors import AccessDenied, InvalidCertificate
from smartproxy.files.states import changed_between, identities, may_be_unchanged, places_of, state_of
from smartproxy.files.watch import compared
from smartproxy.flow.pace import Pace
from smartproxy.tls.directory import former_of_left_out
from smartproxy.tls.folders import scan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smartproxy.files.inotify import DirectoryNotifications
    from smartproxy.files.states import FileStates
    from smartproxy.files.watch import Look
    from smartproxy.model.plan import CertificatePlan, DirectoryPlan, TlsPlan
    from smartproxy.tls.store import CertificateStore, Entries, Selection


class Renewal(NamedTuple):
    """What the changed files contain.

    :ivar renewed: for entries of routes, what there is now.
    :ivar failed: why others could not be read.
    :ivar pending: files of those that are not valid yet, and when they will be, in seconds since the epoch.
    :ivar directory: the directory of certificates, if it has changed.
    :ivar is_shared_changed: whether its certificates have.
    :ivar selection: to be shown, if anything is to be shown that was not before.
    """

    renewed: dict[CertificatePlan, CertificatePlan]
    failed: list[str]
    pending: dict[str, float]
    directory: DirectoryPlan | None = None
    is_shared_changed: bool = False
    selection: Selection | None = None


class WatchedFiles:
    """The files that are watched for one configuration.

    :param current: for each entry of a route, what its files contained when they were last read.
    :param directory: the directory of certificates, as it was last read.
    :param compiled: files that the plan was compiled from: it has to be compiled again when one changes.
    :ivar unapplied: those that have changed since, where compiling the plan again has failed.
    """

    def __init__(
        self,
        current: dict[CertificatePlan, CertificatePlan],
        directory: DirectoryPlan | None,
        compiled: FileStates | None = None,
    ) -> None:
        self.current = current
        self.directory = directory
        self.compiled = compiled or {}
        self.unapplied: set[str] = set()
        self._pending: dict[str, float] = {}

    @classmethod
    def of(cls, entries: Iterable[CertificatePlan], plan: TlsPlan) -> WatchedFiles:
        """The files of a configuration.

        :param entries: of its routes.
        """
        own = {entry: entry for entry in entries if entry.reread is not None}
        return cls(own, plan.directory, dict(plan.files))

    def accept(self, renewal: Renewal) -> None:
        """What was read is in force."""
        self.current.update(renewal.renewed)
        self._pending.update(renewal.pending)
        self.directory = renewal.directory or self.directory

    def states_as_read(self) -> FileStates:
        """Every file as it was when it was read, so that no later change is missed."""
        states = dict(self.compiled) if self.directory is None else self.compiled | dict(self.directory.files)
        for plan in self.current.values():
            states.update(zip(plan.files, plan.states, strict=False))
        return states

    def look(
        self, applied: FileStates, polled: FileStates, notifications: DirectoryNotifications | None = None
    ) -> Look:
        """The state of every file now.

        :param applied: their states when they were last read.
        :param polled: their states at the last poll.
        :param notifications: is prepared to watch their folders.
        """
        pace = Pace()
        files = {file for plan in self.current.values() for file in plan.files} | self.compiled.keys()
        folders = identities(places_of(files)) if notifications is not None else {}
        states: FileStates = {}
        if self.directory is not None:
            found = scan(self.directory.path, pace)
            states.update(found.files)
            folders |= found.folders
        for file in pace.over(files):
            states[file] = state_of(file)
        self._mark_valid(states)
        return compared(states, folders, applied, polled, notifications, pace)

    def _mark_valid(self, states: FileStates) -> None:
        """Let files whose certificate has become valid look changed, so that they are read again."""
        in_directory = {} if self.directory is None else self.directory.pending
        now = time.time()
        for file, at in (*self._pending.items(), *in_directory.items()):
            state = states.get(file)
            if state is not None and at <= now:
                states[file] = (*state, 1)

    def read(self, before: FileStates, states: FileStates, store: CertificateStore) -> Renewal:
        """Read the files that have changed between two states."""
        pace = Pace()
        changed = changed_between(before, states, pace)
        renewal = self._read_own(changed, states, pace)
        shared: Entries | None = None
        if self.directory is not None and any(map(self._is_in_directory, changed)):
            renewal, shared = self._read_directory(self.directory, renewal, store.shared)
        if renewal.renewed or shared is not None:
            renewal = renewal._replace(selection=store.changed(renewal.renewed, shared))
        return renewal

    def reread(self, changed: set[str]) -> None:
        """Read what has changed where other processes show it, and report it: the next configuration begins with that."""
        pace = Pace()
        for current in pace.over(self.current.values()):
            if current.reread is None or changed.isdisjoint(current.files):
                continue
            try:
                current.reread()
            except InvalidCertificate as problem:
                self._pending.update(_pending(current, problem))
        directory = self.directory if any(map(self._is_in_directory, changed)) else None
        if directory is not None and directory.reread is not None:
            with suppress(InvalidCertificate):
                self.directory = directory.reread()

    def _read_own(self, changed: set[str], states: FileStates, pace: Pace) -> Renewal:
        renewal = Renewal({}, [], {})
        for entry, current in pace.over(self.current.items()):
            if changed.isdisjoint(current.files):
                continue
            try:
                found = current.reread() if current.reread is not None else current
            except InvalidCertificate as problem:
                renewal.pending.update(_pending(current, problem))
                # A folder that may not be searched since root has read its files looks like a change of all of them.
                if not (isinstance(problem, AccessDenied) and _may_be_unchanged(current, states)):
                    renewal.failed.append(str(problem))
            else:
                if found != current:
                    renewal.renewed[entry] = found
        return renewal

    def _read_directory(
        self, directory: DirectoryPlan, renewal: Renewal, former: Entries
    ) -> tuple[Renewal, Entries | None]:
        """Read the directory. Returns its certificates if they are others than the ``former`` ones."""
        if directory.reread is None:
            return renewal, None
        try:
            found = directory.reread()
        except InvalidCertificate as problem:
            renewal.failed.append(str(problem))
            return renewal, None
        shared = (*found.certificates, *former_of_left_out(former, found))
        is_changed = shared != former
        renewal = renewal._replace(directory=found, is_shared_changed=is_changed)
        return renewal, shared if is_changed else None

    def _is_in_directory(self, file: str) -> bool:
        return self.directory is not None and Path(file).is_relative_to(self.directory.path)


def _pending(plan: CertificatePlan, problem: InvalidCertificate) -> dict[str, float]:
    """The file that is to be read again, and when, if a certificate is not valid yet."""
    return {} if problem.valid_from is None else {plan.files[0]: problem.valid_from}


def _may_be_unchanged(plan: CertificatePlan, states: FileStates) -> bool:
    read = dict(zip(plan.files, plan.states, strict=False))  # an embedder's plan has no states
    return bool(read) and all(may_be_unchanged(state, states.get(file)) for file, state in read.items())
