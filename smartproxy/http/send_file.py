"""A part of a file, sent by the kernel (sendfile(2)): it never enters this process.

The socket is lent for it, as for :mod:`smartproxy.http.splice`. It goes as far as the kernel has the file in memory: to wait for a disk
would hold up all other connections. What is left is then read in the usual way, which also finds out what is wrong.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from smartproxy.http.written_end import WrittenEnd

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from smartproxy.net.poller import Poller
    from smartproxy.net.stream import Stream

#: Bytes that are sent at once.
PIECE: Final = 256 * 1024
#: Pieces sent in one turn at the most, so that a fast transfer does not delay other connections: 2 MiB. Beside many others, one.
_TURNS: Final = 8
_NO_WAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)


class FileSending:
    """Sends ``left`` bytes of a file from ``at``.

    :param moved: called with each number of bytes that the socket has taken.
    :param ended: called with the number of bytes that are left, once the socket is given back.
    """

    def __init__(
        self,
        fd: int,
        at: int,
        left: int,
        sink: Stream,
        poller: Poller,
        moved: Callable[[int], None],
        ended: Callable[[int], None],
    ) -> None:
        self.sink = sink
        self._fd = fd
        self._at = at
        self._left = left
        self._poller = poller
        self._moved = moved
        self._ended = ended
        self._is_over = False
        self._to: socket.SocketType

    def begin(self) -> bool:
        """Borrow the socket. Returns whether it could be had."""
        if not _is_in_memory(self._fd, self._at, min(PIECE, self._left)):
            return False
        to = self.sink.lend(WrittenEnd(self))
        if to is None:
            return False
        self._to = to
        # Not at once: who has begun it is to know of it before it ends.
        self._poller.rearm(to.fileno())
        return True

    def stop(self) -> None:
        """Give the socket back."""
        if not self._is_over:
            self._is_over = True
            self.sink.take_back()

    def pump(self) -> None:
        """Send what the socket takes, within the limit of a turn."""
        for turn in range(_TURNS):
            if self._is_over:
                return  # ended by who was told, or with the connection
            if turn and self._poller.is_over():
                break  # one piece is always sent, whatever the time is
            try:
                may_go_on = self._send()
            except BlockingIOError:
                return
            except OSError:  # of the file or of the connection: who reads or writes next finds out
                may_go_on = False
            if not may_go_on and not self._is_over:
                self.stop()
                self._ended(self._left)
                return
        if not self._is_over:
            self._poller.rearm(self._to.fileno())

    def _send(self) -> bool:
        """Send a piece. Returns whether more can be sent."""
        count = min(PIECE, self._left)
        if not _is_in_memory(self._fd, self._at, count):
            return False
        sent = os.sendfile(self._to.fileno(), self._fd, self._at, count)
        self._at += sent
        self._left -= sent
        if sent:
            self._moved(sent)
        return sent > 0 and self._left > 0


def _is_in_memory(fd: int, at: int, count: int) -> bool:
    """Whether the kernel has a part of a file in memory, as far as its two ends show: it reads ahead in longer parts than this."""
    byte = bytearray(1)
    try:
        return all(os.preadv(fd, [byte], where, _NO_WAIT) for where in (at, at + count - 1))
    except OSError:  # it has not, or cannot tell
        return False
