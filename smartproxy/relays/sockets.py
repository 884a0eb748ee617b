"""The relay of two halves, whatever they do to move bytes: how it starts, and every way in which it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from zope.interface import classImplements

from smartproxy.flow.event import AwaitableEvent
from smartproxy.model.outcome import CloseReason, EndedBy
from smartproxy.net.liveness import socket_gone
from smartproxy.net.outgoing import acknowledged
from smartproxy.net.poller import READABLE, WRITABLE, Poller
from smartproxy.net.stream import reset
from smartproxy.relays.interfaces import IRelay
from smartproxy.relays.states import HalfEvent, Reading, Writing

if TYPE_CHECKING:
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.relays.half import Half

#: The kind of half.
H = TypeVar("H", bound="Half[Any]")

# As in smartproxy.relays.half.
_INPUT_CLOSED, _OUTPUT_CLOSED = Reading.CLOSED, Writing.CLOSED
_WRITE_FAILED, _FINISHED, _CUTTING = Writing.FAILED, Writing.FINISHED, Writing.CUTTING


class SocketRelay(Generic[H]):
    """Two sockets of the poller, relayed. A subclass says how bytes move, by the halves that it makes.

    :ivar done: happens with the reason when both sockets are closed.
    :ivar awaited: see :class:`~smartproxy.relays.half.PairRelay`, and so are ``reason`` and ``resets``.
    """

    __slots__ = ("awaited", "client", "done", "poller", "reason", "record", "resets", "upstream")
    __deletable__ = ("client", "upstream")

    def __init__(self, client: H, upstream: H, record: ConnectionRecord, poller: Poller) -> None:
        self.record = record
        self.poller = poller
        self.done: AwaitableEvent[CloseReason] = AwaitableEvent()
        self.reason = CloseReason.NORMAL
        self.resets = True
        self.awaited = WRITABLE
        self.client = client
        self.upstream = upstream
        client.peer = upstream
        upstream.peer = client
        poller.hand_over(client.sock.fileno(), client)
        poller.hand_over(upstream.sock.fileno(), upstream)

    def start(self, header: bytes, held: bytes, ended: bool) -> AwaitableEvent[CloseReason]:
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
        """End both halves with a reset; in order, where the end was sent and its timeout has passed."""
        if self.done.has_happened:
            return
        for half in (self.client, self.upstream):
            if reason is not CloseReason.HALF_CLOSE_TIMEOUT or half.writing is not _FINISHED:
                reset(half.sock)
        self.end(reason)

    def gone(self) -> tuple[bool, bool]:
        """Whether the client's and the upstream's connection no longer exist in the kernel."""
        if self.done.has_happened:
            return True, True
        return socket_gone(self.client.sock), socket_gone(self.upstream.sock)

    def acknowledged(self) -> int | None:
        """See :class:`~smartproxy.relays.interfaces.IRelay`."""
        return None if self.done.has_happened else acknowledged(self.client.sock, self.upstream.sock)

    def broken(self, half: H) -> None:
        """Reset the other half behind its last byte: ``half`` was reset, or its TLS failed, and nothing of it is left."""
        # Only the other: the kernel has closed this one already, or its TLS has sent an alert, which a RST would drop.
        self.cut(half, resets=True)

    def cut(self, half: H, *, resets: bool) -> None:
        """Cut the other half off when it was sent everything that was received from ``half``."""
        if self.done.has_happened:
            return
        self.blame(half)
        other = half.peer
        # The second end of the two: nothing can be delivered any more.
        if half.writing is _CUTTING or other.writing is _WRITE_FAILED:
            reset(other.sock)
            self.end(self.reason)
            return
        self.resets = resets
        if other.fin_sent:
            self.awaited = READABLE
        half.change(HalfEvent.INPUT_CUT)
        half.forget()
        other.change(HalfEvent.PEER_CUT)
        other.cut_off(is_lost=False)
        if not self.done.has_happened:
            self.half_closed(half)

    def blame(self, half: H) -> None:
        """Set the close reason: ``half`` was reset or cut, and it was the first."""
        if self.reason is CloseReason.NORMAL:
            self.reason = CloseReason.CLIENT_RESET if half is self.client else CloseReason.UPSTREAM_RESET

    def half_closed(self, half: H) -> None:
        """The input of ``half`` has ended, and its end was passed on."""
        self.record.half_closed(EndedBy.CLIENT if half is self.client else EndedBy.TARGET)

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
        self.done.happen(reason)

    def close(self, half: H) -> None:
        """Close the socket of ``half``."""
        self.poller.close(half.sock, half)


classImplements(SocketRelay, IRelay)
