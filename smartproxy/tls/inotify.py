"""Notifications of changes in directories, where the system has them (Linux, inotify).

They complement polling and do not replace it: network file systems send none, and a process may run out of watches.
A failure here is therefore logged at debug level and has no other effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.filepath import FilePath

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.inotify import INotify
    from twisted.internet.interfaces import IReactorFDSet

log = Logger()


class DirectoryNotifications:
    """Calls ``changed`` for every change in the directories that are watched.

    :param reactor: reads the inotify descriptor.
    """

    def __init__(self, reactor: IReactorFDSet, changed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._changed = changed
        self._source: INotify | None = None
        self._watched: set[str] = set()

    def watch(self, directories: set[str]) -> None:
        """Watch these directories and no others."""
        if directories == self._watched:
            return
        self.stop()
        try:
            self._begin(directories)
        except Exception as problem:  # no inotify, too many watches, a directory that was just removed
            log.debug("certificates are polled only, inotify failed: {problem}", problem=str(problem))
            self.stop()
        self._watched = directories

    def stop(self) -> None:
        """Stop watching."""
        source, self._source, self._watched = self._source, None, set()
        if source is not None:
            source.stopReading()
            source.connectionLost(connectionDone)

    def _begin(self, directories: set[str]) -> None:
        from twisted.internet import inotify  # noqa: PLC0415 - importing it fails on other systems

        source = self._source = inotify.INotify(self._reactor)
        source.startReading()
        mask = inotify.IN_CLOSE_WRITE | inotify.IN_CREATE | inotify.IN_DELETE | inotify.IN_MOVED
        for directory in directories:
            source.watch(FilePath(directory), mask, callbacks=[self._notified])

    def _notified(self, *_: object) -> None:
        self._changed()
