"""Reports a failed start: its reason on standard error, its exit code, and no pid file.

::

    report = StartReport(pid_file, daemon=True)
    report.arm()                # before twistd forks
    report.fail(3, "cannot listen on 127.0.0.1:80: ...")    # raises SystemExit
    report.succeed()            # when the event loop runs

twistd becomes a daemon by forking, and its first process waits for the result of the start on a pipe. It reports an
exception as its representation, cut to 100 bytes, with exit code 1. After ``sys.exit``, which twistd calls itself where it
may not become another user, nothing is written, and the process waits for ever, because it holds the writing end open. So
there is a second pipe, which the first process reads in a hook that Python calls after a fork: until the daemon has
written, or has ended for whatever reason, which is the end of the file. On a failure that process exits there.

A start can also fail in twistd's own code, which knows nothing of this: an exception or ``sys.exit``. The hooks for unhandled
exceptions and for the exit of the interpreter report that.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import traceback
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from twisted.logger import ILogObserver, Logger, formatEvent, globalLogPublisher
from zope.interface import implementer

if TYPE_CHECKING:
    from types import TracebackType

    from twisted.logger import LogEvent

#: Exit codes: wrong usage or an invalid configuration, a port that cannot be bound, and any other failure.
FAILED, INVALID, UNBOUND = 1, 2, 3

#: What the daemon writes when it runs. Everything else is an exit code, and then the lines to print.
_RUNS = b"0"
_PREFIX = "twistd smartproxy: cannot start: "

log = Logger()


class StartState(Enum):
    """The progress of a start."""

    IN_PROGRESS = auto()
    REPORTED = auto()


@implementer(ILogObserver)
class StartReport:
    """Reports how one start of the process ended.

    :param pid_file: an absolute path, or empty without one.
    :param daemon: whether twistd will fork.
    """

    def __init__(self, pid_file: str = "", *, daemon: bool = False) -> None:
        self._pid_file = pid_file
        self._daemon = daemon
        self._first_process = os.getpid()
        self._state = StartState.REPORTED
        self._pipe: tuple[int, int] | None = None
        self._excepthook = sys.excepthook
        self._last_logged = ""

    def arm(self) -> None:
        """Report from now on whatever ends the process, until :meth:`succeed`."""
        self._state = StartState.IN_PROGRESS
        self._excepthook, sys.excepthook = sys.excepthook, self._on_exception
        atexit.register(self._on_exit)
        globalLogPublisher.addObserver(self)
        if self._daemon:
            self._pipe = os.pipe()
            os.register_at_fork(after_in_parent=self._after_fork)

    def succeed(self) -> None:
        """The event loop runs: let the first process exit with 0."""
        if self._state is StartState.IN_PROGRESS:
            self._disarm()
            self._tell(_RUNS)

    def fail(self, code: int, *lines: str) -> NoReturn:
        """Report a failure and exit.

        :param lines: for standard error. The log file of a daemon gets them, too.
        """
        if self._is_daemon():
            for line in lines:
                log.critical("cannot start: {why}", why=line)
        self._report(code, lines)
        sys.exit(code)

    # -- in the process that starts --------------------------------------------------------------------

    def _report(self, code: int, lines: tuple[str, ...]) -> None:
        self._disarm()
        self._remove_pid_file()
        if self._is_daemon():
            self._tell("\n".join((str(code), *lines)).encode())
        else:
            _print(lines)

    def _is_daemon(self) -> bool:
        return os.getpid() != self._first_process

    def _disarm(self) -> None:
        if self._state is StartState.IN_PROGRESS:
            self._state = StartState.REPORTED
            sys.excepthook = self._excepthook
            atexit.unregister(self._on_exit)
            globalLogPublisher.removeObserver(self)

    def _tell(self, message: bytes) -> None:
        if self._pipe is None:
            return
        (reader, writer), self._pipe = self._pipe, None
        os.close(reader)
        with contextlib.suppress(OSError):  # the first process was killed
            while message:
                message = message[os.write(writer, message) :]
        os.close(writer)

    def _on_exception(
        self, kind: type[BaseException], raised: BaseException, where: TracebackType | None
    ) -> None:
        """Report an exception of twistd: a file that it cannot write, for example. Of a bug, keep the traceback."""
        if isinstance(raised, KeyboardInterrupt):
            self._report(FAILED, (f"{_PREFIX}interrupted",))
            return  # Python now ends by the signal
        if not isinstance(raised, OSError):
            if self._is_daemon():
                log.critical("cannot start: {why}", why="".join(traceback.format_exception(raised)))
            self._excepthook(kind, raised, where)
        self._report(FAILED, (f"{_PREFIX}{raised or kind.__name__}",))

    def _on_exit(self) -> None:
        """Report ``sys.exit`` of twistd, which has logged the reason before."""
        self._report(FAILED, (f"{_PREFIX}{self._last_logged}",) if self._last_logged else ())

    def __call__(self, event: LogEvent) -> None:
        """Remember what is logged, as an ILogObserver."""
        self._last_logged = formatEvent(event)

    # -- in the first process --------------------------------------------------------------------------

    def _after_fork(self) -> None:
        """Wait for the daemon's report. Python calls this in the parent of every fork."""
        if self._is_daemon() or self._pipe is None:
            return
        (reader, writer), self._pipe = self._pipe, None
        os.close(writer)
        with os.fdopen(reader, "rb") as report:
            told = report.read()
        if told != _RUNS:
            code, *lines = told.decode().split("\n")
            if not code:  # the daemon was killed
                lines = [f"{_PREFIX}the process ended before it was running"]
                with contextlib.suppress(OSError):
                    Path(self._pid_file).unlink()  # not another's: twistd has looked before
            _print(tuple(lines))
            os._exit(int(code or FAILED))  # Python ignores SystemExit here

    def _remove_pid_file(self) -> None:
        """Remove the pid file, if it is this process's."""
        file = Path(self._pid_file)
        with contextlib.suppress(OSError, ValueError):
            if int(file.read_text(encoding="ascii")) == os.getpid():
                file.unlink()


def _print(lines: tuple[str, ...]) -> None:
    """Print to the standard error that the process was started with: twistd redirects ``sys.stderr`` to the log."""
    stream = sys.__stderr__
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.write("".join(f"{line}\n" for line in lines))
            stream.flush()
