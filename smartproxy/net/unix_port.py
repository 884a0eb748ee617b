"""A listening unix socket that belongs to one process.

It differs from Twisted's in its failures. Whatever prevents it is a ``CannotListenError``, and no lock file stays behind. A
socket file that was removed meanwhile does not prevent the port from being closed. It logs nothing.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.python.lockfile import FilesystemLock

from smartproxy.net.listening import BACKLOG, begin_to_accept

if TYPE_CHECKING:
    from socket import socket

    from twisted.internet.interfaces import IProtocolFactory

#: Only the user of the process, and root, may connect.
_MODE = 0o600


class UnixPort(unix.Port):
    """Listens on ``path``. The lock file ``PATH.lock`` names its process; the socket of one that has ended is replaced."""

    def __init__(self, path: str, factory: IProtocolFactory, reactor: Any) -> None:
        super().__init__(os.fsencode(path), factory, BACKLOG, _MODE, reactor)
        self._path = Path(path)

    def startListening(self) -> None:
        """Bind and listen.

        :raises CannotListenError: if the path cannot be had.
        """
        path = self._path
        lock = FilesystemLock(f"{path}.lock")
        try:
            if not lock.lock():
                raise CannotListenError(None, self._bindPath, "another process listens on it")
            try:
                opened = self._open(path)
            except BaseException:
                lock.unlock()
                raise
        except OSError as why:
            raise CannotListenError(None, self._bindPath, why.strerror or why) from why
        self.lockFile = lock
        begin_to_accept(self, opened)

    def _open(self, path: Path) -> socket:
        if path.is_socket():
            path.unlink()  # its process has ended: it would hold the lock
        opened: socket = self.createInternetSocket()
        try:
            opened.bind(str(path))
            path.chmod(self.mode)
            opened.listen(self.backlog)
        except BaseException:
            opened.close()
            raise
        return opened

    def connectionLost(self, reason: Any) -> None:
        """Close the socket and remove its files."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        if self.lockFile is not None:
            with contextlib.suppress(OSError, ValueError):  # it was removed or replaced meanwhile
                self.lockFile.unlock()
        tcp.Port.connectionLost(self, reason)

    def _logConnectionLostMsg(self) -> None:
        """Log nothing."""
