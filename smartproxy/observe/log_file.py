"""A file that lines are added to, and that can never stop or slow down those who add them.

::

    file = LogFile("/var/log/smartproxy/access.log", clock, note_lost=count)
    file.open()
    file.add("a line")      # never raises, never waits
    file.reopen()           # after the file has been moved away

One line is one write with O_APPEND, so a reader never sees half of one and several processes may share the file. A write
that would have to wait (a pipe that nobody reads) is not made. What could not be written is counted, and told
once in five seconds: a full disk is news once, not a thousand times a second.

A file that has been removed is made anew when that is noticed, within five seconds; one that has been moved away is
written on until :meth:`LogFile.reopen`, as log rotation wants it (``newsyslog``, ``logrotate`` without copytruncate).
"""

from __future__ import annotations

import os
import select
import stat
from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

#: Means standard output, as a path.
STDOUT = "-"
#: Seconds between two lines about what was lost, and between two looks whether the file is still there.
INTERVAL = 5.0
#: Readable by its group, as the logs of Debian are: the addresses of clients stand in it.
_MODE = 0o640
#: O_NONBLOCK for the sake of a FIFO: without a reader, opening it would wait for one.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK

log = Logger()


class LogFile:
    """Lines, added to ``path``.

    :param path: of a file, a FIFO or a device; :data:`STDOUT` is the process's standard output.
    :param clock: monotonic seconds.
    :param note_lost: called for each line that could not be written.
    """

    def __init__(self, path: str, clock: Callable[[], float], note_lost: Callable[[], object]) -> None:
        self._path = path
        self._clock = clock
        self._note_lost = note_lost
        self._fd = -1
        self._ready: select.poll | None = None
        self._torn = False
        self._untold = 0
        self._why = ""
        self._told_at = self._looked_at = clock() - INTERVAL

    def open(self) -> None:
        """Begin.

        :raises OSError: where it cannot be opened.
        """
        fd = os.dup(1) if self._path == STDOUT else os.open(self._path, _FLAGS, _MODE)
        self.close()
        self._fd = fd
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            # Standard output may be a pipe that others share: making it non-blocking would do so for them,
            # too. So it is asked each time.
            self._ready = select.poll()
            self._ready.register(fd, select.POLLOUT)

    def reopen(self) -> None:
        """Go on in the file that has the path now. Where there can be none, the old one goes on."""
        try:
            self.open()
        except OSError as why:
            log.warn(
                "access log {path} cannot be reopened, the old file is still used: {why}",
                path=self._path,
                why=why,
            )

    def close(self) -> None:
        """It is over; what is added from now on is lost."""
        fd, self._fd, self._ready = self._fd, -1, None
        if fd >= 0:
            os.close(fd)
        if self._untold:
            self._tell()

    def add(self, line: str) -> None:
        """One line, without its end."""
        now = self._clock()
        if now - self._looked_at >= INTERVAL:
            self._looked_at = now
            self._see_whether_it_is_there()
        try:
            self._write(line.encode() + b"\n")
        except OSError as why:
            self._note_lost()
            self._untold += 1
            self._why = str(why)
        if self._untold and now - self._told_at >= INTERVAL:
            self._told_at = now
            self._tell()

    def _write(self, line: bytes) -> None:
        if self._ready is not None:
            _check_takes(self._ready, line)
        if self._torn:
            line = b"\n" + line
        written = os.write(self._fd, line)
        self._torn = written < len(line)
        if self._torn:
            raise OSError("only a part of a line could be written")

    def _see_whether_it_is_there(self) -> None:
        if self._path == STDOUT:
            return
        try:
            there = os.fstat(self._fd).st_nlink > 0
        except OSError:
            there = False
        if not there:
            self.reopen()

    def _tell(self) -> None:
        log.warn(
            "access log {path}: {lost} lines were lost: {why}",
            path=self._path,
            lost=self._untold,
            why=self._why,
        )
        self._untold = 0


def _check_takes(ready: select.poll, line: bytes) -> None:
    """:raises BlockingIOError: where writing ``line`` to a pipe or a terminal would wait (pipe(7), PIPE_BUF)."""
    if not ready.poll(0):
        raise BlockingIOError("its reader does not keep up")
    if len(line) >= select.PIPE_BUF:
        raise BlockingIOError("a line is longer than a pipe takes at once")
