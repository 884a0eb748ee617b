"""The relay for plain sockets of the poller without splice: each read is copied through one buffer of this process.

::

             recv_into            send
    socket ===========> buffer ===========> socket        up to 256 KiB a read

The size of the buffer is what makes it cheap: a GB costs half of the CPU time that it costs through Twisted's transports,
which read 64 KiB into a new object each time (docs/benchmarks).

What a socket does not take waits in ``pending``: at most one read, because nothing is read before all of it is written.
:mod:`smartproxy.relays.half` has everything else: the states, the back-pressure, and how a connection ends. The relay that
splices (:mod:`smartproxy.relays.splice`) copies in the same way what is small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from smartproxy.relays.half import Half, R
from smartproxy.relays.sockets import SocketRelay

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.record import ConnectionRecord
    from smartproxy.net.detach import Detached
    from smartproxy.net.poller import Poller

#: Bytes of the buffer. It is reused: a new object of this size would be mapped and faulted in for every read. Measured in one
#: run, a GB costs 0.45 s of CPU with 128 KiB, 0.36 with 256, 0.31 with 512 and 0.28 with 1 MiB; but as much may have to wait in
#: memory for each peer that does not read.
COPY = 256 * 1024

#: One buffer for all connections: a read is written, or copied to ``pending``, before the next one.
_buffer = memoryview(bytearray(COPY))


class CopyHalf(Half[R]):
    """One plain socket. What waits to be written to it are the last ``waiting`` bytes of ``pending``.

    :ivar uncounted: number of bytes at the front of what waits that are not payload (a PROXY header).
    :cvar CHUNK: bytes of one read, at most :data:`COPY`.
    """

    __slots__ = ("uncounted",)

    CHUNK: ClassVar[int] = COPY
    #: At most 4 MiB, about 1.5 ms.
    TURNS: ClassVar[int] = 16

    def __init__(self, relay: R, given: Detached, count: Callable[[int, float], None]) -> None:
        Half.__init__(
            self, relay, given, count
        )  # not super(), which costs 0.2 microseconds a connection each time
        self.uncounted = len(given.unsent)

    def move(self, other: Self) -> None:
        """Copy one read."""
        self.copy(other)

    def copy(self, other: Self) -> int:
        """Copy one read to ``other``. Returns the number of bytes read; 0 where there are none, or where there is an end."""
        try:
            got = self.sock.recv_into(_buffer, self.CHUNK)
        except BlockingIOError:
            self.readable = self.marked = False  # urgent data was passed; a FIN would have been read
            return 0
        except OSError:
            self.relay.broken(self)
            return 0
        if not got:
            self.input_ended()
            return 0
        if got < self.CHUNK:
            # A short read has emptied the socket. What comes now is a new event, but a FIN or urgent data that
            # was reported together with these bytes is not, nor what follows it.
            self.readable = self.marked
        sent = other.write(_buffer[:got])
        if sent:
            other.count_sent(sent)
        return got

    def greet(self, header: bytes, held: bytes) -> None:
        """Leave it for the first pump to write, behind what the transport before this relay could not send."""
        self.pending += header + held
        self.waiting = len(self.pending)
        self.uncounted += len(header)

    def flush(self) -> bool:
        """Write what waits. Returns whether nothing waits any more and the relay goes on."""
        if not self.writable:
            return False
        # Not by write(), which copies what is left: a socket with a small buffer takes a read in many pieces.
        try:
            sent = self.sock.send(memoryview(self.pending)[-self.waiting :])
        except BlockingIOError:
            sent = 0
        except OSError as failed:
            self.write_failed(failed)
            return False
        self.waiting -= sent
        if self.waiting:
            self.writable = False
        else:
            self.pending = b""
        if sent:
            self.count_sent(sent)
        return not self.waiting

    def count_sent(self, sent: int) -> None:
        """Tell the record of the payload among ``sent`` bytes that the socket took."""
        # Headers are at the front of what waits, so they are the first bytes to be sent.
        if self.uncounted:
            skipped = min(sent, self.uncounted)
            self.uncounted -= skipped
            sent -= skipped
        self.count(sent, self.relay.poller.now)


class CopyRelay(SocketRelay["CopyHalf[CopyRelay]"]):
    """Two plain sockets of the poller, relayed without pipes."""

    __slots__ = ()

    def __init__(
        self, client: Detached, upstream: Detached, record: ConnectionRecord, poller: Poller
    ) -> None:
        SocketRelay.__init__(
            self,
            CopyHalf(self, client, record.moved_out),
            CopyHalf(self, upstream, record.moved_in),
            record,
            poller,
        )
