"""The supervisor's end of the nursery: starts that process, and asks it to load a configuration and to fork workers.

::

    forking = Forking(reactor, (log_end, memory), on_ended, on_lost)
    forking.start()
    forking.ask_now({"do": "load"}, descriptor)     # before the event loop runs
    forking.watch()
    process = await forking.ask({"do": "fork", ...}, descriptor)
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NoReturn

from twisted.internet import defer
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from smartproxy.errors import WorkerFailed
from smartproxy.workers.nursery_messages import receive, send

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.python.failure import Failure

    from smartproxy.workers.memory import LimitsMemory

#: Variables by which a service manager knows its own process: no other one shall answer in its place.
_OF_THE_SUPERVISOR: Final = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}
)
#: Seconds that a start waits for ten thousand routes and five thousand certificates, on a slow machine.
_PATIENCE: Final = 120.0
#: Seconds that its end is waited for, without the event loop: a tenth of a second is usual, and several if it has just been
#: started on a busy machine. One that waits for a worker that does not end must not prevent the end of the supervisor.
_ENDING: Final = 10.0

log = Logger()


class Forking(FileDescriptor):
    """Starts the nursery, and asks it.

    :param inherited: the end of the log that the nursery and the workers send, and the memory that limits are held in.
    :param on_ended: called with the process number and exit code (negative: minus the signal) of a worker that has ended.
    :param on_lost: called with this object when the nursery has ended.
    :ivar is_retired: whether the nursery ends when its workers have.
    """

    def __init__(
        self,
        reactor: Any,
        inherited: tuple[socket.socket, LimitsMemory],
        on_ended: Callable[[int, int], object],
        on_lost: Callable[[Forking], object],
    ) -> None:
        super().__init__(reactor)
        self._clock = reactor
        self.is_retired = False
        self._inherited = inherited
        self._on_ended = on_ended
        self._on_lost = on_lost
        self._process: subprocess.Popen[bytes] | None = None
        self._end: socket.socket | None = None
        self._asked: deque[Deferred[object]] = deque()

    def start(self) -> None:
        """Start the process.

        :raises WorkerFailed: if it cannot be started.
        """
        end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        numbers = (theirs.fileno(), *(one.fileno() for one in self._inherited))
        reactor = type(self.reactor).__module__
        command = [sys.executable, "-P", "-m", "smartproxy.workers.nursery", reactor, *map(str, numbers)]
        environment = {name: value for name, value in os.environ.items() if name not in _OF_THE_SUPERVISOR}
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        try:
            # In a group of its own: Ctrl-C in a terminal is the supervisor's.
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command, pass_fds=numbers, env=environment, stdin=subprocess.DEVNULL, process_group=0
            )
        except OSError as why:
            end.close()
            raise WorkerFailed(f"the process that forks workers cannot be started: {why}") from why
        finally:
            theirs.close()
        self._end = end

    @property
    def is_running(self) -> bool:
        """Whether the process can be asked."""
        return self._end is not None

    def fileno(self) -> int:
        """The descriptor to watch."""
        return -1 if self._end is None else self._end.fileno()

    def ask_now(self, message: Mapping[str, object], *descriptors: int) -> object:
        """Ask, and wait for the answer; before :meth:`watch`.

        :raises WorkerFailed: with what went wrong there.
        """
        assert self._end is not None  # noqa: S101 - start() comes first
        self._end.settimeout(_PATIENCE)
        try:
            send(self._end, message, descriptors)
            received = receive(self._end)
        except OSError as why:
            raise WorkerFailed(f"the process that forks workers does not answer: {why}") from why
        if received is None:
            raise WorkerFailed("the process that forks workers has ended: see what it has printed")
        return _answer(received[0])

    def watch(self) -> None:
        """Handle what the process says from now on in the event loop."""
        assert self._end is not None  # noqa: S101 - start() comes first
        self._end.setblocking(False)
        self.connected = 1
        self.startReading()

    def ask(self, message: Mapping[str, object], *descriptors: int) -> Deferred[object]:
        """Ask. Fires with the answer, or fails with :class:`WorkerFailed`. The descriptors are sent at once."""
        if self._end is None:
            return fail(WorkerFailed("the process that forks workers has ended"))
        try:
            send(self._end, message, descriptors)
        except OSError as why:
            return fail(WorkerFailed(f"the process that forks workers cannot be asked: {why}"))
        asked: Deferred[object] = Deferred()
        self._asked.append(asked)
        return asked.addTimeout(_PATIENCE, self._clock).addErrback(self._not_answered)

    def _not_answered(self, why: Failure) -> NoReturn:
        """End a process that hangs, while it reads files for instance; it is started again."""
        if why.check(defer.TimeoutError) and self._process is not None:
            self._process.kill()
            raise WorkerFailed(f"the process that forks workers has not answered for {_PATIENCE:g} s")
        why.raiseException()
        raise AssertionError

    def connectionLost(self, reason: Failure) -> None:
        """Its channel cannot be read any more: as if it had ended."""
        super().connectionLost(reason)
        self.close()
        self._on_lost(self)

    def doRead(self) -> None:
        """Handle one message."""
        assert self._end is not None  # noqa: S101 - it is watched
        received = receive(self._end)
        if received is None:
            self.close()
            self._on_lost(self)
            return
        message = received[0]
        if "ended" in message:
            self._on_ended(int(str(message["ended"])), int(str(message["status"])))
            return
        asked = self._asked.popleft()
        try:
            asked.callback(_answer(message))
        except WorkerFailed:
            asked.errback()

    def retire(self) -> None:
        """Let the process end when its workers have."""
        self.is_retired = True
        self.ask({"do": "retire"}).addErrback(lambda why: log.debug("{why}", why=why))

    def close(self) -> None:
        """Let the process end; workers go on. What was asked and not answered fails."""
        end = self._end
        if end is None:
            return
        self.stopReading()
        self._end = None
        end.close()
        waiting, self._asked = self._asked, deque()
        for asked in waiting:
            asked.errback(WorkerFailed("the process that forks workers has ended"))
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(
                subprocess.TimeoutExpired
            ):  # it waits for a worker, and ends when that has
                process.wait(_ENDING)


def _answer(message: Mapping[str, object]) -> object:
    if "failed" in message:
        raise WorkerFailed(str(message["failed"]))
    return message.get("ok")
