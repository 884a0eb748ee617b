"""One side of a proxied connection: bytes and events, held until somebody takes them.

A side is the Twisted ``Protocol`` on either transport. Before the two sides are linked it holds what comes
(:attr:`Side.buffered`), so that a phase can look at it without taking it away; afterwards it passes everything
to its receiver. It holds no opinion: what happens next is the narrator's.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from smartproxy.errors import DeadlineExpired, PeerClosed, Refused
from smartproxy.model.outcome import RejectReason

#: Held bytes above which reading pauses until somebody takes them. It is the most that a phase asks to see
#: (a ClientHello of 64 KiB behind a PROXY header), and far below ``maxPendingDataSize``.
HOLD = 72 * 1024


class Receiver(Protocol):
    """Who gets the bytes and events of a side once it has been linked."""

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""

    def input_ended(self) -> None:
        """The peer has ended its direction (a FIN)."""

    def output_ended(self) -> None:
        """Our FIN has gone out, after everything that was written."""

    def lost(self, why: Failure) -> None:
        """The connection has gone altogether."""


@implementer(IHalfCloseableProtocol)
class Side(protocol.Protocol):
    """Holds what comes, or passes it on.

    :ivar buffered: what has come and nobody has taken.
    :ivar hold: how many bytes may be held before reading pauses; one read more may come.
    :ivar ended: whether the peer has ended its direction.
    :ivar receiver: who gets everything from now on; see :meth:`attach`.
    """

    transport: Any
    buffered: bytes = b""
    ended = False
    hold = HOLD
    receiver: Receiver | None = None
    _paused = False
    _wanted = 0
    _waiting: Deferred[None] | None = None

    # -- what the transport tells --------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come."""
        if self.receiver is not None:
            self.receiver.data_received(data)
            return
        self.buffered += data
        if len(self.buffered) >= self.hold and not self._paused:
            self._paused = True
            self.transport.pauseProducing()
        if self._waiting is not None and len(self.buffered) >= self._wanted:
            self._answer(None)

    def readConnectionLost(self) -> None:
        """A FIN has come."""
        self.ended = True
        if self.receiver is not None:
            self.receiver.input_ended()
        elif self._waiting is not None:
            self._answer(Failure(PeerClosed()))
        else:
            self.left()

    def writeConnectionLost(self) -> None:
        """Our FIN has gone out."""
        if self.receiver is not None:
            self.receiver.output_ended()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """The connection has gone. Its receiver is let go: what it held must not wait for the collector of circles."""
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.lost(reason)
        else:
            self.vanished(reason)

    # -- what a phase asks ---------------------------------------------------------------------------

    def wait_for(self, at_least: int) -> Deferred[None]:
        """Fires when ``at_least`` bytes are held; fails with :class:`PeerClosed` or :class:`DeadlineExpired`.

        It fails with :class:`~smartproxy.errors.Refused` where that is more than may be held.
        """
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting = waiting
        self._wanted = at_least
        if at_least > self.hold:
            self._answer(Failure(Refused(RejectReason.PENDING_DATA_LIMIT)))
        elif self.ended:
            self._answer(Failure(PeerClosed()))
        elif self._paused:
            self._paused = False
            self.transport.resumeProducing()
        return waiting

    def expire(self) -> None:
        """Whoever waits has waited long enough."""
        if self._waiting is not None:
            self._answer(Failure(DeadlineExpired()))

    def consume(self, count: int | None = None) -> bytes:
        """The first ``count`` held bytes, or all of them; they are held no longer."""
        if count is None:
            count = len(self.buffered)
        taken, self.buffered = self.buffered[:count], self.buffered[count:]
        return taken

    def attach(self, receiver: Receiver) -> None:
        """From now on everything goes to ``receiver``, but for what is held: that is for :meth:`consume`."""
        self.receiver = receiver

    # -- for a subclass --------------------------------------------------------------------------------

    def left(self) -> None:
        """A FIN came while nobody waited for bytes."""

    def vanished(self, reason: Failure) -> None:
        """The connection went before it was linked: whoever waits for its bytes will not get them."""
        self.ended = True
        self._answer(Failure(PeerClosed()))

    def _answer(self, result: Failure | None) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            if result is None:
                waiting.callback(None)
            else:
                waiting.errback(result)

    def _forget(self, _: Deferred[None]) -> None:
        self._waiting = None
