"""The relay for plain sockets on Linux: zero copy for what is large, one small copy for what is small.

::

            recv_into + send             up to 64 KiB a read
    socket ====================> socket
            splice  pipe  splice         after a read of 16 KiB or more, until there is nothing to read

A small message costs two system calls either way, and copying it needs no pipe; a large one never enters
this process. So an idle connection holds two sockets and nothing else, and a pipe is lent only while a
direction is busy.

Each :class:`_Side` is a socket, and what is to be written to it: bytes that the kernel did not take
(``pending``) or the contents of its ``pipe``. :meth:`_Side.pump` moves from one side to the other until one
has no more to give or the other does not take: back-pressure is that nobody reads. The sockets are watched
edge-triggered, so ``readable`` and ``writable`` remember what the last event said.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smartproxy.model.outcome import CloseReason
from smartproxy.net.liveness import socket_gone
from smartproxy.net.poller import BROKEN, FIN_SEEN, READABLE, WRITABLE, Poller
from smartproxy.net.stream import Detached, reset
from smartproxy.relays.interfaces import IRelay

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smartproxy.model.record import ConnectionRecord
    from smartproxy.relays.pipes import Pipe, PipePool

#: Bytes of a read that is copied. The buffer is reused: a fresh object of this size would be mapped and
#: faulted in for every read.
_COPY = 64 * 1024
#: Bytes that are the sign of a bulk transfer.
_BULK = 16 * 1024
#: Reads a turn and direction: at most 8 MiB before the others have their turn.
_TURNS = 8
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK if hasattr(os, "splice") else 0

#: Copies go through one buffer: no turn is ever interrupted by another.
_buffer = memoryview(bytearray(_COPY))


def supported() -> bool:
    """Whether this system can splice."""
    return hasattr(os, "splice") and hasattr(select, "epoll")


class _Side:
    """One socket, and what waits to be written to it.

    :ivar count: told how many bytes were written to this side, and when.
    :ivar uncounted: bytes at the front of ``pending`` that are not payload (a PROXY header).
    :ivar ended: a FIN has come from it. :ivar finished: it has been sent one.
    :ivar cut: it was reset, and what is left of its bytes is passed on before that is.
    """

    __slots__ = (
        "bulk", "count", "cut", "ended", "fin_seen", "finished", "level", "peer", "pending", "pipe", "readable",
        "relay", "sock", "uncounted", "writable",
    )  # fmt: skip

    peer: _Side

    def __init__(self, relay: SpliceRelay, given: Detached, count: Callable[[int, float], None]) -> None:
        self.relay = relay
        self.sock = given.sock
        self.count = count
        self.readable = given.readable
        self.writable = True
        self.fin_seen = given.fin_seen
        self.ended = False
        self.finished = False
        self.cut = False
        self.bulk = False
        self.pending: bytes | memoryview | None = given.unsent or None
        self.uncounted = len(given.unsent)
        self.pipe: Pipe | None = None
        self.level = 0

    def ready(self, events: int) -> None:
        """The poller's word: the socket has changed."""
        if events & WRITABLE and not self.writable:
            self.writable = True
            self.peer.pump()
        if events & READABLE and not self.relay.over:
            self.readable = True
            if events & FIN_SEEN:
                self.fin_seen = True
            self.pump()
        if events & BROKEN and not self.relay.over:
            self.relay.broken(self)

    def failed(self, why: Failure) -> None:
        """A fault of ours."""
        self.relay.abort(CloseReason.ERROR)

    # -- moving --------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Move what comes from here to the other side."""
        other = self.peer
        for _ in range(_TURNS):
            if (other.pending is not None or other.level) and not other.flush():
                return
            if self.ended:
                if not self.cut:
                    other.finish()
                return
            if not self.readable or other.finished:
                return
            if self.bulk:
                self._splice(other)
            else:
                self._copy(other)
            if self.relay.over:
                return
        if other.level and not other.flush():
            return  # its next event goes on; what is left in a pipe has no event of its own
        self.relay.poller.rearm(self.sock.fileno())

    def _copy(self, other: _Side) -> None:
        """One small read, written at once."""
        try:
            got = self.sock.recv_into(_buffer)
        except BlockingIOError:
            self.readable = False
            return
        except OSError:
            self.relay.broken(self)
            return
        if not got:
            self.ended = True
            return
        if got >= _BULK:
            self.bulk = self.relay.pipes is not None
        if got < _COPY:
            # A short read has emptied the socket. What comes now is a new event, but a FIN that was
            # reported together with these bytes is not.
            self.readable = self.fin_seen
        other.send(_buffer[:got])

    def _splice(self, other: _Side) -> None:
        """Fill the other side's pipe; the pump flushes it."""
        pipe = other.pipe or other.borrow()
        if pipe is None:
            self.bulk = False
            return
        try:
            got = os.splice(self.sock.fileno(), pipe.write, pipe.size, flags=_FLAGS)
        except BlockingIOError:
            self.readable = False
            self.bulk = False
            other.give_back()
        except OSError as failed:
            self._splice_failed(other, failed)
        else:
            other.level = got
            if not got:
                self.ended = True
                other.give_back()

    def _splice_failed(self, other: _Side, failed: OSError) -> None:
        other.give_back()
        self.bulk = False
        if failed.errno == errno.EINVAL:
            self.relay.pipes = None  # this kind of socket cannot: copy from now on
        else:
            self.relay.broken(self)

    # -- writing -------------------------------------------------------------------------------------

    def send(self, data: memoryview | bytes) -> None:
        """Write ``data`` to this side; keep what it does not take."""
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as failed:
            self.relay.deaf(self, failed)
            return
        if sent:
            self._counted(sent)
        if sent < len(data):
            self.writable = False
            self.pending = bytes(data[sent:])

    def flush(self) -> bool:
        """Write what waits. Whether nothing waits any more."""
        if not self.writable:
            return False
        if self.pending is not None:
            data, self.pending = self.pending, None
            self.send(data)
            return self.pending is None and not self.relay.over
        return self._drain()

    def _drain(self) -> bool:
        """Write what is in the pipe."""
        pipe = self.pipe
        assert pipe is not None  # noqa: S101 - where there is a level there is a pipe
        try:
            while self.level:
                sent = os.splice(pipe.read, self.sock.fileno(), self.level, flags=_FLAGS)
                self.level -= sent
                self._counted(sent)
        except BlockingIOError:
            self.writable = False
            return False
        except OSError as failed:
            self.relay.deaf(self, failed)
            return False
        return True

    def _counted(self, sent: int) -> None:
        if self.uncounted:
            skipped = min(sent, self.uncounted)
            self.uncounted -= skipped
            sent -= skipped
        self.count(sent, self.relay.poller.now)

    def finish(self) -> None:
        """The other side has ended and everything of it is written: end here, too."""
        if self.finished:
            return
        self.finished = True
        self.give_back()
        if self.peer.finished:
            self.relay.complete()
            return
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.relay.broken(self)
        else:
            self.relay.record.half_closed()

    # -- the pipe ------------------------------------------------------------------------------------

    def borrow(self) -> Pipe | None:
        """A pipe for what goes to this side."""
        pipes = self.relay.pipes
        self.pipe = pipes.lend() if pipes is not None else None
        return self.pipe

    def give_back(self) -> None:
        """No pipe is needed any more, or for a while."""
        pipe, self.pipe = self.pipe, None
        if pipe is not None:
            self.relay.pool.take_back(pipe, empty=not self.level)
        self.level = 0


@implementer(IRelay)
class SpliceRelay:
    """Two sockets of the poller, relayed.

    :ivar pipes: where to borrow; ``None`` once these sockets have shown that they cannot be spliced.
    :ivar over: whether both sockets have been let go.
    """

    __slots__ = ("client", "done", "over", "pipes", "poller", "pool", "record", "upstream")

    def __init__(
        self, client: Detached, upstream: Detached, record: ConnectionRecord, poller: Poller, pool: PipePool
    ) -> None:
        self.record = record
        self.poller = poller
        self.pool = pool
        self.pipes: PipePool | None = pool
        self.over = False
        self.done: Deferred[CloseReason] = Deferred()
        self.client = _Side(self, client, record.moved_out)
        self.upstream = _Side(self, upstream, record.moved_in)
        self.client.peer = self.upstream
        self.upstream.peer = self.client
        poller.hand_over(client.sock.fileno(), self.client)
        poller.hand_over(upstream.sock.fileno(), self.upstream)

    def start(self, header: bytes, held: bytes, ended: bool) -> Deferred[CloseReason]:
        """See :class:`~smartproxy.relays.interfaces.IRelay`."""
        client, upstream = self.client, self.upstream
        if header or held:
            upstream.pending = header + held
            upstream.uncounted = len(header)
        client.ended = ended
        if upstream.pending is not None or client.readable or ended:
            client.pump()
        if not self.over and (upstream.readable or client.pending is not None):
            upstream.pump()
        return self.done

    def abort(self, reason: CloseReason) -> None:
        """End both sides with a reset."""
        if not self.over:
            reset(self.client.sock)
            reset(self.upstream.sock)
            self._end(reason)

    def gone(self) -> tuple[bool, bool]:
        """Whether the kernel has the client's and the upstream's connection no longer."""
        if self.over:
            return True, True
        return socket_gone(self.client.sock), socket_gone(self.upstream.sock)

    def broken(self, side: _Side) -> None:
        """A connection was reset: so is the other."""
        if not self.over:
            reset(side.peer.sock)
            self._end(CloseReason.CLIENT_RESET if side is self.client else CloseReason.UPSTREAM_RESET)

    def deaf(self, side: _Side, why: OSError) -> None:
        """A side takes no more. What it said before is still delivered: a refusal, often, to a long upload.

        The kernel says EPIPE where a FIN had come before the RST: then that is all it had to say.
        """
        if side.ended or side.finished:
            self.broken(side)
            return
        side.finished = True
        side.pending = None
        side.give_back()
        side.readable = True
        side.cut = why.errno != errno.EPIPE
        side.pump()
        if side.cut:
            self.broken(side)

    def complete(self) -> None:
        """Both directions have ended, each with its FIN."""
        self._end(CloseReason.NORMAL)

    def _end(self, reason: CloseReason) -> None:
        self.over = True
        client, upstream = self.client, self.upstream
        for side in (client, upstream):
            side.give_back()
            self.poller.close(side.sock, side)
        # Nobody points in a circle any more: what has ended is freed now, not when the collector comes.
        del client.peer, upstream.peer, self.client, self.upstream
        self.done.callback(reason)
