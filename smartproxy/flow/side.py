"""One side of a proxied connection: a protocol that buffers bytes and events until they are consumed.

A side is the Twisted ``Protocol`` on either transport. Before the two sides are linked, it buffers received bytes
(:attr:`Side.buffered`), so that a phase can look at them without consuming them; afterwards it forwards everything to
its receiver. It makes no decisions: these are in the control path (``session.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet import protocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from smartproxy.errors import DeadlineExpired, PeerClosed, Refused
from smartproxy.flow.event import AwaitableEvent
from smartproxy.model.address import Endpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.wire.host import unmapped

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from smartproxy.model.facts import Announced

#: Buffered bytes above which reading pauses until they are consumed. It is the most that a phase waits for (a ClientHello
#: of 144 KiB behind a PROXY header), and far below ``maxPendingDataSize``.
HOLD = 152 * 1024


class Receiver(Protocol):
    """Gets the bytes and events of a side once it is linked."""

    def data_received(self, data: bytes) -> None:
        """Handle received bytes."""

    def input_ended(self) -> None:
        """Handle the end of the peer's direction (a FIN)."""

    def output_ended(self) -> None:
        """Handle that our FIN was sent, after everything that was written."""

    def lost(self, why: Failure) -> None:
        """Handle the loss of the connection."""


class Screen:
    """A receiver that looks at the first bytes of a side before they are buffered or forwarded.

    It is in front of the side's buffer, and of the receiver that is attached meanwhile, until its judgement of the bytes
    is known. Then it removes itself, and costs nothing.

    :param reason: for which the connection is refused if the bytes may not pass.
    :param detail: in words, for the logs.
    :ivar behind: the receiver attached meanwhile.
    """

    def __init__(self, side: Side, reason: RejectReason, detail: str) -> None:
        self.behind: Receiver | None = None
        self._side = side
        self._reason = reason
        self._detail = detail
        self._held = b""
        self._has_refused = False
        side.receiver = self

    # -- for a subclass --------------------------------------------------------------------------------

    def judge(self, begin: bytes) -> bool | None:
        """Whether bytes that begin with ``begin`` may pass; ``None`` while more are needed."""
        raise NotImplementedError

    def decided(self) -> None:
        """Release what the judgement needed: it is known, or the connection is lost."""

    # -- the receiver ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Hold the bytes until they are judged. Behind refused ones all are dropped."""
        if self._has_refused:
            return
        self._held += data
        may_pass = self.judge(self._held)
        if may_pass:
            self._remove()
        elif may_pass is False:
            self.refuse()

    def refuse(self) -> None:
        """Drop what is held, and end the connection."""
        self._has_refused = True
        self._held = b""
        self.decided()
        self._side.refuse(self._reason, self._detail)

    def input_ended(self) -> None:
        """No more bytes will be received, so those that are held may pass."""
        if not self._has_refused:
            self._remove()
            self._side.readConnectionLost()

    def output_ended(self) -> None:
        """Tell the receiver behind."""
        if self.behind is not None:
            self.behind.output_ended()

    def lost(self, why: Failure) -> None:
        """Tell the receiver behind, or the side where there is none."""
        self.decided()
        if self.behind is not None:
            self.behind.lost(why)
        else:
            self._side.vanished(why)

    def _remove(self) -> None:
        """Forward what is held, and make the receiver behind that of the side."""
        self.decided()
        self._side.receiver, self.behind = self.behind, None
        held, self._held = self._held, b""
        if held:
            self._side.dataReceived(held)


def appended(held: bytes | bytearray, data: bytes) -> bytes | bytearray:
    """``held`` with ``data`` behind it: a bytearray from the second piece on, which is extended in place.

    To append to bytes would copy them for each piece: a peer that sends one byte at a time would cost the square of what it sends.
    """
    if not held:
        return data
    if not isinstance(held, bytearray):
        held = bytearray(held)
    held += data
    return held


class SideTransport(Protocol):
    """What is asked of a side's transport: of Twisted's ITCPTransport, IConsumer and IPushProducer."""

    @property
    def disconnecting(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    def loseConnection(self) -> None: ...

    def loseWriteConnection(self) -> None: ...

    def abortConnection(self) -> None: ...

    def registerProducer(self, producer: Any, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def getHost(self) -> Any: ...


class DetachedTransport:
    """In the place of a transport that was detached: there is nothing to write to, and nothing to close."""

    connected = False
    disconnecting = True

    def write(self, data: bytes) -> None:
        """Do nothing: the connection belongs to another owner. So do all methods."""

    def loseConnection(self) -> None:
        """Likewise."""

    def loseWriteConnection(self) -> None:
        """Likewise."""

    def abortConnection(self) -> None:
        """Likewise."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Likewise."""

    def unregisterProducer(self) -> None:
        """Likewise."""

    def pauseProducing(self) -> None:
        """Likewise."""

    def resumeProducing(self) -> None:
        """Likewise."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Likewise."""

    def getHost(self) -> Any:
        """``None``: the socket belongs to another owner."""


DETACHED = DetachedTransport()


@implementer(IHalfCloseableProtocol)
class Side(protocol.Protocol):
    """Buffers received bytes until a receiver is attached, then forwards them.

    :ivar buffered: received bytes not yet consumed.
    :ivar hold: how many bytes may be buffered before reading pauses; the last read may exceed it.
    :ivar ended: whether the peer has ended its direction.
    :ivar is_lost: whether the connection is lost.
    :ivar receiver: gets everything from now on; see :meth:`attach`.
    """

    transport: SideTransport  # type: ignore[assignment] # Twisted declares less than its transports have
    # Extended by :func:`appended`.
    buffered: bytes | bytearray = b""
    ended = False
    is_lost = False
    hold = HOLD
    receiver: Receiver | None = None
    _paused = False
    _wanted = 0
    _waiting: AwaitableEvent[None] | None = None

    # -- events of the transport --------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Forward or buffer received bytes."""
        if self.receiver is not None:
            self.receiver.data_received(data)
            return
        if not self.buffered:
            self.buffered = data
        else:
            self.buffered = appended(self.buffered, data)
        if len(self.buffered) >= self.hold and not self._paused:
            self._paused = True
            self.transport.pauseProducing()
        if self._waiting is not None and len(self.buffered) >= self._wanted:
            self._answer()

    def readConnectionLost(self) -> None:
        """Handle a FIN."""
        self.ended = True
        if self.receiver is not None:
            self.receiver.input_ended()
        elif self._waiting is not None:
            self._answer(PeerClosed())
        else:
            self.left()

    def writeConnectionLost(self) -> None:
        """Tell the receiver that our FIN was sent."""
        if self.receiver is not None:
            self.receiver.output_ended()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Handle the loss. The receiver is released, so that it is freed now and not by the garbage collector."""
        self.is_lost = True
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.lost(reason)
        else:
            self.vanished(reason)

    # -- for a phase ---------------------------------------------------------------------------

    def wait_for(self, at_least: int) -> AwaitableEvent[None]:
        """Happens when ``at_least`` bytes are buffered; fails with :class:`PeerClosed` or :class:`DeadlineExpired`.

        :raises PeerClosed: if the peer has ended its direction already.
        :raises Refused: if that is more than may be buffered.
        """
        if at_least > self.hold:
            detail = f"its first bytes are {at_least} or more, and {self.hold} may be buffered"
            raise Refused(RejectReason.PENDING_DATA_LIMIT, detail)
        if self.ended:
            raise PeerClosed
        waiting: AwaitableEvent[None] = AwaitableEvent(self._forget)
        self._waiting = waiting
        self._wanted = at_least
        if self._paused:
            # The phase has seen what is buffered, and it is not enough: the limit does not apply to one more read.
            self._paused = False
            self.transport.resumeProducing()
        return waiting

    def expire(self) -> None:
        """Fail the current wait with :class:`DeadlineExpired`."""
        if self._waiting is not None:
            self._answer(DeadlineExpired())

    def consume(self, count: int | None = None) -> bytes:
        """Remove the first ``count`` buffered bytes, or all of them, and return them."""
        held = self.buffered
        if count is None:
            self.buffered = b""
            return bytes(held)
        self.buffered = held[count:]
        return bytes(held[:count])

    def attach(self, receiver: Receiver) -> None:
        """Forward everything to ``receiver`` from now on. Buffered bytes are not: :meth:`consume` them."""
        if isinstance(self.receiver, Screen):
            self.receiver.behind = receiver
        else:
            self.receiver = receiver

    @property
    def is_screened(self) -> bool:
        """Whether its first bytes are still to be looked at, so that it has to be read from here."""
        return isinstance(self.receiver, Screen)

    def refuse(self, reason: RejectReason, detail: str) -> None:
        """End the connection now, refused for ``reason`` and its ``detail``, whatever its path waits for."""
        self.transport.abortConnection()

    def detach(self) -> SideTransport:
        """Give the transport to the caller: this side neither writes to it nor closes it from now on."""
        transport, self.transport = self.transport, DETACHED
        return transport

    @property
    def is_detached(self) -> bool:
        """Whether the transport belongs to another owner."""
        return self.transport is DETACHED

    # -- for a subclass --------------------------------------------------------------------------------

    def left(self) -> None:
        """Handle a FIN that was received while no phase waited for bytes."""

    def vanished(self, reason: Failure) -> None:
        """Handle a loss before the link: fail the current wait."""
        self.ended = True
        self._answer(PeerClosed())

    def _answer(self, why: Exception | None = None) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            if why is None:
                waiting.happen(None)
            else:
                waiting.fail(why)

    def _forget(self) -> None:
        self._waiting = None


def destination_of(announced: Announced, side: Side) -> Endpoint:
    """The address that a client connected to: as announced, else the local end of its connection."""
    header = announced.header
    if header is not None and header.destination is not None:
        return Endpoint(*header.destination)
    host = side.transport.getHost()
    return Endpoint(unmapped(host.host), host.port)
