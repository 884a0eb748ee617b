"""One side of a relay that carries TLS: a socket, its channel if it has one, and what waits to be written to it.

Reading stops where the other side does not take what it is given: a side has at most one turn's bytes that are not
written yet. The sockets are watched edge-triggered, so ``readable`` and ``writable`` remember what the last event
said, and ``inside`` that the channel may hold what no event tells of.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from smartproxy.errors import TlsError
from smartproxy.model.outcome import CloseReason
from smartproxy.net.poller import BROKEN, FIN_SEEN, READABLE, WRITABLE
from smartproxy.tls.channel import CIPHER, CIPHER_VIEW, PLAIN, PLAIN_VIEW, Channel

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smartproxy.net.stream import Detached
    from smartproxy.relays.tls import TlsRelay

#: Chunks a turn and direction: at most 4 MiB, some 3 ms, before the others have their turn. With 1 MiB a GB costs 6 % more.
_TURNS = 16
#: Bytes that a side may leave unread while it has us answer: twice what the other direction leaves there, and
#: thousands of changes of keys, each of which wants one of ours (RFC 8446, 4.6.3).
_UNREAD = 2 * PLAIN


class TlsSide:
    """One socket, with its TLS if it has any, and what waits to be written to it.

    :ivar count: told how many bytes of plaintext were handed to this side, and when.
    :ivar inside: whether the channel may hold plaintext, for which no event will come.
    :ivar ended: its direction has ended, in order. :ivar finished: it has been told of the other's end.
    :ivar deaf: it takes no more. :ivar was_reset: by a RST with no FIN before it.
    """

    __slots__ = (
        "channel", "count", "deaf", "ended", "fin_seen", "finished", "inside", "peer", "pending", "readable",
        "relay", "sock", "was_reset", "writable",
    )  # fmt: skip

    peer: TlsSide

    def __init__(
        self,
        relay: TlsRelay,
        given: Detached,
        channel: Channel | None,
        count: Callable[[int, float], None],
    ) -> None:
        self.relay = relay
        self.sock = given.sock
        self.channel = channel
        self.count = count
        self.readable = given.readable
        self.inside = channel is not None  # it may hold what came behind the handshake
        self.writable = True
        self.fin_seen = given.fin_seen
        self.ended = False
        self.finished = False
        self.deaf = False
        self.was_reset = False
        self.pending = given.unsent

    def ready(self, events: int) -> None:
        """The poller's word: the socket has changed."""
        if self.relay.cutting is not None:
            self._ready_to_be_cut(events)
            return
        if events & WRITABLE and not self.writable:
            self.writable = True
            if self.flush():
                self.peer.pump()
        if events & READABLE and not self.relay.over:
            self.readable = True
            if events & FIN_SEEN:
                self.fin_seen = True
            self.pump()
        if events & BROKEN and not self.relay.over:
            self.relay.broken(self)

    def _ready_to_be_cut(self, events: int) -> None:
        """Nothing is read any more, of either side; what one of them says now has nowhere to go."""
        if self.relay.cutting is self:
            self.writable = True
            self.relay.cut_off(self, lost=bool(events & BROKEN))

    def failed(self, why: Failure) -> None:
        """A fault of ours."""
        self.relay.abort(CloseReason.ERROR)

    def pump(self) -> None:
        """Move what comes from here to the other side."""
        other = self.peer
        for _ in range(_TURNS):
            if other.pending and not other.flush():
                return
            if self.ended:
                other.finish()
                return
            if other.finished or not (self.readable or self.inside):
                return
            got = self._take()
            if got:
                other.put(got)
            if not self.relay.over:
                self._answer()
            if self.relay.over or self.relay.cutting is not None:
                return
        if self.inside or self.ended:
            self.relay.poller.soon(self._go_on)  # no event would come for that
        else:
            self.relay.poller.rearm(self.sock.fileno())

    def _go_on(self) -> None:
        if not self.relay.over and self.relay.cutting is None:
            self.pump()

    # -- reading -------------------------------------------------------------------------------------

    def _take(self) -> int:
        """Plaintext into the shared buffer; how many bytes."""
        channel = self.channel
        if channel is None:
            return self._receive(PLAIN_VIEW, PLAIN)
        if not self.inside:
            came = self._receive(CIPHER_VIEW, PLAIN)
            if not came:
                return 0
            channel.feed_shared(came)
        try:
            got = channel.read()
        except TlsError:
            self._send_output()  # the alert that says why
            self.relay.broken(self)
            return 0
        self.inside = got == PLAIN
        self.ended = channel.ended
        return got

    def _answer(self) -> None:
        """Send what the channel has to say to what came: to a change of keys, a renegotiation.

        Behind what was read, and not before it: to fail here is to read on, into the buffer that it stood in.
        """
        self._send_output()
        if len(self.pending) > _UNREAD:
            self.relay.broken(self)

    def _receive(self, into: memoryview, room: int) -> int:
        try:
            came = self.sock.recv_into(into, room)
        except BlockingIOError:
            self.readable = False
            return 0
        except OSError:
            self.relay.broken(self)
            return 0
        if came < room:
            # A short read has emptied the socket, but for a FIN that was reported with these bytes.
            self.readable = self.fin_seen
        if not came:
            self.readable = False
            if self.was_reset:
                self.relay.broken(self)
            elif self.channel is None:
                self.ended = True
            else:
                self.relay.cut(self)
        return came

    # -- writing -------------------------------------------------------------------------------------

    def put(self, got: int) -> None:
        """Write ``got`` bytes of the shared plaintext to this side; keep what it does not take."""
        if self.channel is None:
            self._send(PLAIN_VIEW[:got])
        else:
            try:
                self.channel.write_shared(got)
            except TlsError:
                self.relay.broken(self)
                return
            self._send_output()
        self.count(got, self.relay.poller.now)

    def greet(self, header: bytes, held: bytes) -> None:
        """Write what goes before everything else; ``header`` is not counted.

        A header stands before the TLS of a target, if it has any, and so has been sent to one that does.
        """
        first = header + held
        if self.channel is None:
            if first:
                self._send(first)
        else:
            if first:
                self.channel.write(first, len(first))
            self._send_output()  # the end of the handshake is in it, too
        if held:
            self.count(len(held), self.relay.poller.now)

    def _send_output(self) -> None:
        channel = self.channel
        while channel is not None and (ready := channel.output()):
            self._send(CIPHER_VIEW[:ready])
            if ready < CIPHER:
                return

    def _send(self, data: memoryview | bytes) -> None:
        if self.pending:
            self.pending += data
            return
        try:
            sent = self.sock.send(data) if self.writable else 0
        except BlockingIOError:
            sent = 0
        except OSError as failed:
            self.relay.deaf(self, failed)
            return
        if sent < len(data):
            self.writable = False
            self.pending = bytes(data[sent:])

    def flush(self) -> bool:
        """Write what waits. Whether nothing waits any more."""
        if not self.writable:
            return False
        waiting, self.pending = self.pending, b""
        if waiting:
            self._send(waiting)
        return not self.pending and not self.relay.over

    def finish(self) -> None:
        """The other side has ended, in order, and everything of it is written: end here, too."""
        if not self.finished:
            self.finished = True
            self._say_end()
        if self.relay.over:
            return
        if self.peer.finished and not self.pending and not self.peer.pending:
            self.relay.complete()

    def _say_end(self) -> None:
        if self.channel is not None:
            self.channel.say_end()
            self._send_output()
        elif not self.peer.finished:
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.relay.broken(self)
                return
        if not self.relay.over:
            self.relay.record.half_closed()
