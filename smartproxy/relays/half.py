"""What the relays over sockets share: one half of a relayed connection, and the relay of two halves.

A :class:`Half` is one socket of the connection. It is read from, and what was read is written to its *peer*, the
other half. What each of the two can still do is in :mod:`smartproxy.relays.states`.

What differs between a half that splices and one with TLS is how bytes move (:meth:`Half.move`, :meth:`Half.flush`) and
how an output is ended (:meth:`Half.send_end`). :meth:`Half.pump` moves from a half to its peer until the one has no
more to give or the other does not take: back-pressure is that nobody reads.

``readable``, ``writable`` and ``fin_seen`` are no states. They are what the kernel last reported of the socket, which
has to be remembered because it is watched edge-triggered (epoll(7)), and they change with the chunks. The states
change at ends only, and between two ends they cost the byte path a comparison by identity.
"""

from __future__ import annotations

import errno
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smartproxy.errors import IllegalTransition
from smartproxy.model.outcome import CloseReason
from smartproxy.net.liveness import socket_gone
from smartproxy.net.poller import BROKEN, FIN_SEEN, READABLE, WRITABLE, Poller
from smartproxy.net.stream import reset
from smartproxy.relays.interfaces import IRelay
from smartproxy.relays.states import READING, WRITING, HalfEvent, Reading, Writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smartproxy.model.record import ConnectionRecord
    from smartproxy.net.detach import Detached

# Bound here for the byte path: an attribute of an enum class is looked up by Python code before 3.12 (80 ns).
_READING, _DRAINING, _INPUT_ENDED, _INPUT_CLOSED = Reading
_WRITING, _WRITE_FAILED, _FINISHED, _CUTTING, _OUTPUT_CLOSED = Writing
_INPUT_ENDED_EVENT, _OUTPUT_ENDED_EVENT = HalfEvent.INPUT_ENDED, HalfEvent.OUTPUT_ENDED


class Half(ABC):
    """One socket of a relayed connection, and what waits to be written to it.

    :ivar peer: the other half, until the relay has ended.
    :ivar count: called with the number of payload bytes handed to this half, and with the time.
    :ivar readable: whether the kernel may have bytes, or the FIN, of this socket.
    :ivar writable: whether the kernel may take bytes for it.
    :ivar fin_seen: whether the kernel has reported a FIN: it is no event of its own once bytes before it are read.
    :ivar buffered: whether bytes of this socket may wait in this process, for which no event will come.
    :ivar waiting: number of bytes that were read from the peer and not written to this half yet.
    :ivar pending: these bytes, where they are in this process (a splice relay has them in a pipe).
    :cvar TURNS: how many chunks a call of :meth:`pump` moves before other connections are served.
    """

    __slots__ = (
        "buffered", "count", "fin_seen", "peer", "pending", "readable", "reading", "relay", "sock", "waiting",
        "writable", "writing",
    )  # fmt: skip

    TURNS: ClassVar[int]
    peer: Self
    relay: SocketRelay

    def __init__(self, relay: SocketRelay, given: Detached, count: Callable[[int, float], None]) -> None:
        self.relay = relay
        self.sock = given.sock
        self.count = count
        self.reading = _READING
        self.writing = _WRITING
        self.readable = given.readable
        self.fin_seen = given.fin_seen
        self.writable = True
        self.buffered = False
        self.pending = given.unsent
        self.waiting = len(given.unsent)

    def change(self, event: HalfEvent) -> None:
        """Go over into the states that follow on ``event``.

        :raises IllegalTransition: where it is not allowed in one of the two states.
        """
        try:
            self.reading, self.writing = READING[self.reading][event], WRITING[self.writing][event]
        except KeyError:
            raise IllegalTransition(f"{event} is not allowed in {self.reading}, {self.writing}") from None

    # -- events of the poller ------------------------------------------------------------------------

    def ready(self, events: int) -> None:
        """The socket has changed. Each step may end the relay, so each looks whether it has."""
        if self.reading is _INPUT_CLOSED:
            if self.writing is _CUTTING:
                self.writable = True
                self.cut_off(is_lost=bool(events & BROKEN))
            return
        if events & WRITABLE and not self.writable:
            self.writable = True
            self.peer.pump()  # it writes what waits for this half first
        if events & READABLE and self.reading is not _INPUT_CLOSED:
            self.readable = True
            if events & FIN_SEEN:
                self.fin_seen = True
            self.pump()
        if events & BROKEN:
            self.relay.broken(self)

    def failed(self, why: Failure) -> None:
        """An event raised an exception, which indicates a bug in smartproxy; the poller has logged it."""
        self.relay.abort(CloseReason.ERROR)

    # -- moving --------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Move what comes from this half to its peer."""
        other = self.peer
        turns = self.TURNS
        while True:
            # Nothing is read before the peer has taken all that was: that is the back-pressure. Its next
            # event for writing comes back here.
            if other.waiting and not other.flush():
                return
            if self.reading is not _READING and self.reading is not _DRAINING:
                if self.reading is _INPUT_ENDED:
                    other.finish()
                return
            if other.writing is not _WRITING or not (self.readable or self.buffered):
                return
            if not turns:
                break
            turns -= 1
            self.move(other)
        # There is more, but other connections come first. The socket has been reported already, so it has to be
        # registered anew to be reported again; of what is buffered here it knows nothing.
        if self.buffered:
            self.relay.poller.soon(self._go_on)
        else:
            self.relay.poller.rearm(self.sock.fileno())

    def _go_on(self) -> None:
        if self.reading is not _INPUT_CLOSED:
            self.pump()

    @abstractmethod
    def move(self, other: Self) -> None:
        """Read one chunk, and write it to ``other``."""

    def input_ended(self) -> None:
        """The socket has no more bytes, and no error: a FIN. After a reset it looks the same, and is none."""
        if self.reading is _DRAINING:
            self.relay.broken(self)
        else:
            self.change(_INPUT_ENDED_EVENT)

    # -- writing -------------------------------------------------------------------------------------

    def write(self, data: memoryview | bytes) -> int:
        """Write ``data`` to this half; what the socket does not take waits. Returns how many bytes it took."""
        if self.waiting or not self.writable:
            self.pending += data
            self.waiting = len(self.pending)
            return 0
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as failed:
            self.write_failed(failed)
            return 0
        if sent < len(data):
            self.writable = False
            self.pending = bytes(data[sent:])  # a copy: the buffer that it is in is used for every connection
            self.waiting = len(self.pending)
        return sent

    @abstractmethod
    def greet(self, header: bytes, held: bytes) -> None:
        """Write what goes before everything else: ``header``, which is not counted, and the bytes ``held`` so far."""

    def flush(self) -> bool:
        """Write what waits. Returns whether nothing waits any more and the relay goes on."""
        if not self.writable:
            return False
        data, self.pending, self.waiting = self.pending, b"", 0
        self.write(data)
        return not self.waiting and self.writing is not _OUTPUT_CLOSED

    def write_failed(self, why: OSError) -> None:
        """Nothing more can be written to this half. What it sent before is still delivered.

        A server that refuses a long upload answers, closes, and has its kernel reset the rest of the upload; the
        answer is then in our socket, behind which the error stands. The kernel says EPIPE instead of ECONNRESET
        where a FIN came before the RST: then what is in the socket is all that the server had to say.
        """
        if self.reading is not _READING or self.writing is not _WRITING:
            self.relay.broken(self)
            return
        self.forget()
        was_reset = why.errno != errno.EPIPE
        self.change(HalfEvent.WRITE_RESET if was_reset else HalfEvent.WRITE_FAILED)
        self.readable = True
        self.pump()
        if was_reset:
            self.relay.broken(self)  # where the peer does not take all of it at once, the rest is lost

    def finish(self) -> None:
        """The peer's input has ended and all of it is written: end this half's output, too."""
        first = self.writing is _WRITING
        if first:
            self.change(_OUTPUT_ENDED_EVENT)
            self.forget()  # nothing waits; a pipe that was borrowed for it may still be here
            self.send_end()
            if self.writing is _OUTPUT_CLOSED:
                return
        if self.peer.writing is not _WRITING and not self.waiting and not self.peer.waiting:
            self.relay.complete()
        elif first:
            self.relay.record.half_closed()

    def send_end(self) -> None:
        """Send a FIN; the last one is sent by closing the socket."""
        if self.peer.writing is _WRITING:
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.relay.broken(self)

    def cut_off(self, *, is_lost: bool) -> None:
        """Its peer was cut: send what waits, then close without an end in order; at once where the socket is lost."""
        raise NotImplementedError  # without TLS every FIN is an end in order

    def forget(self) -> None:
        """Drop what waits, and give back what was borrowed for it."""
        self.pending = b""
        self.waiting = 0


@implementer(IRelay)
class SocketRelay:
    """Two sockets of the poller, relayed. A subclass says how bytes move, by the halves that it makes.

    :ivar done: fires with the reason when both sockets are closed.
    """

    __slots__ = ("client", "done", "poller", "record", "upstream")

    client: Half
    upstream: Half

    def __init__(self, client: Half, upstream: Half, record: ConnectionRecord, poller: Poller) -> None:
        self.record = record
        self.poller = poller
        self.done: Deferred[CloseReason] = Deferred()
        self.client = client
        self.upstream = upstream
        client.peer = upstream
        upstream.peer = client
        poller.hand_over(client.sock.fileno(), client)
        poller.hand_over(upstream.sock.fileno(), upstream)

    def start(self, header: bytes, held: bytes, ended: bool) -> Deferred[CloseReason]:
        """See :class:`~smartproxy.relays.interfaces.IRelay`."""
        client, upstream = self.client, self.upstream
        if ended:
            client.change(HalfEvent.INPUT_ENDED)
        upstream.greet(header, held)
        # What was received before the halves were handed over is no event any more. Each step may end the relay.
        for half, other in ((client, upstream), (upstream, client)):
            if half.reading is not _INPUT_CLOSED and (
                half.readable or half.buffered or other.waiting or ended
            ):
                half.pump()
        return self.done

    def abort(self, reason: CloseReason) -> None:
        """End both halves with a reset."""
        if not self.done.called:
            reset(self.client.sock)
            reset(self.upstream.sock)
            self.end(reason)

    def gone(self) -> tuple[bool, bool]:
        """Whether the kernel has the client's and the upstream's connection no longer."""
        if self.done.called:
            return True, True
        return socket_gone(self.client.sock), socket_gone(self.upstream.sock)

    def broken(self, half: Half) -> None:
        """A half was reset, or its TLS failed: so is the other."""
        if not self.done.called:
            reset(half.peer.sock)
            self.end(self.blame(half))

    def blame(self, half: Half) -> CloseReason:
        """The reason of an end that ``half`` has caused."""
        return CloseReason.CLIENT_RESET if half is self.client else CloseReason.UPSTREAM_RESET

    def complete(self) -> None:
        """Both directions have ended in order."""
        self.end(CloseReason.NORMAL)

    def end(self, reason: CloseReason) -> None:
        """Close both sockets, once."""
        client, upstream = self.client, self.upstream
        for half in (client, upstream):
            half.reading, half.writing = (
                _INPUT_CLOSED,
                _OUTPUT_CLOSED,
            )  # HalfEvent.CLOSED, which every state allows
            half.forget()
            self.poller.close(half.sock, half)
        # With the circle of references broken, what has ended is freed now and not by the garbage collector.
        del client.peer, upstream.peer, self.client, self.upstream
        self.done.callback(reason)
