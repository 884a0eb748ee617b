"""Replaces the content of address files when they change: a new block list applies to the next connection.

::

    watch = AddressFileWatch(clock, call, reactor)
    watch.follow([file])                    # its content is replaced when the file changes

A file that cannot be used leaves the former content in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.files.content import ContentWatch
from smartproxy.flow.threads import call_here
from smartproxy.security.address_files import read_address_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IReactorFDSet, IReactorTime

    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import AddressFile

log = Logger()


class AddressFileWatch(ContentWatch["AddressFile"]):
    """Replaces the content of address files that have changed."""

    def __init__(
        self, clock: IReactorTime, call: Call = call_here, reactor: IReactorFDSet | None = None
    ) -> None:
        super().__init__(clock, call, reactor)

    def follow(self, files: Iterable[AddressFile]) -> None:
        """Watch these files, each once, and no others, from now on."""
        by_path = {file.path: file for file in files}
        super().follow(by_path[path] for path in sorted(by_path))

    def _read(self, file: AddressFile) -> AddressFile:
        return read_address_file(file.path)

    def _use(self, file: AddressFile, found: AddressFile) -> None:
        file.current = found.current
        log.info("address list read again: {file}", file=str(file))

    def _log_problem(self, problem: str) -> None:
        log.error("address list not applied, the former one is kept: {problem}", problem=problem)
