"""Word from the system that something in a directory has changed, where the system gives it (Linux, inotify).

It is an addition to looking by oneself and no replacement: a file system in the network says nothing, and a process
may have run out of watches. So what fails here is logged for whoever looks for it, and otherwise let be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.filepath import FilePath

if TYPE_CHECKING:
    from collections.abc import Callable

log = Logger()


class Notices:
    """Calls ``changed`` for every change in the directories that are watched.

    :param reactor: what the descriptor is read by.
    """

    def __init__(self, reactor: Any, changed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._changed = changed
        self._source: Any = None
        self._watched: set[str] = set()

    def watch(self, directories: set[str]) -> None:
        """Watch these and no others."""
        if directories == self._watched:
            return
        self.stop()
        try:
            self._begin(directories)
        except Exception as problem:  # no inotify, no more watches, a directory that has just gone
            log.debug("no notices of changed certificates: {problem}", problem=str(problem))
            self.stop()
        self._watched = directories

    def stop(self) -> None:
        """Watch nothing."""
        source, self._source, self._watched = self._source, None, set()
        if source is not None:
            source.stopReading()
            source.connectionLost(None)

    def _begin(self, directories: set[str]) -> None:
        from twisted.internet import inotify  # noqa: PLC0415 - importing it fails where there is none

        self._source = inotify.INotify(self._reactor)
        self._source.startReading()
        mask = inotify.IN_CLOSE_WRITE | inotify.IN_CREATE | inotify.IN_DELETE | inotify.IN_MOVED
        for directory in directories:
            self._source.watch(FilePath(directory), mask, callbacks=[self._notified])

    def _notified(self, *_: object) -> None:
        self._changed()
