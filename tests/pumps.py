"""A poller driven by hand: real sockets over loopback, a clock that is a test's, and no reactor.

::

    pump = Pump(self)
    near, far = pump.connection()       # two real, connected TCP sockets
    ...
    pump.settle()                       # until nothing moves any more
    pump.until(lambda: far.received)    # or until something is true

Waiting is for readiness of descriptors, never for time to pass: :meth:`Pump.until` gives up only where what it
waits for cannot come.
"""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import struct
import termios
from pathlib import Path

from twisted.internet.error import ConnectionAborted
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from smartproxy.net.poller import Poller

#: Seconds without any event after which nothing moves: far more than loopback takes to deliver; and where
#: bytes are under way, far more than a delayed acknowledgement takes, which may hold them up (tcp(7)).
_QUIET, _QUIET_UNDER_WAY = 0.001, 0.06
#: Seconds of each quiet turn of a reactor while bytes are on their way to a far end that reads.
_QUIET_TURN = 0.005
#: Rounds without what is waited for, each of them quiet, after which it will not come.
_PATIENCE = 500
#: Turns of a reactor in which nothing moves, after which nothing will.
_QUIET_TURNS = 60


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _unacknowledged(fd: int) -> int:
    try:
        return struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))[0]
    except OSError:
        return 0  # closed under its owner, by a test of just that


def _peer(sock: socket.socket) -> object:
    try:
        return sock.getpeername()
    except OSError:
        return None  # reset


def _acknowledge(fd: int) -> None:
    """Have the kernel send the acknowledgement that it delays: nothing else is waited for as long (tcp(7))."""
    with contextlib.suppress(OSError):
        sock = socket.socket(fileno=fd)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        finally:
            sock.detach()


class HandReactor(Clock):
    """A reactor that only remembers what it was asked to watch, and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[object] = set()

    def addReader(self, reader: object) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: object) -> None:
        """There is none."""

    def getDelayedCalls(self):
        return self.calls


class Far:
    """The far end of a connection: it writes all it is given, and reads unless told not to."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.reading = True
        self.received = b""
        self.ended = False
        self._broken = False
        self._out = bytearray()
        self._fin = False

    @property
    def was_reset(self) -> bool:
        """Whether a RST has come, before a FIN or after it."""
        if not self._broken and self.sock.fileno() >= 0:
            self._broken = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        return self._broken

    @property
    def waiting(self) -> int:
        """Bytes that the kernel has not taken."""
        return len(self._out)

    def write(self, data: bytes) -> None:
        self._out += data
        self.step()

    def fin(self) -> None:
        self._fin = True
        self.step()

    def rst(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """As a program does that ends: a RST by itself where something is unread."""
        self.sock.close()

    def step(self) -> bool:
        """Move what can be moved now. Whether anything did."""
        if self.sock.fileno() < 0:
            return False
        return self._send() | self._receive()

    def _send(self) -> bool:
        moved = False
        try:
            while self._out:
                taken = self.sock.send(memoryview(self._out)[:262144])
                del self._out[:taken]
                moved = True
        except BlockingIOError:
            return moved
        except OSError:
            self._broken = True
            self._out.clear()
        if self._fin:
            self._fin = False
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
            moved = True
        return moved

    def _receive(self) -> bool:
        if not self.reading or self.ended:
            return False
        try:
            data = self.sock.recv(262144)
        except BlockingIOError:
            return False
        except OSError:
            moved, self._broken = not self._broken, True
            return moved
        self.received += data
        self.ended = not data and not self._broken
        return bool(data) or self.ended


class Ends:
    """The far ends of connections."""

    def __init__(self) -> None:
        self.far: list[Far] = []

    def connection(self, *, buffers: int | None = None) -> tuple[socket.socket, Far]:
        """Two ends of a connection: the near one non-blocking and nobody's yet.

        :param buffers: of the kernel, both ends, in bytes.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            away = socket.socket()
            if buffers is not None:
                for sock in (listening, away):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
            away.connect(listening.getsockname())
            near, _ = listening.accept()
        near.setblocking(False)
        return near, self.keep(away)

    def keep(self, sock: socket.socket) -> Far:
        far = Far(sock)
        self.far.append(far)
        return far

    def unacknowledged(self, far: Far) -> int:
        """Bytes that the near end has not acknowledged: a RST of the far end drops them."""
        return _unacknowledged(far.sock.fileno())


class Pump(Ends):
    """A poller, what it is driven by, and the far ends of its connections.

    :param case: the test, which everything is closed after.
    """

    def __init__(self, case) -> None:
        self.reactor = HandReactor()
        self.poller = Poller(self.reactor, self.reactor.seconds)
        self.poller.start()
        super().__init__()
        self.stopped = False
        case.addCleanup(self.close)

    def turn(self) -> bool:
        """One turn of a reactor. Whether anything moved."""
        called = bool(self.reactor.calls) and self.reactor.calls[0].getTime() <= self.reactor.seconds()
        self.reactor.advance(0)
        ready = bool(select.select([self.poller], [], [], 0)[0])
        if ready:
            self.poller.doRead()
        moved = sum(far.step() for far in self.far)
        return bool(moved) or ready or called

    def settle(self) -> None:
        """Until nothing moves any more."""
        for _ in range(100_000):
            if not self.turn() and not self._stirs():
                return
        raise AssertionError("it never comes to rest")

    def until(self, is_so) -> None:
        """Until it is so."""
        quiet = 0
        while not is_so():
            quiet = quiet if self.turn() else quiet + 1
            if quiet and not self._stirs() and quiet > _PATIENCE:
                raise AssertionError("it never comes to be so")

    def _stirs(self) -> bool:
        reading = [far.sock for far in self.far if far.sock.fileno() >= 0 and far.reading and not far.ended]
        writing = [far.sock for far in self.far if far.sock.fileno() >= 0 and far.waiting]
        reading = [sock for sock in reading if not self._is_reset(sock)]
        quiet = _QUIET_UNDER_WAY if self._under_way() else _QUIET
        return any(select.select([self.poller, *reading], writing, [], quiet))

    def _under_way(self) -> bool:
        """Whether some kernel buffer holds what has not been acknowledged."""
        sockets = [far.sock.fileno() for far in self.far if far.sock.fileno() >= 0]
        sockets += self.poller._watched
        for fd in sockets:
            _acknowledge(fd)
        return any(_unacknowledged(fd) for fd in sockets)

    def _is_reset(self, sock: socket.socket) -> bool:
        return any(far.sock is sock and far.was_reset for far in self.far)

    def close(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.poller.stop()
        for far in self.far:
            far.sock.close()


class ReactorPump(Ends):
    """One of Twisted's reactors, turned by hand, and the far ends of connections.

    :param case: the test, which everything is closed after.
    """

    def __init__(self, case, reactor) -> None:
        super().__init__()
        self.reactor = reactor
        self._own = set(reactor.getReaders())
        case.addCleanup(self.close)

    def watched(self):
        """What the reactor watches, but for what is its own."""
        every = [*self.reactor.getReaders(), *self.reactor.getWriters()]
        return [each for each in every if each not in self._own]

    def turn(self) -> bool:
        """One turn. Whether a far end moved."""
        self.reactor.iterate(0)
        return bool(sum(far.step() for far in self.far))

    def until(self, is_so) -> None:
        """Until it is so."""
        quiet = 0
        while not is_so():
            quiet = 0 if self.turn() else quiet + 1
            if quiet > _PATIENCE * _QUIET_TURNS:
                raise AssertionError("it never comes to be so")

    def settle(self) -> None:
        """Until nothing has moved for a time that is long for loopback, longer where bytes are on their way."""
        quiet = 0
        while quiet < _QUIET_TURNS:
            quiet = 0 if self.turn() else quiet + 1
            if quiet > _QUIET_TURNS // 2:
                reading = [
                    far.sock for far in self.far if far.sock.fileno() >= 0 and far.reading and not far.ended
                ]
                select.select(reading, [], [], _QUIET_TURN if self._under_way(reading) else _QUIET)

    def _under_way(self, reading) -> bool:
        """Whether the kernel holds bytes for a far end that reads: a busy kernel delivers them later."""
        names = {sock.getsockname() for sock in reading}
        near = [each.socket for each in self.watched() if each.fileno() >= 0]
        return any(_unacknowledged(sock.fileno()) and _peer(sock) in names for sock in near)

    def close(self) -> None:
        for each in self.watched():
            each.connectionLost(Failure(ConnectionAborted()))
        for far in self.far:
            far.sock.close()
