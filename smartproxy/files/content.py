"""Files whose content is a part of the plan in force: read again when they have changed, and used in one step.

A file that cannot be used (missing, empty, broken) leaves the former content in place; each problem is logged once.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from smartproxy.errors import InvalidContent
from smartproxy.files.states import changed_between
from smartproxy.files.watch import POLL_INTERVAL, FileList, FileWatch
from smartproxy.flow.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IReactorFDSet, IReactorTime

    from smartproxy.files.states import FileStates
    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import FileState


class ContentFile(Protocol):
    """A file that is watched.

    :ivar state: of the file, before it was read.
    """

    path: str
    state: FileState | None


FileT = TypeVar("FileT", bound=ContentFile)


class ContentWatch(Generic[FileT]):
    """Replaces the content of files that have changed.

    :param clock: schedules polls.
    :param call: calls what takes long, in a thread.
    :param reactor: reads inotify events; without it, files are only polled.
    :param interval: seconds between two polls.
    """

    def __init__(
        self,
        clock: IReactorTime,
        call: Call,
        reactor: IReactorFDSet | None,
        interval: float = POLL_INTERVAL,
    ) -> None:
        self._call = call
        self._files: list[FileT] = []
        #: Problems that were logged; each is logged once.
        self._logged: set[str] = set()
        self._watch: FileWatch[FileList] = FileWatch(clock, self._changed, call, reactor, interval=interval)
        self.start, self.stop, self.poll = self._watch.start, self._watch.stop, self._watch.poll

    def follow(self, files: Iterable[FileT]) -> None:
        """Watch these files, and no others, from now on."""
        self._files = list(files)
        self._logged.clear()
        self._watch.follow(FileList({file.path: file.state for file in self._files}))

    async def _changed(self, watched: FileList, before: FileStates, now: FileStates) -> None:
        changed = changed_between(before, now, Pace())
        for file in self._files:
            if file.path in changed:
                await self._read_again(watched, file)

    async def _read_again(self, watched: FileList, file: FileT) -> None:
        try:
            found = await self._call(partial(self._read, file))
        except InvalidContent as invalid:
            if self._watch.is_current(watched):
                self._report(invalid.problems)
            return
        if self._watch.is_current(watched):
            file.state = found.state
            self._logged = {problem for problem in self._logged if not problem.startswith(f"{file.path}:")}
            self._use(file, found)

    def _report(self, problems: list[str]) -> None:
        for problem in problems:
            if problem not in self._logged:
                self._logged.add(problem)
                self._log_problem(problem)

    def _read(self, file: FileT) -> FileT:
        """What ``file`` contains now; called in a thread.

        :raises InvalidContent: where it cannot be used.
        """
        raise NotImplementedError

    def _use(self, file: FileT, found: FileT) -> None:
        """Put what was found into ``file``, and log that."""
        raise NotImplementedError

    def _log_problem(self, problem: str) -> None:
        """Log why a file was not applied."""
        raise NotImplementedError
