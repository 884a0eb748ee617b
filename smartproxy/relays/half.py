"""What the relays over sockets share: one half of a relayed connection, and the relay of two halves.

A :class:`Half` is one socket of the connection. It is read from, and what was read is written to its *peer*, the
other half. What each of the two can still do is in :mod:`smartproxy.relays.states`.

What differs between a half that splices and one with TLS is how bytes move (:meth:`Half.move`, :meth:`Half.flush`) and
how an output is ended (:meth:`Half.send_end`). :meth:`Half.pump` moves from a half to its peer until the one has no
more to give or the other does not take: back-pressure is that nobody reads.

``readable``, ``writable`` and ``fin_seen`` are no states. They are what the kernel last reported of the socket, which
has to be remembered because it is watched edge-triggered (epoll(7)), and they change with the chunks. The states
change only when a direction ends. In between they cost the byte path a comparison by identity, and no look-up.

Every call that writes may end the relay, because a failed write resets both sides. So each step that follows one looks
at the states again; :meth:`SocketRelay.end` leaves both halves CLOSED and empty for that.
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
_INPUT_OPEN, _DRAINING, _INPUT_ENDED, _INPUT_CLOSED = Reading
_OUTPUT_OPEN, _WRITE_FAILED, _FINISHED, _CUTTING, _OUTPUT_CLOSED = Writing
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
        self.reading = _INPUT_OPEN
        self.writing = _OUTPUT_OPEN
        # An event that the transport before this relay has had is not reported again.
        self.readable = given.readable
        self.fin_seen = given.fin_seen
        # Until a write says otherwise: if it does not succeed, the kernel reports the socket once it is writable.
        self.writable = True
        self.buffered = False
        self.pending = given.unsent
        self.waiting = len(given.unsent)

    def change(self, event: HalfEvent) -> None:
        """Apply the transitions of ``event`` to both states.

        :raises IllegalTransition: if one of the two states does not allow it.
        """
        try:
            self.reading, self.writing = READING[self.reading][event], WRITING[self.writing][event]
        except KeyError:
            raise IllegalTransition(f"{event} is not allowed in {self.reading}, {self.writing}") from None

    # -- events of the poller ------------------------------------------------------------------------

    def ready(self, events: int) -> None:
        """Handle the poller's events of the socket."""
        if self.reading is _INPUT_CLOSED:
            # After a cut nothing is read. The half that is being cut off still writes; the other only waits.
            if self.writing is _CUTTING:
                self.writable = True
                self.cut_off(is_lost=bool(events & BROKEN))
            return
        if events & WRITABLE and not self.writable:
            self.writable = True
            self.peer.pump()  # the peer's input goes here: this flushes what waits, then reads on
        # A FIN or RST is readable, too: the read finds out which.
        if events & READABLE and self.reading is not _INPUT_CLOSED:
            self.readable = True
            if events & FIN_SEEN:
                self.fin_seen = True
            self.pump()
        # Last, because bytes that were received before the reset can still be read.
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
            # Back-pressure: nothing is read until the peer has taken all that was read before. Its next event
            # for writing resumes here.
            if other.waiting and not other.flush():
                return
            # Only now, with all of it written, may the end of this input follow.
            if self.reading is not _INPUT_OPEN and self.reading is not _DRAINING:
                if self.reading is _INPUT_ENDED:
                    other.finish()
                return
            # Where the peer takes no more, this input is left in the kernel, and the sender is slowed down by TCP.
            if other.writing is not _OUTPUT_OPEN or not (self.readable or self.buffered):
                return
            if not turns:
                break
            turns -= 1
            self.move(other)
        # There is more, but other connections are served first. Edge-triggered, the kernel reports the socket
        # again only after it was armed again; for bytes that are buffered in this process it has no event at all.
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
        """Handle a read of 0 bytes: a FIN, or the end of what was received before a reset."""
        # A write has consumed the error of the reset (SO_ERROR is reported once), so the read reports an end.
        if self.reading is _DRAINING:
            self.relay.broken(self)
        else:
            self.change(_INPUT_ENDED_EVENT)

    # -- writing -------------------------------------------------------------------------------------

    def write(self, data: memoryview | bytes) -> int:
        """Write ``data`` to this half; what the socket does not take waits. Returns how many bytes it took."""
        # Behind what waits, to keep the order. Only answers of a TLS channel come here while something waits:
        # payload is not read then.
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
            self.pending = bytes(data[sent:])  # copied: every connection uses the same buffer
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

        A server that refuses a long upload sends its answer and closes, and its kernel resets the rest of the
        upload. The answer is then still in our receive buffer. The kernel reports EPIPE instead of ECONNRESET if a
        FIN came before the RST: then the receive buffer has all that the server sent.
        """
        # Without an open input there is nothing left to deliver; without an open output this is a second failure.
        if self.reading is not _INPUT_OPEN or self.writing is not _OUTPUT_OPEN:
            self.relay.broken(self)
            return
        self.forget()
        was_reset = why.errno != errno.EPIPE
        self.change(HalfEvent.WRITE_RESET if was_reset else HalfEvent.WRITE_FAILED)
        # The reset is reported once, to this write; so no event may come for bytes that are still to be read.
        self.readable = True
        self.pump()
        # What the peer did not take at once is dropped: the reset must be passed on, and nothing reports it again.
        if was_reset:
            self.relay.broken(self)

    def finish(self) -> None:
        """The peer's input has ended and all of it is written: end this half's output, too."""
        first = self.writing is _OUTPUT_OPEN
        if first:
            self.change(_OUTPUT_ENDED_EVENT)
            self.forget()  # nothing waits, but a borrowed pipe may still be held
            self.send_end()
            if self.writing is _OUTPUT_CLOSED:
                return
        # With TLS the close_notify itself may have to wait, so the end of both outputs is not yet the last byte.
        if self.peer.writing is not _OUTPUT_OPEN and not self.waiting and not self.peer.waiting:
            self.relay.complete()
        elif first:
            self.relay.record.half_closed()

    def send_end(self) -> None:
        """Send a FIN. If both outputs have ended, closing the socket sends it."""
        if self.peer.writing is _OUTPUT_OPEN:
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.relay.broken(self)

    def cut_off(self, *, is_lost: bool) -> None:
        """Send what waits, then close without an orderly end: the peer was cut. Close at once if the socket is lost."""
        raise NotImplementedError  # without TLS there is no cut: every FIN is an orderly end

    def forget(self) -> None:
        """Drop what waits, and return what was borrowed for it."""
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
        # There will be no event for bytes that were reported before the sockets came here.
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
        """Whether the client's and the upstream's connection no longer exist in the kernel."""
        if self.done.called:
            return True, True
        return socket_gone(self.client.sock), socket_gone(self.upstream.sock)

    def broken(self, half: Half) -> None:
        """Reset the other half: ``half`` was reset, or its TLS failed."""
        # Only the other: the kernel has closed this one already, or its TLS has sent an alert, which a RST would drop.
        if not self.done.called:
            reset(half.peer.sock)
            self.end(self.blame(half))

    def blame(self, half: Half) -> CloseReason:
        """The close reason of an end that ``half`` caused."""
        return CloseReason.CLIENT_RESET if half is self.client else CloseReason.UPSTREAM_RESET

    def complete(self) -> None:
        """Close the relay: both directions have ended in order."""
        self.end(CloseReason.NORMAL)

    def end(self, reason: CloseReason) -> None:
        """Close both sockets, once."""
        client, upstream = self.client, self.upstream
        for half in (client, upstream):
            # HalfEvent.CLOSED without the look-up: every state allows it.
            half.reading, half.writing = _INPUT_CLOSED, _OUTPUT_CLOSED
            half.forget()
            self.close(half)
        # Without these circles, the halves are freed now and not by the garbage collector.
        del client.peer, upstream.peer, self.client, self.upstream
        self.done.callback(reason)

    def close(self, half: Half) -> None:
        """Close the socket of ``half``."""
        self.poller.close(half.sock, half)
