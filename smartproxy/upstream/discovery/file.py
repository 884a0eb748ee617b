"""Targets in a file (``targetsFile``): read again when the file has changed, and applied in one step.

A file that cannot be used (missing, empty, broken) leaves the former targets in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.logger import Logger
from zope.interface import implementer

from smartproxy.errors import InvalidTargetsFile
from smartproxy.files.states import changed_between
from smartproxy.files.watch import FileList, FileWatch
from smartproxy.flow.pace import Pace
from smartproxy.flow.threads import call_here
from smartproxy.upstream.discovery.interfaces import ITargetSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IReactorFDSet, IReactorTime

    from smartproxy.files.states import FileStates
    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import TargetPlan
    from smartproxy.model.plan.target_file import TargetFile

log = Logger()

#: Seconds between two polls. Where there are no inotify events, as on NFS, a change is applied within 5 s.
_POLL_INTERVAL: Final = 3.0


class TargetFileWatch:
    """Replaces the targets of files that have changed.

    :param clock: schedules polls.
    :param call: calls what takes long, in a thread.
    :param reactor: reads inotify events; without it, files are only polled.
    """

    def __init__(
        self, clock: IReactorTime, call: Call = call_here, reactor: IReactorFDSet | None = None
    ) -> None:
        self._call = call
        self._files: list[TargetFile] = []
        self._listeners: dict[TargetFile, Callable[[], None]] = {}
        #: Problems that were logged; each is logged once.
        self._logged: set[str] = set()
        self._watch: FileWatch[FileList] = FileWatch(
            clock, self._changed, call, reactor, interval=_POLL_INTERVAL
        )
        self.start, self.stop, self.poll = self._watch.start, self._watch.stop, self._watch.poll

    def follow(self, files: Iterable[TargetFile]) -> None:
        """Watch these files, and no others, from now on."""
        self._files = list(files)
        self._logged.clear()
        self._watch.follow(FileList({file.path: file.state for file in self._files}))

    def listen(self, file: TargetFile, changed: Callable[[], None]) -> None:
        """Call ``changed`` when the targets of ``file`` have been replaced."""
        self._listeners[file] = changed

    def forget(self, file: TargetFile) -> None:
        """Undo :meth:`listen`."""
        self._listeners.pop(file, None)

    async def _changed(self, watched: FileList, before: FileStates, now: FileStates) -> None:
        changed = changed_between(before, now, Pace())
        for file in self._files:
            if file.path in changed:
                await self._read(watched, file)

    async def _read(self, watched: FileList, file: TargetFile) -> None:
        try:
            found = await self._call(file.read)
        except InvalidTargetsFile as invalid:
            if self._watch.is_current(watched):
                self._report(invalid.problems)
            return
        if not self._watch.is_current(watched):
            return
        file.targets, file.state = found.targets, found.state
        self._logged = {problem for problem in self._logged if not problem.startswith(f"{file.path}:")}
        log.info("targets read again: {file} ({count} targets)", file=file.path, count=len(file.targets))
        listener = self._listeners.get(file)
        if listener is not None:
            listener()

    def _report(self, problems: list[str]) -> None:
        for problem in problems:
            if problem not in self._logged:
                self._logged.add(problem)
                log.error("targets file not applied, the former targets are kept: {problem}", problem=problem)


@implementer(ITargetSource)
class FileTargets:
    """The targets of one file."""

    def __init__(self, file: TargetFile, watch: TargetFileWatch) -> None:
        self._file = file
        self._watch = watch
        self.is_settled = True

    @property
    def targets(self) -> tuple[TargetPlan, ...]:
        """Those that were read last."""
        return self._file.targets

    def start(self, changed: Callable[[], None]) -> None:
        """See :class:`~smartproxy.upstream.discovery.interfaces.ITargetSource`."""
        self._watch.listen(self._file, changed)

    def stop(self) -> None:
        """See :class:`~smartproxy.upstream.discovery.interfaces.ITargetSource`."""
        self._watch.forget(self._file)
