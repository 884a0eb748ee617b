"""A listening unix socket that belongs to one process.

It differs from Twisted's in its failures. Whatever prevents it is a ``CannotListenError``, and no lock file stays behind. A
socket file that was removed meanwhile does not prevent the port from being closed. It logs nothing.

The lock is one of the kernel, which ends with its process. Twisted's names a process by its number, which another process may have
after a restart; in a container each start has the number 1, and would take the lock of the one before for its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError

from smartproxy.net.listening import BACKLOG, begin_to_accept

if TYPE_CHECKING:
    from socket import socket

    from twisted.internet.interfaces import IProtocolFactory

#: Only the user of the process, and root, may connect.
_MODE = 0o600


class UnixPort(unix.Port):
    """Listens on ``path``. The process has locked the file ``PATH.lock``; the socket of one that has ended is replaced."""

    def __init__(self, path: str, factory: IProtocolFactory, reactor: Any) -> None:
        super().__init__(os.fsencode(path), factory, BACKLOG, _MODE, reactor)
        self._path = Path(path)
        self._lock: _FileLock | None = None

    def startListening(self) -> None:
        """Bind and listen.

        :raises CannotListenError: if the path cannot be had.
        """
        path = self._path
        try:
            lock = _FileLock.of(Path(f"{path}.lock"))
            if lock is None:
                raise CannotListenError(None, self._bindPath, "another process listens on it")
            try:
                opened = self._open(path)
            except BaseException:
                lock.release()
                raise
        except OSError as why:
            raise CannotListenError(None, self._bindPath, why.strerror or why) from why
        self._lock = lock
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
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
        tcp.Port.connectionLost(self, reason)

    def _logConnectionLostMsg(self) -> None:
        """Log nothing."""


class _FileLock:
    """A file that this process has locked."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def of(cls, path: Path) -> _FileLock | None:
        """The lock; ``None`` while another process has it.

        :raises OSError: if the file cannot be made.
        """
        if path.is_symlink():
            path.unlink()  # Twisted's, of a process that has ended
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(path, descriptor):
                    return cls(path, descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # its former holder has removed it meanwhile

    def release(self) -> None:
        """Remove the file, and unlock it."""
        if _is_at(self._path, self._descriptor):
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self._descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one that ``path`` names."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
