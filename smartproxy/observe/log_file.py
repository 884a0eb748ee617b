"""An append-only log file that never blocks its writer and never raises in it.

::

    file = LogFile("/var/log/smartproxy/access.log", clock, on_dropped=count)
    file.open()
    file.add("a line")      # never raises, never blocks
    file.flush()            # write what waits; also after 100 lines, or after 100 ms
    file.reopen()           # after log rotation has renamed the file

Lines are written together, because a system call for each would cost a busy proxy as much as to make the line. Each write is
of whole lines and with O_APPEND, so a reader never sees a partial line and several processes may share the file. A write that
would block (to a pipe whose reader does not keep up) is skipped. Dropped lines are counted, and reported once per five seconds:
a full disk must not flood the other log.

A removed file is created again within five seconds. A renamed file is still written to until :meth:`LogFile.reopen`, as
log rotation expects (``newsyslog``, ``logrotate`` without copytruncate).
"""

from __future__ import annotations

import os
import select
import stat
from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: The path that means standard output.
STDOUT = "-"
#: Seconds between two reports of dropped lines, and between two checks whether the file still exists.
INTERVAL = 5.0
#: Lines that are written together at the most, and the seconds that the first of them waits at the most.
BATCH, DELAY = 100, 0.1
#: Not world-readable, because the log has the addresses of clients; readable by its group, as Debian's logs are.
_MODE = 0o640
#: O_NONBLOCK, because opening a FIFO without a reader would block.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK

_NEWLINE = b"\n"[0]

log = Logger()


def open_to_append(path: str) -> int:
    """Open a log file, and create it if there is none; return its descriptor.

    :raises OSError: if it cannot be opened.
    """
    return os.open(path, _FLAGS, _MODE)


class LogFile:
    """Appends lines to ``path``.

    :param path: of a file, a FIFO or a device; :data:`STDOUT` is standard output.
    :param clock: for the delay; its seconds are monotonic.
    :param on_dropped: called for each line that could not be written.
    :param inherited: a descriptor of the file that another process has opened, for a user that may not open it. It is closed
        when the file is opened.
    """

    def __init__(
        self,
        path: str,
        clock: IReactorTime,
        on_dropped: Callable[[], object],
        inherited: int | None = None,
    ) -> None:
        self._path = path
        self._inherited = inherited
        self._clock = clock
        self._waiting: list[str] = []
        self._due: IDelayedCall | None = None
        self._on_dropped = on_dropped
        self._fd = -1
        self._poll: select.poll | None = None
        self._torn = False
        self._unreported = 0
        self._why = ""
        self._reported_at = self._checked_at = clock.seconds() - INTERVAL

    def open(self) -> None:
        """Open the file; also replaces a file that is already open, which gets the lines that wait.

        :raises OSError: if it cannot be opened; a file that was open stays open.
        """
        fd = os.dup(1) if self._path == STDOUT else self._opened()
        is_same = self._fd >= 0 and _is_same_file(self._fd, fd)
        self.close()
        self._fd = fd
        self._torn = self._torn and is_same
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            # O_NONBLOCK belongs to the open file description, which other processes may share with our standard
            # output. So it is not set; poll before each write instead.
            self._poll = select.poll()
            self._poll.register(fd, select.POLLOUT)

    def _opened(self) -> int:
        inherited, self._inherited = self._inherited, None
        try:
            opened = open_to_append(self._path)
        except PermissionError:
            if inherited is None:
                raise
            return inherited
        if inherited is not None:
            os.close(inherited)
        return opened

    def reopen(self) -> None:
        """Open the file that has the path now. If that fails, log a warning and continue with the old file."""
        try:
            self.open()
        except OSError as why:
            log.warn(
                "access log {path} cannot be reopened, the old file is still used: {why}",
                path=self._path,
                why=why,
            )

    def close(self) -> None:
        """Write what waits, and close the file. Lines added later are dropped."""
        self.flush()
        fd, self._fd, self._poll = self._fd, -1, None
        if fd >= 0:
            os.close(fd)
        if self._unreported:
            self._report()

    def add(self, line: str) -> None:
        """Write a line soon. ``line`` has no newline."""
        waiting = self._waiting
        waiting.append(line)
        if len(waiting) >= BATCH:
            self.flush()
        elif self._due is None:
            self._due = self._clock.callLater(DELAY, self._delay_over)

    def _delay_over(self) -> None:
        self._due = None
        self.flush()

    def flush(self) -> None:
        """Write the lines that wait."""
        due, self._due = self._due, None
        if due is not None:
            due.cancel()
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        now = self._clock.seconds()
        if now - self._checked_at >= INTERVAL:
            self._checked_at = now
            self._reopen_if_removed()
        for lines in self._writes(waiting):
            self._write(lines)
        if self._unreported and now - self._reported_at >= INTERVAL:
            self._reported_at = now
            self._report()

    def _writes(self, waiting: list[str]) -> Iterator[bytes]:
        """What is written at once: all, or what a pipe takes as a whole (PIPE_BUF, pipe(7))."""
        encoded = [line.encode() + b"\n" for line in waiting]
        if self._poll is None:
            yield b"".join(encoded)
            return
        together = b""
        for line in encoded:
            if len(together) + len(line) >= select.PIPE_BUF and together:
                yield together
                together = b""
            together += line
        yield together

    def _write(self, lines: bytes) -> None:
        # End the partial line that a full disk has left, so that the next one starts on a line of its own.
        data = b"\n" + lines if self._torn else lines
        written, why = 0, "only a part of the lines could be written"
        try:
            if self._poll is not None:
                _check_writable(self._poll, data)
            written = os.write(self._fd, data)
            self._torn = data[written - 1] != _NEWLINE
        except OSError as raised:
            why = str(raised)
        if written < len(data):
            self._why = why
            lost = min(data.count(b"\n", written), lines.count(b"\n"))
            self._unreported += lost
            for _ in range(lost):
                self._on_dropped()

    def _reopen_if_removed(self) -> None:
        if self._path == STDOUT or self._fd < 0:
            return
        try:
            exists = os.fstat(self._fd).st_nlink > 0
        except OSError:
            exists = False
        if not exists:
            self.reopen()

    def _report(self) -> None:
        log.warn(
            "access log {path}: {lost} lines were lost: {why}",
            path=self._path,
            lost=self._unreported,
            why=self._why,
        )
        self._unreported = 0


def _is_same_file(fd: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(fd, other)
    except OSError:
        return False


def _check_writable(poll: select.poll, lines: bytes) -> None:
    """Raise if writing ``lines`` to a pipe or a terminal could block.

    A pipe that poll reports as writable takes at least PIPE_BUF bytes without blocking (pipe(7)).

    :raises BlockingIOError: if it could block.
    """
    if not poll.poll(0):
        raise BlockingIOError("its reader does not keep up")
    if len(lines) >= select.PIPE_BUF:
        raise BlockingIOError("a line is longer than an atomic write to a pipe (PIPE_BUF)")
