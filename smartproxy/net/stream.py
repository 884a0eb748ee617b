"""A TCP connection, or one to a unix socket, on the poller: Twisted's transport, without a system call for each pause.

It has Twisted's behaviour (``ITCPTransport``, push and pull producers, half-close), so any ``Protocol`` can use it. There
are two intended differences: a ``write`` is sent at once when nothing waits before it, or at the end of the poller's batch if it
is small; and a connection that is reset while it is paused is lost at once, not at the next read, unless it is to
:meth:`read_to_end`.

What it reads, writes and expects of a producer is a state each: :mod:`smartproxy.net.stream_states`. ``_readable`` and
``_marked`` are no states of the stream: they are what the kernel last reported of the socket, and have to be remembered
because it is watched edge-triggered.

A relay that moves the bytes itself takes the socket with :meth:`Stream.detach`; the poller goes on to watch it. For a body of
HTTP the socket is only lent.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet import error
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import classImplements

from smartproxy.flow.states import following
from smartproxy.net.detach import Detached
from smartproxy.net.lends_socket import LendsSocket
from smartproxy.net.poller import BROKEN, MARKED, READABLE, WRITABLE, Poller
from smartproxy.net.stream_states import INPUT, OUTPUT, ProducerState, StreamEvent, StreamInput, StreamOutput

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Bytes of the first read for an event, as in Twisted.
_READ_SIZE = 64 * 1024
#: Bytes of each further read of the same turn: a bulk transfer. Not of the first, because memory of this size is mapped and
#: unmapped for every read.
_BULK_SIZE = 256 * 1024
#: Reads for one event, so that a fast sender does not delay the others.
_READS_A_TURN = 4
#: Bytes of waiting output above which the producer is paused: Twisted's ``FileDescriptor.bufferSize``.
_HIGH_WATER = 64 * 1024
#: Bytes of a write that may wait for the end of the poller's batch, and how many connections' at the most.
_GATHERED = 16 * 1024
_MOST_GATHERED = 32
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


# Bound here for the byte path: an attribute of an enum class is looked up by Python code before 3.12 (80 ns).
_READING, _PAUSED, _ENDED, _STOPPED = StreamInput
_OPEN, _FINISHING, _FINISHED, _CLOSING, _ABORTING, _CLOSED = StreamOutput
_NO_PRODUCER, _PUSHING, _HELD_BACK, _PULLED = ProducerState


def reset(sock: socket.SocketType) -> None:
    """Make closing ``sock`` send a RST and drop what was not sent yet (SO_LINGER of 0, socket(7))."""
    with contextlib.suppress(OSError):  # the socket may be closed already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


class Stream(LendsSocket):
    """One connected, non-blocking socket, watched by ``poller``.

    :param seen: events that were reported of the socket already, if ``poller`` watches it (a dialled one).
    """

    __slots__ = ("_gathered", "_input", "_out", "_output", "_producer", "_producing", "_protocol")

    can_detach: ClassVar[bool] = True

    def __init__(
        self, sock: socket.SocketType, poller: Poller, protocol: IProtocol, *, seen: int = 0
    ) -> None:
        self._sock = sock
        self._poller = poller
        # Any: an application's methods may return something, which a compiled caller would refuse.
        self._protocol: Any = protocol
        self._input = _READING
        self._output = _OPEN
        # What the kernel last reported of the socket: edge-triggered events have to be remembered.
        self._readable = bool(seen & READABLE)
        self._marked = bool(seen & MARKED)
        self._broken = 0
        self._reads_to_end = False
        self._borrower = None
        self._out: bytes | bytearray | None = None
        self._gathered = False  # whether it is one of the poller's writers
        self._producer: Any = None
        self._producing = _NO_PRODUCER
        if seen:
            poller.hand_over(sock.fileno(), self)
        else:
            poller.add(sock.fileno(), self)

    # -- events of the poller --------------------------------------------------------------------------

    def ready(self, events: int) -> None:
        """Handle the poller's events of the socket."""
        if events & WRITABLE and (self._out or self._output is not _OPEN or self._producing is not _PUSHING):
            self._flush()
        if events & (READABLE | BROKEN):
            self._readable = True
            if events & MARKED:
                self._marked = True
            if self._input is _READING:
                self._read()
            # After the read, which may find bytes that were received before the reset.
            if events & BROKEN or self._broken:
                self._check_broken()

    def failed(self, why: Failure) -> None:
        """Lose the connection, because its protocol raised an exception: as Twisted's own transports do."""
        if self._output is not _CLOSED:
            reset(self._sock)
            self._lost(why)

    def _read(self) -> None:
        size = _READ_SIZE
        for _ in range(_READS_A_TURN):
            try:
                data = self._sock.recv(size)
            except BlockingIOError:
                # So urgent data was marked: after a FIN, a read returns nothing.
                self._readable = self._marked = False
                return
            except OSError as broken:
                self._lost(Failure(error.ConnectionLost(str(broken))))
                return
            if not data:
                self._nothing_left()
                return
            # A short read has emptied the socket, but not where a FIN or urgent data was reported together with
            # these bytes: no new event will come for what is behind.
            self._readable = len(data) == size or self._marked
            assert self._protocol is not None  # noqa: S101 - a transport without protocol is detached
            self._protocol.dataReceived(data)
            if not self._readable or self._input is not _READING or self._is_read_by_borrower:
                return
            size = _BULK_SIZE
        # There is more, but other connections are served first.
        self._poller.rearm(self._sock.fileno())

    def _check_broken(self) -> None:
        """Lose the connection if it was reset: behind the last byte that is still to be read, if any is."""
        if self._output is _CLOSED or self._protocol is None:
            return
        # The kernel reports an error once: a failed write has consumed it, and kept it in _broken.
        code = self._broken or self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        # A read that has stopped for the sake of others goes on in the next turn, up to the end.
        if (self._input is _READING and self._readable) or (self._input is _PAUSED and self._reads_to_end):
            self._broken = code
        elif code:
            self._lost(Failure(error.ConnectionLost(os.strerror(code))))

    def _nothing_left(self) -> None:
        """Handle a read of 0 bytes: a FIN, or the end of the data after a RST that a write has met."""
        if self._broken not in (0, errno.EPIPE):  # EPIPE: a FIN came before the RST, and this is it
            self._lost(Failure(error.ConnectionLost(os.strerror(self._broken))))
            return
        self._input = following(INPUT, self._input, StreamEvent.FIN_READ)
        if not IHalfCloseableProtocol.providedBy(self._protocol):
            self._lost(Failure(error.ConnectionDone()))
            return
        self._protocol.readConnectionLost()
        if self._output is _FINISHED:
            self._lost(Failure(error.ConnectionDone()))

    def _lost(self, why: Failure) -> None:
        """Close the socket and tell the producer and the protocol, once."""
        if self._output is _CLOSED:
            return
        self._call_back()
        self._send_gathered()
        self._input, self._output = _STOPPED, _CLOSED  # StreamEvent.LOST, in every state
        self._poller.close(self._sock, self)
        producer, self._producer = self._producer, None
        if producer is not None:
            self._producing = _NO_PRODUCER
            producer.stopProducing()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connectionLost(why)

    # -- output --------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``; what the kernel does not take yet is sent later."""
        if not data or (self._output is not _OPEN and not self._awaits_producer()):
            return
        if self._out:
            if isinstance(self._out, bytes):
                self._out = bytearray(self._out)
            self._out += data
        elif (writers := self._poller.writers) is not None and len(data) <= _GATHERED:
            self._out = bytes(data)
            if not self._gathered:
                self._gathered = True
                writers.append(self)
                if len(writers) >= _MOST_GATHERED:
                    self._poller.flush()
            return
        else:
            taken = self._send(data)
            if taken == len(data):
                # A pull producer is asked again once its data is sent, but never within its own write.
                if self._producing is _PULLED:
                    self._poller.soon(self._flush)
                return
            self._out = bytearray(memoryview(data)[taken:])
        if self._producing is _PUSHING and len(self._out) > _HIGH_WATER:
            self._producing = _HELD_BACK
            self._producer.pauseProducing()

    def _send_gathered(self) -> None:
        """Send what was gathered: the connection ends before its batch does."""
        if self._gathered and self._out:
            self._gathered = False
            taken = self._send(self._out)
            self._out = bytearray(memoryview(self._out)[taken:]) or None

    def _awaits_producer(self) -> bool:
        """Whether the requested end waits for a producer, which may write until it unregisters (as in Twisted)."""
        return self._producer is not None and (self._output is _FINISHING or self._output is _CLOSING)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send all of ``data``."""
        self.write(b"".join(data))

    def _send(self, data: bytes | bytearray | memoryview, flags: int = 0) -> int:
        """Send ``data``. Returns how many bytes the kernel took; all, if the connection is broken.

        A write never fails in Twisted: the protocol is told of the loss later. So the error is kept, and the poller
        reports the socket in its next batch.
        """
        try:
            return self._sock.send(data, flags)
        except BlockingIOError:
            return 0
        except OSError as broken:
            self.met_error(broken)
            return len(data)

    def flush(self) -> None:
        """Send what was gathered in the poller's batch."""
        if self._gathered:
            self._gathered = False
            self._flush()

    def _flush(self) -> None:
        if self._output is _ABORTING or self._output is _CLOSED:
            return
        out = self._out
        if out:
            is_last = self._output is _FINISHING and self._producer is None
            taken = self._send(out, socket.MSG_MORE if is_last else 0)  # the FIN goes with these bytes
            if taken < len(out):
                self._out = out = bytearray(out) if isinstance(out, bytes) else out
                del out[:taken]
                return
        self._out = None
        if self._producer is not None:
            self._resume_producer()
        else:
            self._finish()

    def _resume_producer(self) -> None:
        if self._producing is _HELD_BACK:
            self._producing = _PUSHING
            self._producer.resumeProducing()
        elif self._producing is _PULLED:
            self._producer.resumeProducing()

    def _finish(self) -> None:
        """If everything is written, do what was asked for: send the FIN, or close."""
        if self._out or self._producer is not None:
            return
        if self._output is _FINISHING:
            self._output = following(OUTPUT, self._output, StreamEvent.ALL_WRITTEN)
            self._shut_down_writing()
        elif self._output is _CLOSING and self._broken:
            self._check_broken()  # a write has failed, which the poller has not reported yet
        elif self._output is _CLOSING:
            self._lost(Failure(error.ConnectionDone()))

    def _shut_down_writing(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the connection is lost, which the poller reports
        if self._input is _ENDED:
            self._lost(Failure(error.ConnectionDone()))
        elif IHalfCloseableProtocol.providedBy(self._protocol):
            self._protocol.writeConnectionLost()

    def loseWriteConnection(self) -> None:
        """End our direction once everything is written. The other direction stays open."""
        if self._output is _OPEN:
            self._output = following(OUTPUT, self._output, StreamEvent.END_ASKED)
            if not self._out and self._producer is None:
                self._finish()

    @property
    def disconnecting(self) -> bool:
        """Whether the end of the connection was asked for."""
        return self._input is _STOPPED

    def loseConnection(self) -> None:
        """Close the connection once everything is written. Nothing more is read."""
        if self._input is not _STOPPED:
            self._call_back()
            self._change(StreamEvent.CLOSE_ASKED)
            self._close_soon()

    def _change(self, event: StreamEvent) -> None:
        """Apply the transitions of an event that ends both directions."""
        self._input = following(INPUT, self._input, event)
        self._output = following(OUTPUT, self._output, event)

    def _close_soon(self) -> None:
        """Close in the next event loop iteration if nothing waits: never within the caller's own call."""
        if not self._out and self._producer is None:
            self._poller.soon(self._finish)

    def abortConnection(self) -> None:
        """Close the connection now, with a RST. The protocol is told in the next event loop iteration."""
        if self._output is _ABORTING or self._output is _CLOSED:
            return
        self._call_back()
        self.flush()  # with the FIN that was asked for
        if self._output is _CLOSED:
            return
        reset(self._sock)
        self._change(StreamEvent.ABORT_ASKED)
        self._poller.soon(self._lost, Failure(error.ConnectionAborted()))

    # -- producers -----------------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause ``producer`` while more than 64 KiB wait to be written; or pull from it, if not ``streaming``."""
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is registered already")
        if self._output is _CLOSED:
            producer.stopProducing()
            return
        self._producer = producer
        self._producing = _PUSHING if streaming else _PULLED
        if not streaming:
            self._poller.soon(self._flush)

    def startWriting(self) -> None:
        """Ask the pull producer again as soon as the socket is writable."""
        if self._output is not _CLOSED:
            self._poller.rearm(self._sock.fileno())

    def unregisterProducer(self) -> None:
        """Forget the producer. An end that waited for it follows."""
        self._producer = None
        self._producing = _NO_PRODUCER
        if (self._output is _FINISHING or self._output is _CLOSING) and not self._out:
            self._poller.soon(self._finish)

    def pauseProducing(self) -> None:
        """Leave received bytes in the kernel. A reset is still noticed."""
        if self._input is _READING:
            self._input = _PAUSED

    def resumeProducing(self) -> None:
        """Deliver received bytes to the protocol, also those that were received meanwhile."""
        if self._input is not _PAUSED:
            return
        self._input = _READING
        # Their event was reported during the pause; armed again, the socket is reported again.
        if self._readable:
            self._poller.rearm(self._sock.fileno())

    def stopProducing(self) -> None:
        """Close the connection: its consumer is lost."""
        self.loseConnection()

    # -- the socket ----------------------------------------------------------------------------------

    def detach(self) -> Detached:
        """Give the socket to the caller. The poller still watches it, until it is handed over."""
        self._protocol = None
        self._input, self._output = _STOPPED, _CLOSED  # StreamEvent.LOST, in every state
        return Detached(self._sock, self._readable, bytes(self._out or b""), self._marked)


classImplements(Stream, ITCPTransport, IConsumer, IPushProducer)
