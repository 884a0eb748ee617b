"""One half of a relayed connection: what the relays over sockets share.

A :class:`Half` is one socket of the connection. It is read from, and what was read is written to its *peer*, the
other half. What each of the two can still do is in :mod:`smartproxy.relays.states`.

What differs between a half that splices and one with TLS is how bytes move (:meth:`Half.move`, :meth:`Half.flush`) and
how an output is ended (:meth:`Half.send_end`). :meth:`Half.pump` moves from a half to its peer until the one has no
more to give or the other does not take: back-pressure is that nobody reads.

``readable``, ``writable`` and ``marked`` are no states. They are what the kernel last reported of the socket, which
has to be remembered because it is watched edge-triggered (epoll(7)), and they change with the chunks. The states
change only when a direction ends. In between they cost the byte path a comparison by identity, and no look-up.

Every call that writes may end the relay, because a failed write may be the second end of both sides. So each step that follows one looks
at the states again; the relay's end leaves both halves CLOSED and empty for that.
"""

from __future__ import annotations

import errno
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from smartproxy.errors import IllegalTransition
from smartproxy.model.outcome import CloseReason
from smartproxy.net.outgoing import discard_input, report_when_sent, unsent
from smartproxy.net.poller import BROKEN, MARKED, READABLE, WRITABLE, Poller
from smartproxy.net.stream import reset
from smartproxy.relays.states import READING, WRITING, HalfEvent, Reading, Writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smartproxy.model.record import ConnectionRecord
    from smartproxy.net.detach import Detached

#: The relay of a kind of half.
R = TypeVar("R", bound="PairRelay")

# Bound here for the byte path: an attribute of an enum class is looked up by Python code before 3.12 (80 ns).
_INPUT_OPEN, _DRAINING, _INPUT_ENDED, _INPUT_CLOSED = Reading
_OUTPUT_OPEN, _WRITE_FAILED, _FINISHED, _CUTTING, _OUTPUT_CLOSED = Writing
_INPUT_ENDED_EVENT, _OUTPUT_ENDED_EVENT = HalfEvent.INPUT_ENDED, HalfEvent.OUTPUT_ENDED


class PairRelay(Protocol):
    """What a half asks of its relay: :class:`~smartproxy.relays.sockets.SocketRelay`.

    :ivar reason: why the relay ends; the half that was reset or cut first counts.
    :ivar resets: whether the half that is cut off is reset behind its last byte. With TLS, a FIN without close_notify
        is a cut, too.
    :ivar awaited: the events after which the half that is cut off may have been sent everything.
    """

    awaited: int
    poller: Poller
    reason: CloseReason
    record: ConnectionRecord
    resets: bool

    def abort(self, reason: CloseReason) -> None: ...

    def blame(self, half: Any) -> None: ...

    def broken(self, half: Any) -> None: ...

    def complete(self) -> None: ...

    def end(self, reason: CloseReason) -> None: ...

    def half_closed(self, half: Any) -> None: ...


class Half(ABC, Generic[R]):
    """One socket of a relayed connection, and what waits to be written to it.

    :ivar peer: the other half, until the relay has ended.
    :ivar count: called with the number of payload bytes handed to this half, and with the time.
    :ivar readable: whether the kernel may have bytes, or the FIN, of this socket.
    :ivar writable: whether the kernel may take bytes for it.
    :ivar marked: whether the kernel has reported a FIN or urgent data, before which a read stops: a short read has not
        emptied the socket then.
    :ivar buffered: whether bytes of this socket may wait in this process, for which no event will come.
    :ivar waiting: number of bytes that were read from the peer and not written to this half yet.
    :ivar pending: these bytes, where they are in this process (a splice relay has them in a pipe).
    :cvar TURNS: how many chunks a call of :meth:`pump` moves before other connections are served.
    """

    __slots__ = (
        "buffered", "count", "marked", "peer", "pending", "readable", "reading", "relay", "sock", "waiting",
        "writable", "writing",
    )  # fmt: skip
    __deletable__ = ("peer",)

    TURNS: ClassVar[int]
    peer: Self
    relay: R

    def __init__(self, relay: R, given: Detached, count: Callable[[int, float], None]) -> None:
        self.relay = relay
        self.sock = given.sock
        self.count = count
        self.reading = _INPUT_OPEN
        self.writing = _OUTPUT_OPEN
        # An event that the transport before this relay has had is not reported again.
        self.readable = given.readable
        self.marked = given.marked
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
            # After a cut nothing is relayed. The half that is being cut off still writes; the other only waits.
            if self.writing is _CUTTING and events & (self.relay.awaited | BROKEN):
                self.writable = True
                self.cut_off(is_lost=bool(events & BROKEN))
            return
        if events & WRITABLE and not self.writable:
            self.writable = True
            self.peer.pump()  # the peer's input goes here: this flushes what waits, then reads on
        # A FIN or RST is readable, too: the read finds out which.
        if events & READABLE and self.reading is not _INPUT_CLOSED:
            self.readable = True
            if events & MARKED:
                self.marked = True
            self.pump()
        # Last, because bytes that were received before the reset can still be read.
        if events & BROKEN:
            self.reset_received()

    def reset_received(self) -> None:
        """A RST was received: deliver what was received before it, then cut the peer off."""
        if self.reading is _INPUT_OPEN:
            self.relay.blame(self)
            self.change(HalfEvent.RESET)
            self.forget()
            # The reset is reported once, perhaps to a write; so no event may come for bytes that are still to be read.
            self.readable = True
            self.pump()
        # Nothing is left to be read, or the peer takes none of it. Otherwise its next event for writing resumes the pump.
        if self.reading is _INPUT_ENDED or (
            self.reading is _DRAINING and self.peer.writing is not _OUTPUT_OPEN
        ):
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
            # One chunk is always moved, whatever the time is.
            if not turns or (turns < self.TURNS and self.relay.poller.is_over()):
                break
            turns -= 1
            self.move(other)
        # There is more, but other connections are served first. Edge-triggered, the kernel reports the socket
        # again only after it was armed again; for bytes that are buffered in this process it has no event at all.
        if self.buffered:
            self.relay.poller.again(self.sock.fileno())
        else:
            self.relay.poller.rearm(self.sock.fileno())

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
        # Without an open input there is nothing left to read; behind a failed write this is a second failure. What is
        # written to a half that is FINISHED is its end itself, with TLS.
        if self.reading is not _INPUT_OPEN or self.writing not in (_OUTPUT_OPEN, _FINISHED):
            self.relay.broken(self)
        elif why.errno != errno.EPIPE or self.writing is _FINISHED:
            self.reset_received()
        else:
            self.relay.blame(self)
            self.change(HalfEvent.WRITE_FAILED)
            self.forget()
            self.readable = True
            self.pump()

    def finish(self) -> None:
        """The peer's input has ended and all of it is written: end this half's output, too."""
        first = self.writing is _OUTPUT_OPEN
        if first:
            self.change(_OUTPUT_ENDED_EVENT)
            self.forget()  # nothing waits, but a borrowed pipe may still be held
            self.send_end()
            if self.writing is _OUTPUT_CLOSED:
                return
        if self.peer.writing is _WRITE_FAILED:
            self.relay.broken(self.peer)  # its FIN came before its RST
        # With TLS the close_notify itself may have to wait, so the end of both outputs is not yet the last byte.
        elif self.peer.writing is not _OUTPUT_OPEN and not self.waiting and not self.peer.waiting:
            self.relay.complete()
        elif first:
            self.relay.half_closed(self.peer)

    def send_end(self) -> None:
        """Send a FIN. If both outputs have ended in order, closing the socket sends it."""
        if self.peer.writing is not _FINISHED:
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.reset_received()

    @property
    def fin_sent(self) -> bool:
        """Whether a FIN was sent to this half."""
        return self.writing is _FINISHED

    def cut_off(self, *, is_lost: bool) -> None:
        """Send what waits, then close without an orderly end: the peer was cut. Close at once if the socket ``is_lost``.

        A RST would drop what the kernel has not sent.
        """
        if not is_lost:
            if self.waiting and not self.flush():
                return
            if unsent(self.sock):
                self._wait_until_sent()
                return
        if self.relay.resets:
            reset(self.sock)
        self.relay.end(self.relay.reason)

    def _wait_until_sent(self) -> None:
        """Have :meth:`cut_off` called again when the kernel may have sent everything."""
        if self.relay.awaited is WRITABLE:
            report_when_sent(self.sock)
            self.relay.poller.rearm(self.sock.fileno())
            return
        # Behind a FIN the kernel reports the socket writable in any case. So look again when it sends something, which
        # nobody gets any more: left unread, it would make the close a RST, and once the window is full, no event follows.
        try:
            if discard_input(self.sock):
                self.relay.poller.rearm(self.sock.fileno())
        except (OSError, EOFError):
            self.relay.end(self.relay.reason)  # after its FIN, the kernel sends the rest by itself

    def forget(self) -> None:
        """Drop what waits, and return what was borrowed for it."""
        self.pending = b""
        self.waiting = 0
