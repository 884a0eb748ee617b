"""The relay for sockets of the poller of which one, or both, carry TLS that ends here.

::

    socket --recv_into--> [decrypt] --> plaintext --> [encrypt] --send--> socket

One read and one write of up to 256 KiB at a time, through buffers that all channels share: nothing is allocated
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

from smartproxy.model.outcome import CloseReason
from smartproxy.net.liveness import socket_gone
from smartproxy.net.stream import reset
from smartproxy.relays.interfaces import IRelay
from smartproxy.relays.tls_side import TlsSide

if TYPE_CHECKING:
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.net.poller import Poller
    from smartproxy.net.stream import Detached
    from smartproxy.tls.channel import Channel

#: linux/sockios.h: how many bytes of a TCP connection have never been sent.
_SIOCOUTQNSD = 0x894B
#: tcp(7) has it from Linux 3.12 on; Python's socket module from 3.12 on.
_TCP_NOTSENT_LOWAT = 25


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
        self.cutting: TlsSide | None = None
        self._why = CloseReason.NORMAL
        self.done: Deferred[CloseReason] = Deferred()
        self.client = TlsSide(self, *client, record.moved_out)
        self.upstream = TlsSide(self, *upstream, record.moved_in)
        self.client.peer = self.upstream
        self.upstream.peer = self.client
        for side in (self.client, self.upstream):
            poller.hand_over(side.sock.fileno(), side)

    def start(self, header: bytes, held: bytes, ended: bool) -> Deferred[CloseReason]:
        """See :class:`~smartproxy.relays.interfaces.IRelay`."""
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

    def broken(self, side: TlsSide) -> None:
        """A connection was reset, or its TLS is broken: the other is cut."""
        if not self.over:
            reset(side.peer.sock)
            self._end(self._blamed(side))

    def _blamed(self, side: TlsSide) -> CloseReason:
        return CloseReason.CLIENT_RESET if side is self.client else CloseReason.UPSTREAM_RESET

    def cut(self, side: TlsSide) -> None:
        """A FIN without close_notify: the other side is cut off when it has got everything.

        Who has been told of the other's end before may close like that: it has heard all, and nothing is missing.
        """
        if self.cutting is not None:
            return
        self.cutting = side.peer
        self._why = CloseReason.NORMAL if side.finished and not side.deaf else self._blamed(side)
        self.record.half_closed()
        self.cut_off(side.peer)

    def cut_off(self, side: TlsSide, *, lost: bool = False) -> None:
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

    def deaf(self, side: TlsSide, why: OSError) -> None:
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
