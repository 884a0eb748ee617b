"""Replaces the content of address files when they change: a new block list applies to the next connection.

::

    watch = AddressFileWatch(clock, call, reactor)
    watch.follow([file])                    # its content is replaced when the file changes

A file that cannot be used leaves the former content in place.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.errors import InvalidAddressFile
from smartproxy.files.states import changed_between
from smartproxy.files.watch import FileList, FileWatch
from smartproxy.flow.pace import Pace
from smartproxy.flow.threads import call_here
from smartproxy.security.address_files import read_address_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IReactorFDSet, IReactorTime

    from smartproxy.files.states import FileStates
    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import AddressFile

log = Logger()


class AddressFileWatch:
    """Replaces the content of address files that have changed.

    :param clock: schedules polls.
    :param call: calls what takes long, in a thread.
    :param reactor: reads inotify events; without it, files are only polled.
    """

    def __init__(
        self, clock: IReactorTime, call: Call = call_here, reactor: IReactorFDSet | None = None
    ) -> None:
        self._call = call
        self._files: dict[str, AddressFile] = {}
        #: Problems that were logged; each is logged once.
        self._logged: set[str] = set()
        self._watch: FileWatch[FileList] = FileWatch(clock, self._changed, call, reactor)
        self.start, self.stop, self.poll = self._watch.start, self._watch.stop, self._watch.poll

    def follow(self, files: Iterable[AddressFile]) -> None:
        """Watch these files, and no others, from now on."""
        self._files = {file.path: file for file in files}
        self._logged.clear()
        self._watch.follow(FileList({file.path: file.state for file in self._files.values()}))

    async def _changed(self, watched: FileList, before: FileStates, now: FileStates) -> None:
        for path in sorted(changed_between(before, now, Pace())):
            await self._read(watched, path)

    async def _read(self, watched: FileList, path: str) -> None:
        try:
            found = await self._call(partial(read_address_file, path))
        except InvalidAddressFile as invalid:
            if self._watch.is_current(watched):
                self._report(invalid.problems)
            return
        if self._watch.is_current(watched):
            file = self._files[path]
            file.current, file.state = found.current, found.state
            self._logged = {problem for problem in self._logged if not problem.startswith(f"{path}:")}
            log.info("address list read again: {file}", file=str(file))

    def _report(self, problems: list[str]) -> None:
        for problem in problems:
            if problem not in self._logged:
                self._logged.add(problem)
                log.error("address list not applied, the former one is kept: {problem}", problem=problem)
