"""Notifications of changes in folders, where the system has them (Linux, inotify).

They complement polling and do not replace it: network file systems send none, and a process may run out of watches.
A failure here is therefore logged at debug level and has no other effect.

A watch belongs to a folder and not to its path. If the folder is renamed or removed, or a link to it is replaced, the
watch is of no use any more. So folders are given with their device and inode, and all watches are made anew if one of
these has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.filepath import FilePath

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.inotify import INotify
    from twisted.internet.interfaces import IReactorFDSet

#: Events (inotify(7)): written, attributes, moved, created, removed. Twisted's module with their names cannot be imported
#: on other systems.
_MASK: Final = 0x008 | 0x004 | 0x040 | 0x080 | 0x100 | 0x200 | 0x400 | 0x800
#: The folder itself was removed (IN_DELETE_SELF) or renamed (IN_MOVE_SELF).
_FOLDER_IS_GONE: Final = 0x400 | 0x800

log = Logger()


class DirectoryNotifications:
    """Calls ``changed`` for every change in the folders that are watched.

    :param reactor: reads the inotify descriptor.
    """

    def __init__(self, reactor: IReactorFDSet, changed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._changed = changed
        self._source: INotify | None = None
        self._watched: dict[str, tuple[int, int]] = {}

    def prepare(
        self, folders: Mapping[str, tuple[int, int]], pace: Callable[[], None]
    ) -> Callable[[], None] | None:
        """Watch these folders and no others, once the returned function is called in the reactor's thread.

        May itself be called in a thread: it takes a while with thousands of folders. Returns ``None`` if they are
        watched already.

        :param folders: with the device and inode of each.
        :param pace: called between two folders.
        """
        if folders == self._watched:
            return None
        watched = dict(folders)
        source = self._made(watched, pace)
        return lambda: self._use(source, watched)

    def stop(self) -> None:
        """Stop watching."""
        self._use(None, {})

    def _use(self, source: INotify | None, watched: dict[str, tuple[int, int]]) -> None:
        before, self._source, self._watched = self._source, source, watched
        if source is not None:
            source.startReading()
        if before is not None:
            _close(before)

    def _made(self, folders: Mapping[str, tuple[int, int]], pace: Callable[[], None]) -> INotify | None:
        try:
            source = _source(self._reactor)
        except Exception as problem:  # no inotify, or too many descriptors
            log.debug("files are polled only, inotify failed: {problem}", problem=str(problem))
            return None
        for folder in folders:
            pace()
            try:
                source.watch(FilePath(folder), _MASK, callbacks=[self._notified])
            except Exception as problem:  # too many watches, or a folder that was just removed
                log.debug("{folder} is polled only: {problem}", folder=folder, problem=str(problem))
        return source

    def _notified(self, _watch: object, _path: object, mask: int) -> None:
        if mask & _FOLDER_IS_GONE:
            self._watched = {}  # its path may be that of another folder now, even with the same inode
        self._changed()


def _source(reactor: IReactorFDSet) -> INotify:
    from twisted.internet.inotify import INotify  # noqa: PLC0415 - importing it fails on other systems

    class Source(INotify):
        def loseConnection(self) -> None:
            """Go on. Twisted calls this when one folder was removed, and would then watch none of the others."""

    return Source(reactor)


def _close(source: INotify) -> None:
    source.stopReading()
    source.connectionLost(connectionDone)
