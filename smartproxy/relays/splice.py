"""The relay for plain sockets on Linux: zero copy for what is large, one small copy for what is small.

::

            recv_into + send             up to 64 KiB a read
    socket ====================> socket
            splice  pipe  splice         after a read of 16 KiB or more, until there is nothing to read

A small message costs two system calls either way, and copying it needs no pipe; a large one never enters
this process. So an idle connection holds two sockets and nothing else, and a pipe is borrowed only while a
direction is busy.

What waits to be written to a half is in ``pending`` if it was copied, and in its ``pipe`` if it was spliced; never in
both, because nothing is read before all of it is written. :mod:`smartproxy.relays.copying` has the copying, and
:mod:`smartproxy.relays.half` everything else: the states, the back-pressure, and how a connection ends.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, ClassVar

from smartproxy.relays.copying import CopyHalf
from smartproxy.relays.sockets import SocketRelay

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.record import ConnectionRecord
    from smartproxy.net.detach import Detached
    from smartproxy.net.poller import Poller
    from smartproxy.relays.pipes import Pipe, PipePool

#: Bytes of a read that is copied. After a large one a pipe is used, so more would only add to what may wait in memory.
_COPY = 64 * 1024
#: Bytes in one read that indicate a bulk transfer.
_BULK = 16 * 1024
#: Seconds without progress after which a pipe may be taken back. Moving its bytes to memory costs more than copying them at
#: once, so a direction that is blocked for a moment, as every busy one is now and then, keeps its pipe.
_STALLED = 1.0
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK if hasattr(os, "splice") else 0


def supported() -> bool:
    """Whether this system can splice."""
    return hasattr(os, "splice")


class SpliceHalf(CopyHalf["SpliceRelay"]):
    """One plain socket.

    :ivar blocked_at: when the socket last did not take what is in the pipe, in monotonic seconds.
    :ivar bulk: whether reads from it go through a pipe.
    :ivar pipe: holds what was spliced from the peer and is to be spliced to this half.
    :ivar reclaimed: number of bytes in ``pending`` that were in a pipe which the pool has taken back.
    """

    __slots__ = ("blocked_at", "bulk", "pipe", "reclaimed")

    CHUNK: ClassVar[int] = _COPY
    #: At most 8 MiB through pipes of 1 MiB.
    TURNS: ClassVar[int] = 8

    def __init__(self, relay: SpliceRelay, given: Detached, count: Callable[[int, float], None]) -> None:
        CopyHalf.__init__(self, relay, given, count)
        self.bulk = False
        self.pipe: Pipe | None = None
        self.reclaimed = 0
        self.blocked_at = 0.0

    def move(self, other: SpliceHalf) -> None:
        """Copy one small read; or fill the other's pipe, which the pump flushes."""
        if self.bulk:
            self._fill(other)
        # Large reads will follow large reads: from now on through a pipe.
        elif self.copy(other) >= _BULK:
            self.bulk = self.relay.pipes is not None

    def _fill(self, other: SpliceHalf) -> None:
        pipe = other.pipe or other.borrow()
        if pipe is None:
            self.bulk = False  # the kernel gives no more pipes: copy
            return
        try:
            # The pipe is empty, so EAGAIN means that the socket is, or that a mark of urgent data comes next.
            got = os.splice(self.sock.fileno(), pipe.write, pipe.size, flags=_FLAGS)
        except BlockingIOError:
            # The transfer pauses. An idle direction holds no pipe, and what comes next may be small.
            self.readable = self.marked
            self.bulk = False
            other.give_back()
        except OSError as failed:
            self._fill_failed(other, failed)
        else:
            other.waiting = got
            if not got:
                # 0 before a mark of urgent data, too, if a FIN was received. Only a read passes the one and finds the other.
                self.bulk = False
                other.give_back()

    def _fill_failed(self, other: SpliceHalf, failed: OSError) -> None:
        other.give_back()
        self.bulk = False
        if failed.errno == errno.EINVAL:
            self.relay.pipes = None  # this kind of socket cannot be spliced: copy from now on
        else:
            self.relay.broken(self)

    # -- writing -------------------------------------------------------------------------------------

    def flush(self) -> bool:
        """Write what waits, in ``pending`` or in the pipe."""
        if not self.pending:
            return self.writable and self._drain()
        is_flushed = CopyHalf.flush(self)
        if self.reclaimed and not self.waiting:
            self._release()
        return is_flushed

    def _drain(self) -> bool:
        """Write what is in the pipe."""
        pipe = self.pipe
        assert pipe is not None  # noqa: S101 - what waits and is not pending is in a pipe
        # EAGAIN can only mean that the socket is full: there are bytes in the pipe.
        try:
            while self.waiting:
                sent = os.splice(pipe.read, self.sock.fileno(), self.waiting, flags=_FLAGS)
                self.waiting -= sent
                self.count_sent(sent)
        except BlockingIOError:
            self.writable = False
            self.blocked_at = self.relay.poller.now
            return False
        except OSError as failed:
            self.write_failed(failed)
            return False
        return True

    # -- the pipe ------------------------------------------------------------------------------------

    def borrow(self) -> Pipe | None:
        """Borrow a pipe for what goes to this half."""
        pipes = self.relay.pipes
        self.pipe = pipes.lend(self) if pipes is not None else None
        return self.pipe

    @property
    def is_stalled(self) -> bool:
        """Whether the pipe has bytes of which the socket has taken none for a while."""
        stalled = self.waiting > 0 and not self.writable
        return stalled and self.relay.poller.now - self.blocked_at >= _STALLED

    def empty_pipe(self) -> None:
        """Move what waits from the pipe to memory, and return the pipe: others can use it."""
        pipe = self.pipe
        assert pipe is not None  # noqa: S101 - the pool asks only those that have borrowed one
        while len(self.pending) < self.waiting:
            self.pending += os.read(pipe.read, self.waiting - len(self.pending))
        self.reclaimed = self.waiting
        self.relay.pool.reclaimed += self.waiting
        self.pipe = None
        self.relay.pool.take_back(self, pipe, empty=True)

    def _release(self) -> None:
        """What was taken out of a pipe is not in memory any more."""
        self.relay.pool.reclaimed -= self.reclaimed
        self.reclaimed = 0

    def give_back(self) -> None:
        """Return the pipe, if there is one."""
        pipe, self.pipe = self.pipe, None
        if pipe is not None:
            self.relay.pool.take_back(self, pipe, empty=not self.waiting)

    def forget(self) -> None:
        """Drop what waits; a pipe with bytes in it is closed by the pool."""
        self.give_back()
        if self.reclaimed:
            self._release()
        self.pending = b""
        self.waiting = 0


class SpliceRelay(SocketRelay[SpliceHalf]):
    """Two plain sockets of the poller, relayed.

    :ivar pool: where pipes are returned.
    :ivar pipes: where they are borrowed; ``None`` once these sockets have shown that they cannot be spliced.
    """

    __slots__ = ("pipes", "pool")

    def __init__(
        self, client: Detached, upstream: Detached, record: ConnectionRecord, poller: Poller, pool: PipePool
    ) -> None:
        self.pool = pool
        self.pipes: PipePool | None = pool
        SocketRelay.__init__(
            self,
            SpliceHalf(self, client, record.moved_out),
            SpliceHalf(self, upstream, record.moved_in),
            record,
            poller,
        )
