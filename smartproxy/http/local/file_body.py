"""Sending a file, or a part of it, as fast as the client reads.

Where the connection is not encrypted, the kernel sends it (:mod:`smartproxy.http.send_file`). Else it is read and written in pieces.
Content that the kernel has in memory is read at once. Where a disk has to be waited for (``RWF_NOWAIT`` says so), it is read in a
thread, so that a slow disk does not hold up other connections. A descriptor is not closed while a thread reads it: its number
could be that of another file by then.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smartproxy.flow.threads import Call
    from smartproxy.http.local.files_below import OpenFile
    from smartproxy.http.send_file import FileSending

#: Bytes read and written at once.
PIECE: Final = 256 * 1024
#: Pieces sent before other connections get their turn, to a client that reads as fast as they are written.
_AT_ONCE: Final = 4
_NO_WAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)


class FileBody:
    """Sends ``length`` bytes of a file from ``start``, and closes it however that ends.

    :param send: has the kernel send the rest, if it can; see :meth:`~smartproxy.http.splice.Splicer.send_file`.
    :param write: writes a piece.
    :param ended: called when all is written.
    :param failed: called with the reason where not all could be read.
    :param call_soon: calls a function in a later event loop iteration that has time for it.
    :param in_thread: calls a function that may wait for a disk.
    """

    def __init__(
        self,
        file: OpenFile,
        start: int,
        length: int,
        send: Callable[[int, int, int, Callable[[int], None]], FileSending | None],
        write: Callable[[bytes | memoryview], object],
        ended: Callable[[], object],
        failed: Callable[[str], object],
        call_soon: Callable[[Callable[[], object]], object],
        in_thread: Call,
    ) -> None:
        self._file: OpenFile | None = file
        self._at = start
        self._left = length
        self._send = send
        self._sending: FileSending | None = None
        self._is_to_read = False
        self._write = write
        self._ended = ended
        self._failed = failed
        self._call_soon = call_soon
        self._in_thread = in_thread
        self._is_reading = False
        self._closing: OpenFile | None = None
        self._is_paused = False
        self._is_scheduled = False

    def pause(self) -> None:
        """Write no more."""
        self._is_paused = True

    def resume(self) -> None:
        """Write on. Called for the first time, it begins."""
        self._is_paused = False
        for _ in range(_AT_ONCE):
            if self._is_paused or self._is_reading or self._file is None or self._sending is not None:
                return
            self._step(self._file)
        if self._file is not None and self._sending is None:
            self._schedule()

    def close(self) -> None:
        """Stop, and close the file as soon as no thread reads it."""
        file, self._file = self._file, None
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.stop()
        if file is not None and not self._is_reading:
            file.close()
        elif file is not None:
            self._closing = file

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._is_scheduled = False
        if not self._is_paused:
            self.resume()

    def _step(self, file: OpenFile) -> None:
        """Have the rest sent, or write the next piece."""
        if not self._is_to_read:
            self._sending = self._send(file.fd, self._at, self._left, self._was_sent)
            if self._sending is not None:
                return
        self._is_to_read = False
        count = min(PIECE, self._left)
        data = _read_now(file.fd, count, self._at)
        if data is not None:
            self._got(data)
            return
        self._is_reading = True
        fd, at = file.fd, self._at
        self._in_thread(lambda: os.pread(fd, count, at)).addCallbacks(self._read, self._not_read)

    def _was_sent(self, left: int) -> None:
        """The kernel has sent the rest, but for so many bytes. The next ones are read, whatever was in the way."""
        self._sending = None
        self._is_to_read = True
        self._at += self._left - left
        self._left = left
        if left:
            self._schedule()
        else:
            self.close()
            self._ended()

    def _read(self, data: bytes) -> None:
        """A thread has read a piece."""
        self._is_reading = False
        if self._was_closed():
            return
        self._got(data)
        self._schedule()

    def _not_read(self, why: Failure) -> None:
        self._is_reading = False
        if not self._was_closed():
            self.close()
            self._failed(f"the file cannot be read: {why.value}")

    def _was_closed(self) -> bool:
        """Whether :meth:`close` was called while a thread was reading: close the file now."""
        closing, self._closing = self._closing, None
        if closing is not None:
            closing.close()
        return closing is not None

    def _got(self, data: bytes | memoryview) -> None:
        if not data:
            self.close()
            self._failed("the file has become shorter while it was sent")
            return
        self._at += len(data)
        self._left -= len(data)
        is_last = not self._left
        if is_last:
            self.close()
        self._write(data)
        if is_last:
            self._ended()


def _read_now(fd: int, count: int, at: int) -> memoryview | None:
    """What the kernel has in memory; ``None`` where it would have to wait for a disk, cannot tell, or fails.

    What fails here fails in the thread, too, which reports it.
    """
    buffer = bytearray(count)
    try:
        got = os.preadv(fd, [buffer], at, _NO_WAIT)
    except OSError:
        return None
    return memoryview(buffer)[:got]
