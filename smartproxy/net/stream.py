"""A TCP connection on the poller: Twisted's transport, without a reactor registration a pause.

It keeps Twisted's promises (``ITCPTransport``, push and pull producers, half-close), so any ``Protocol`` can
sit on it. Two differences, both wanted: a ``write`` goes to the kernel at once when nothing is waiting
before it, and a connection that is reset while nobody reads is lost at once, not at the next read.

When a protocol has no more use for the transport as such, :meth:`Stream.detach` gives the socket away with
all that is known of it, still watched by the poller.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from smartproxy.flow.states import following
from smartproxy.net.detach import Detached
from smartproxy.net.poller import BROKEN, FIN_SEEN, READABLE, WRITABLE, Poller
from smartproxy.net.stream_states import INPUT, OUTPUT, ProducerState, StreamEvent, StreamInput, StreamOutput

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Bytes a read. Twisted reads as much; larger reads gain nothing where each makes a new object.
_READ_SIZE = 64 * 1024
#: Reads a turn, so that one fast sender does not hold up the others.
_READS_A_TURN = 4
#: Waiting output above which the producer is paused: Twisted's ``FileDescriptor.bufferSize``.
_HIGH_WATER = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


# Bound here for the byte path: an attribute of an enum class is looked up by Python code before 3.12 (80 ns).
_READING, _PAUSED, _ENDED, _STOPPED = StreamInput
_OPEN, _FINISHING, _FINISHED, _CLOSING, _ABORTING, _CLOSED = StreamOutput
_NO_PRODUCER, _PUSHING, _HELD_BACK, _PULLED = ProducerState


def reset(sock: socket.socket) -> None:
    """Let closing ``sock`` send a RST and forget what was not sent yet (SO_LINGER of 0, socket(7))."""
    with contextlib.suppress(OSError):  # one that is closed already has nobody to tell
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


@implementer(ITCPTransport, IConsumer, IPushProducer)
class Stream:
    """One connected, non-blocking socket. It is watched by ``poller`` from the start.

    :param seen: the events that the poller has reported of the socket, where it watches it already (a
        dialled one).
    """

    __slots__ = (
        "_broken", "_fin_seen", "_input", "_out", "_output", "_poller", "_producer", "_producing", "_protocol",
        "_readable", "_sock",
    )  # fmt: skip

    can_detach: ClassVar[bool] = True

    def __init__(self, sock: socket.socket, poller: Poller, protocol: IProtocol, *, seen: int = 0) -> None:
        self._sock = sock
        self._poller = poller
        self._protocol: IProtocol | None = protocol
        self._input = _READING
        self._output = _OPEN
        # What the kernel last reported of the socket: edge-triggered events have to be remembered.
        self._readable = bool(seen & READABLE)
        self._fin_seen = bool(seen & FIN_SEEN)
        self._broken = 0
        self._out: bytearray | None = None
        self._producer: Any = None
        self._producing = _NO_PRODUCER
        if seen:
            poller.hand_over(sock.fileno(), self)
        else:
            poller.add(sock.fileno(), self)

    # -- events of the poller --------------------------------------------------------------------------

    def ready(self, events: int) -> None:
        """The socket has something to say."""
        if events & WRITABLE:
            self._flush()
        if events & (READABLE | BROKEN):
            self._readable = True
            if events & FIN_SEEN:
                self._fin_seen = True
            if self._input is _READING:
                self._read()
            if events & BROKEN or self._broken:
                self._check_broken()

    def failed(self, why: Failure) -> None:
        """The protocol has raised: it loses its connection, as under Twisted's own transports."""
        if self._output is not _CLOSED:
            reset(self._sock)
            self._lost(why)

    def _read(self) -> None:
        for _ in range(_READS_A_TURN):
            try:
                data = self._sock.recv(_READ_SIZE)
            except BlockingIOError:
                self._readable = False
                return
            except OSError as broken:
                self._lost(Failure(error.ConnectionLost(str(broken))))
                return
            if not data:
                self._nothing_left()
                return
            # A short read has emptied the socket, but a FIN that was reported together with these bytes
            # is still to be read: it is no new event.
            self._readable = len(data) == _READ_SIZE or self._fin_seen
            assert self._protocol is not None  # noqa: S101 - a transport without protocol is detached
            self._protocol.dataReceived(data)
            if not self._readable or self._input is not _READING:
                return
        self._poller.rearm(self._sock.fileno())

    def _check_broken(self) -> None:
        """A reset must not wait for somebody to read."""
        if self._output is _CLOSED or self._protocol is None:
            return
        code = self._broken or self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._lost(Failure(error.ConnectionLost(os.strerror(code))))

    def _nothing_left(self) -> None:
        """A FIN; or a RST that a write has met, which says EPIPE where a FIN had come before it."""
        if self._broken in (0, errno.EPIPE):
            self._input_ended()
        else:
            self._check_broken()

    def _input_ended(self) -> None:
        self._input = following(INPUT, self._input, StreamEvent.FIN_READ)
        protocol: Any = self._protocol
        if not IHalfCloseableProtocol.providedBy(protocol):
            self._lost(Failure(error.ConnectionDone()))
            return
        protocol.readConnectionLost()
        if self._output is _FINISHED:
            self._lost(Failure(error.ConnectionDone()))

    def _lost(self, why: Failure) -> None:
        """The end, once."""
        if self._output is _CLOSED:
            return
        self._input, self._output = _STOPPED, _CLOSED  # StreamEvent.LOST, in every state
        self._poller.close(self._sock, self)
        producer, self._producer = self._producer, None
        if producer is not None:
            self._producing = _NO_PRODUCER
            producer.stopProducing()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connectionLost(why)

    # -- output ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send ``data``, or keep what the kernel does not take yet."""
        if not data or (self._output is not _OPEN and not self._awaits_producer()):
            return
        if self._out:
            self._out += data
        else:
            taken = self._send(data)
            if taken == len(data):
                if self._producing is _PULLED:
                    self._poller.soon(self._flush)
                return
            self._out = bytearray(memoryview(data)[taken:])
        if self._producing is _PUSHING and len(self._out) > _HIGH_WATER:
            self._producing = _HELD_BACK
            self._producer.pauseProducing()

    def _awaits_producer(self) -> bool:
        """Whether the end that was asked for waits for a producer, which writes on until it unregisters."""
        return self._producer is not None and (self._output is _FINISHING or self._output is _CLOSING)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send all of them."""
        self.write(b"".join(data))

    def _send(self, data: bytes | memoryview) -> int:
        """How many bytes the kernel took. A broken connection takes all: its loss is reported by the poller."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as broken:
            self._broken = self._broken or broken.errno or errno.EPIPE
            self._poller.rearm(self._sock.fileno())
            return len(data)

    def _flush(self) -> None:
        if self._output is _ABORTING or self._output is _CLOSED:
            return
        if self._out:
            with memoryview(self._out) as waiting:
                taken = self._send(waiting)
            del self._out[:taken]
            if self._out:
                return
        self._out = None
        if self._producer is not None:
            self._ask_for_more()
        else:
            self._finish()

    def _ask_for_more(self) -> None:
        if self._producing is _HELD_BACK:
            self._producing = _PUSHING
            self._producer.resumeProducing()
        elif self._producing is _PULLED:
            self._producer.resumeProducing()

    def _finish(self) -> None:
        """Where everything is written, do what was to be done then."""
        if self._out or self._producer is not None:
            return
        if self._output is _FINISHING:
            self._output = following(OUTPUT, self._output, StreamEvent.ALL_WRITTEN)
            self._shut_down_writing()
        elif self._output is _CLOSING:
            self._lost(Failure(error.ConnectionDone()))

    def _shut_down_writing(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it is gone altogether, and the poller will say so
        protocol: Any = self._protocol
        if self._input is _ENDED:
            self._lost(Failure(error.ConnectionDone()))
        elif IHalfCloseableProtocol.providedBy(protocol):
            protocol.writeConnectionLost()

    def loseWriteConnection(self) -> None:
        """End our direction once everything is written; the other goes on."""
        if self._output is _OPEN:
            self._output = following(OUTPUT, self._output, StreamEvent.END_ASKED)
            if not self._out and self._producer is None:
                self._finish()

    @property
    def disconnecting(self) -> bool:
        """Whether the end of the connection has been asked for."""
        return self._input is _STOPPED

    def loseConnection(self) -> None:
        """End both directions once everything is written. Nothing more is read."""
        if self._input is not _STOPPED:
            self._change(StreamEvent.CLOSE_ASKED)
            self._close_soon()

    def _change(self, event: StreamEvent) -> None:
        """Go over into the states that follow on an event which ends both directions."""
        self._input = following(INPUT, self._input, event)
        self._output = following(OUTPUT, self._output, event)

    def _close_soon(self) -> None:
        """With nothing left to write the end comes at once, but never within the caller's own call."""
        if not self._out and self._producer is None:
            self._poller.soon(self._finish)

    def abortConnection(self) -> None:
        """End both directions now, with a RST; the protocol hears of it a little later."""
        if self._output is _ABORTING or self._output is _CLOSED:
            return
        reset(self._sock)
        self._change(StreamEvent.ABORT_ASKED)
        self._poller.soon(self._lost, Failure(error.ConnectionAborted()))

    # -- producers -----------------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """``producer`` is paused while more than 64 KiB wait to be written, or pulled when nothing does."""
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is registered already")
        if self._output is _CLOSED:
            producer.stopProducing()
            return
        self._producer = producer
        self._producing = _PUSHING if streaming else _PULLED
        if not streaming:
            self._poller.soon(self._flush)

    def unregisterProducer(self) -> None:
        """Nobody is to be paused any more."""
        self._producer = None
        self._producing = _NO_PRODUCER
        if (self._output is _FINISHING or self._output is _CLOSING) and not self._out:
            self._poller.soon(self._finish)

    def pauseProducing(self) -> None:
        """Leave what comes in the kernel. A reset is still noticed."""
        if self._input is _READING:
            self._input = _PAUSED

    def resumeProducing(self) -> None:
        """Give the protocol what comes, and what has come meanwhile."""
        if self._input is not _PAUSED:
            return
        self._input = _READING
        if self._readable:
            self._poller.rearm(self._sock.fileno())

    def stopProducing(self) -> None:
        """A consumer of ours has gone."""
        self.loseConnection()

    # -- the socket ----------------------------------------------------------------------------------

    def detach(self) -> Detached:
        """Give the socket away. The poller goes on to watch it; the new owner says who is told."""
        self._protocol = None
        self._input, self._output = _STOPPED, _CLOSED  # StreamEvent.LOST, in every state
        return Detached(self._sock, self._readable, bytes(self._out or b""), self._fin_seen)

    def getHandle(self) -> socket.socket:
        """The socket itself."""
        return self._sock

    def getHost(self) -> IPv4Address | IPv6Address:
        """Our end."""
        return _address(self._sock.getsockname())

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The other end."""
        return _address(self._sock.getpeername())

    def getTcpNoDelay(self) -> bool:
        """Whether small writes go out at once."""
        return bool(self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Let small writes go out at once (TCP_NODELAY)."""
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Whether the kernel probes a silent peer."""
        return bool(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Let the kernel probe a silent peer (SO_KEEPALIVE)."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)


def _address(sockaddr: tuple[Any, ...]) -> IPv4Address | IPv6Address:
    if len(sockaddr) == 4:  # noqa: PLR2004 - an IPv6 address has flow information and a scope, too
        return IPv6Address("TCP", *sockaddr)
    return IPv4Address("TCP", *sockaddr)
