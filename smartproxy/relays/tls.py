"""The relay for sockets of the poller of which one, or both, carry TLS that ends here.

::

    socket --recv_into--> [decrypt] --> plaintext --> [encrypt] --send--> socket

One read and one write of up to 64 KiB a turn, through buffers that all channels share: nothing is allocated
for a chunk unless the other side does not take it, and then nobody reads until it does. What a side has
that is not written yet is at most one turn's.

Each direction ends by itself: with a close_notify on a side with TLS, with a FIN on one without. A FIN
where a close_notify was due is a cut, and is passed on as one: what was to come is missing, and the
other side must not take what it has for the whole. But it gets what there is: the cut comes behind the last byte
that was said (:meth:`TlsRelay.cut`), as a FIN without close_notify on a side with TLS, as a RST on one without.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smartproxy.flow.liveness import socket_gone
from smartproxy.flow.poller import BROKEN, FIN_SEEN, READABLE, WRITABLE, Poller
from smartproxy.flow.stream import Detached, reset
from smartproxy.interfaces import IRelay
from smartproxy.model.outcome import CloseReason
from smartproxy.tls.channel import CIPHER, CIPHER_VIEW, PLAIN, PLAIN_VIEW, Channel, TlsFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smartproxy.model.record import ConnectionRecord

#: Chunks a turn and direction: at most 1 MiB before the others have their turn.
_TURNS = 16
#: linux/sockios.h: how many bytes of a TCP connection have never been sent.
_SIOCOUTQNSD = 0x894B
#: tcp(7) has it from Linux 3.12 on; Python's socket module from 3.12 on.
_TCP_NOTSENT_LOWAT = 25


class _Side:
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

    peer: _Side

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
        except TlsFailed:
            self._send_output()  # the alert that says why
            self.relay.broken(self)
            return 0
        self.inside = got == PLAIN
        self.ended = channel.ended
        if not got:
            self._send_output()  # what came may want an answer: a change of keys, a renegotiation
        return got

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
            except TlsFailed:
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


@implementer(IRelay)
class TlsRelay:
    """Two sockets of the poller, relayed through the TLS of either.

    :ivar over: whether both sockets have been let go.
    :ivar cutting: the side that is to be cut off when it has been sent everything.
    """

    __slots__ = ("_why", "client", "cutting", "done", "over", "poller", "record", "upstream")

    def __init__(
        self,
        client: tuple[Detached, Channel | None],
        upstream: tuple[Detached, Channel | None],
        record: ConnectionRecord,
        poller: Poller,
    ) -> None:
        self.record = record
        self.poller = poller
        self.over = False
        self.cutting: _Side | None = None
        self._why = CloseReason.NORMAL
        self.done: Deferred[CloseReason] = Deferred()
        self.client = _Side(self, *client, record.moved_out)
        self.upstream = _Side(self, *upstream, record.moved_in)
        self.client.peer = self.upstream
        self.upstream.peer = self.client
        for side in (self.client, self.upstream):
            poller.hand_over(side.sock.fileno(), side)

    def start(self, header: bytes, held: bytes, ended: bool) -> Deferred[CloseReason]:
        """See :class:`~smartproxy.interfaces.IRelay`."""
        client, upstream = self.client, self.upstream
        client.ended = ended
        upstream.greet(header, held)
        for side in (client, upstream):
            if not self.over and self.cutting is None:
                side.pump()
        return self.done

    def gone(self) -> tuple[bool, bool]:
        """Whether the kernel has the client's and the upstream's connection no longer."""
        if self.over:
            return True, True
        return socket_gone(self.client.sock), socket_gone(self.upstream.sock)

    def abort(self, reason: CloseReason) -> None:
        """End both sides with a reset."""
        if not self.over:
            reset(self.client.sock)
            reset(self.upstream.sock)
            self._end(reason)

    def broken(self, side: _Side) -> None:
        """A connection was reset, or its TLS is broken: the other is cut."""
        if not self.over:
            reset(side.peer.sock)
            self._end(self._blamed(side))

    def _blamed(self, side: _Side) -> CloseReason:
        return CloseReason.CLIENT_RESET if side is self.client else CloseReason.UPSTREAM_RESET

    def cut(self, side: _Side) -> None:
        """A FIN without close_notify: the other side is cut off when it has got everything.

        Who has been told of the other's end before may close like that: it has heard all, and nothing is missing.
        """
        if self.cutting is not None:
            return
        self.cutting = side.peer
        self._why = CloseReason.NORMAL if side.finished and not side.deaf else self._blamed(side)
        self.record.half_closed()
        self.cut_off(side.peer)

    def cut_off(self, side: _Side, *, lost: bool = False) -> None:
        """Go on sending what ``side`` has not been sent yet, and close it then; at once where it is ``lost``.

        What the kernel holds would go with a RST; it reports the socket writable when all of that has been sent.
        """
        if not lost:
            if side.pending and not side.flush():
                return
            if _unsent(side.sock):
                side.sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, 1)
                self.poller.rearm(side.sock.fileno())
                return
        if side.channel is None and self._why is not CloseReason.NORMAL:
            reset(side.sock)
        self._end(self._why)

    def deaf(self, side: _Side, why: OSError) -> None:
        """A side takes no more. What it said before is still delivered: a refusal, often, to a long upload.

        The kernel says EPIPE where a FIN had come before the RST: then that is all it had to say.
        """
        if side.ended or side.finished or self.cutting is not None:
            self.broken(side)
            return
        side.finished = side.deaf = side.readable = True
        side.pending = b""
        side.was_reset = why.errno != errno.EPIPE
        side.pump()
        if side.was_reset:
            self.broken(side)

    def complete(self) -> None:
        """Both directions have ended, each in order."""
        if not self.over:
            self._end(CloseReason.NORMAL)

    def _end(self, reason: CloseReason) -> None:
        self.over = True
        client, upstream = self.client, self.upstream
        for side in (client, upstream):
            self.poller.close(side.sock, side)
        del client.peer, upstream.peer, self.client, self.upstream
        self.done.callback(reason)


def _unsent(sock: socket.socket) -> int:
    """How many bytes the kernel has not sent yet, not even once; 0 of a connection that is gone."""
    try:
        told: bytes = fcntl.ioctl(sock, _SIOCOUTQNSD, bytes(4))
    except OSError:
        return 0
    return int(struct.unpack("i", told)[0])
