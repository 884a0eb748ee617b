"""The log of the processes of a proxy: each sends its events to the supervisor, which logs them as its own.

::

    ours, theirs = log_sockets()
    RelayedLog(ours, reactor).start()       # in the supervisor
    log_to(theirs, "worker 2")              # in a worker, before it logs anything

An event is one datagram, so events of several processes do not mix, and a long one is cut: a line of JSON with its process,
level and namespace, and then its text. A process never waits for
the supervisor: what does not fit into the socket's buffer is dropped, counted, and reported with the next event.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import FileDescriptor
from twisted.logger import (
    ILogObserver,
    Logger,
    LogLevel,
    eventAsText,
    globalLogBeginner,
)
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.logger import LogEvent

#: Bytes of a text, and of a datagram, at most: that has to fit into the buffer (net.core.wmem_default is 212,992).
_LONGEST, _DATAGRAM = 60_000, 65_536
#: Events read in one turn of the event loop.
_MOST_AT_ONCE = 100


def log_sockets() -> tuple[socket.socket, socket.socket]:
    """The two ends of a log: of the supervisor, and of every other process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in (ours, theirs):
        end.setblocking(False)
    return ours, theirs


@implementer(ILogObserver)
class LogSender:
    """Sends events to the supervisor.

    :ivar process: the name of this process; a fork changes it.
    """

    def __init__(self, end: socket.socket, process: str) -> None:
        self.process = process
        self._end = end
        self._dropped = 0

    def __call__(self, event: LogEvent) -> None:
        """Send an event, as an ILogObserver."""
        level = event.get("log_level", LogLevel.info)
        if level is LogLevel.debug:
            return
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        self._send(level.name, str(event.get("log_namespace", "")), text)

    def _send(self, level: str, namespace: str, text: str) -> None:
        if self._dropped:
            text = f"{text} ({self._dropped} log events before this one were dropped)"
        head = json.dumps([self.process, level, namespace]).encode()
        # Cut as bytes: characters that JSON escapes, or that have several bytes, would make it longer than what is read.
        content = text.encode(errors="backslashreplace")[:_LONGEST]
        try:
            self._end.send(head + b"\n" + content)
        except OSError:  # the buffer is full, or the supervisor has ended
            self._dropped += 1
        else:
            self._dropped = 0


def log_to(end: socket.socket, process: str) -> LogSender:
    """Send everything that this process logs to the supervisor. Its standard output and error stay as they are."""
    sender = LogSender(end, process)
    globalLogBeginner.beginLoggingTo([sender], discardBuffer=True, redirectStandardIO=False)
    return sender


class RelayedLog(FileDescriptor):
    """Logs what other processes have sent.

    :param end: the supervisor's.
    """

    def __init__(self, end: socket.socket, reactor: Any) -> None:
        super().__init__(reactor)
        self._end = end
        self.connected = 1

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._end.fileno()

    def doRead(self) -> None:
        """Log what has arrived."""
        for _ in range(_MOST_AT_ONCE):
            try:
                received = self._end.recv(_DATAGRAM)
            except BlockingIOError:
                return
            head, _, content = received.partition(b"\n")
            process, level, namespace = json.loads(head)
            text = content.decode(errors="ignore")  # its last character may have been cut
            Logger(namespace=namespace).emit(
                LogLevel.lookupByName(level), "{process}: {text}", process=process, text=text
            )

    def close(self) -> None:
        """Log what is left, and read no more."""
        self.doRead()
        self.stopReading()
        self._end.close()
