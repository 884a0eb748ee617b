"""The in-memory transport, which behaves like TCP: backpressure, half-close, reset, splitting, delay.

::

    near, far = pair(clock, Nature(window=1000, sizes=range(1, 8)), near_address, far_address)
    near.carry(protocol)        # any Twisted protocol

It has what ``StringTransport`` and ``iosim`` leave out. Each direction has a *window* of bytes that are sent but not read:
without a reader it fills up, then the writer's buffer fills up, and then the writer's producer is paused. A FIN arrives
after the data; a RST arrives at once and discards all data. Every delivery happens in a later call of the clock, never
within the call that caused it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IProducer, IReactorTime

    from smartproxy.testing.nature import Nature

#: Unsent bytes above which a producer is paused, as in Twisted.
HIGH_WATER = 64 * 1024

Address = IPv4Address | IPv6Address


def address(host: str, port: int) -> Address:
    """Return the Twisted address of ``(host, port)``; of the unix socket ``host``, where that is a path."""
    if is_path(host):
        unix: Any = UNIXAddress(host.encode())  # as of Twisted's transports, whatever the interface says
        return cast("Address", unix)
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


def is_path(host: str) -> bool:
    """Return whether ``host`` is the path of a unix socket, or ``@`` and its name."""
    return host.startswith(("/", "@"))


class CarriedProtocol(Protocol):
    """The part of Twisted's ``IProtocol`` that a transport uses."""

    def makeConnection(self, transport: Any) -> object: ...

    def dataReceived(self, data: bytes) -> object: ...

    def connectionLost(self, reason: Failure) -> object: ...


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """The transport of one end.

    :ivar protocol: what :meth:`carry` has attached.
    :ivar out: bytes written but not sent.
    :ivar arrived: bytes sent by the other end but not read.
    :ivar most: the largest length that :attr:`out` ever had.
    :ivar options: TCP_NODELAY and SO_KEEPALIVE as they were set.
    """

    peer: MemoryTransport
    protocol: CarriedProtocol

    def __init__(self, clock: IReactorTime, nature: Nature, address: Address) -> None:
        self.nature = nature
        self.address = address
        self.producer: IPushProducer | None = None
        self.out = bytearray()
        self.arrived = bytearray()
        self.most = 0
        self.reading = True
        self.connected = True
        self.disconnecting = False
        self.aborting = False
        self.options: dict[str, bool] = {}
        self._clock = clock
        self._pulls = False
        self._paused_producer = False
        self._finishing = False
        self._fin_sent = False
        self._fin_arrived = False
        self._fin_told = False
        self._sending = False
        if not nature.half_closes:
            directlyProvides(self, ISSLTransport)

    @property
    def has_unsent(self) -> bool:
        """Whether bytes wait that the other end has no room for."""
        return bool(self.out)

    def carry(self, protocol: CarriedProtocol) -> None:
        """Attach ``protocol`` to this end."""
        self.protocol = protocol
        protocol.makeConnection(self)

    # -- writing -------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send ``data`` as far as the window allows, and buffer the rest."""
        if not isinstance(data, bytes):
            raise TypeError(f"a transport takes bytes, not {type(data).__name__}")
        if not self.connected or self.aborting or self._finishing or not data:
            return
        self.out += data
        self.most = max(self.most, len(self.out))
        if self._pulls:
            self._paused_producer = True
        elif self.producer is not None and not self._paused_producer and len(self.out) > HIGH_WATER:
            self._paused_producer = True
            self.producer.pauseProducing()
        self._soon(self._send)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send all of ``data``."""
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        """Send a FIN after the data."""
        if not self.nature.half_closes:
            raise RuntimeError("on TLS this would cut the encryption off (twisted#5341)")
        self._finishing = True
        self._soon(self._send)

    def loseConnection(self) -> None:
        """Close the connection after the data has been sent."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self.reading = False
            self._soon(self._send)

    def abortConnection(self) -> None:
        """Send a RST now, and discard all data."""
        if self.connected and not self.aborting:
            self.aborting = True
            self.reading = False
            self.disconnecting = True
            self._soon(self._abort)

    def _abort(self) -> None:
        self.peer.lost(ConnectionLost())
        self.lost(ConnectionAborted())

    def _soon(self, call: Callable[[], object], delay: float = 0.0) -> None:
        self._clock.callLater(delay, call)

    def _send(self) -> None:
        # One piece is under way at a time, so that pieces with different delays cannot overtake each other.
        if self._sending or not self.connected or self.aborting:
            return
        room = self.nature.window - len(self.peer.arrived)
        if not self.out:
            self._sent_all()
        elif room > 0:
            count = min(room, self.nature.size(), len(self.out))
            piece = bytes(self.out[:count])
            del self.out[:count]
            self._sending = True
            self._soon(lambda: self._arrive(piece), self.nature.delay())

    def _arrive(self, piece: bytes) -> None:
        self._sending = False
        self.peer.arrived += piece
        self.peer.deliver()
        self._send()

    def _sent_all(self) -> None:
        if self.producer is not None:
            if self._paused_producer:
                self._paused_producer = False
                self.producer.resumeProducing()
            # As in Twisted, a registered producer delays the FIN until it unregisters.
            return
        if self._finishing and not self._fin_sent:
            self._send_fin()
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.writeConnectionLost()
        if self.disconnecting:
            self._send_fin()
            self.lost(ConnectionDone())

    def _send_fin(self) -> None:
        if not self._fin_sent:
            self._fin_sent = True
            self.peer.fin_arrives()

    # -- reading -------------------------------------------------------------------------------------

    def deliver(self, *, late: bool = False) -> None:
        """Pass the arrived bytes and then the FIN to the protocol, unless it has paused reading."""
        if not self.connected or not (self.reading or late):
            return
        if self.arrived:
            data = bytes(self.arrived)
            self.arrived.clear()
            self._tell(data)
            self.peer._soon(self.peer._send)  # noqa: SLF001 - the other end of the same connection
        if self._fin_arrived and not self._fin_told and self.reading and self.connected:
            self._fin_told = True
            if self.nature.half_closes and IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.readConnectionLost()
            else:
                self.lost(ConnectionDone())

    def _tell(self, data: bytes) -> None:
        """Call ``dataReceived``. If it raises, the connection is lost, as with the transports of Twisted."""
        try:
            self.protocol.dataReceived(data)
        except Exception as raised:
            self.peer.lost(ConnectionLost())
            self.lost(raised)

    def fin_arrives(self) -> None:
        """The other end has sent a FIN."""
        self._fin_arrived = True
        self._soon(self.deliver)

    def lost(self, why: Exception) -> None:
        """Report the loss of the connection to the protocol, once."""
        if not self.connected:
            return
        self.connected = False
        self.out.clear()
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(Failure(why))

    def pauseProducing(self) -> None:
        """Stop reading."""
        self.reading = False
        if self.nature.late:
            self._soon(lambda: self.deliver(late=True))

    def resumeProducing(self) -> None:
        """Continue reading."""
        if self.connected and not self.disconnecting:
            self.reading = True
            self._soon(self.deliver)

    def stopProducing(self) -> None:
        """The consumer of this transport has been closed: close the connection."""
        self.loseConnection()

    # -- producers -----------------------------------------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Register a push producer (``streaming``), paused while too much is unsent, or a pull producer."""
        if self.producer is not None:
            raise RuntimeError("a producer is registered already")
        if not self.connected:
            producer.stopProducing()
            return
        # A pull producer has no pauseProducing, which is not called for it.
        self.producer = cast("IPushProducer", producer)
        self._pulls = self._paused_producer = not streaming
        if not streaming:
            self._soon(self._send)

    def unregisterProducer(self) -> None:
        """Remove the producer, and continue closing if that was pending."""
        self.producer = None
        self._pulls = self._paused_producer = False
        self._soon(self._send)

    # -- the rest of ITCPTransport -------------------------------------------------------------------

    def getHost(self) -> Address:
        """The address of this end."""
        return self.address

    def getPeer(self) -> Address:
        """The address of the other end."""
        return self.peer.address

    def getTcpNoDelay(self) -> bool:
        """The option as it was set."""
        return self.options.get("nodelay", False)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Store the option in :attr:`options`."""
        self.options["nodelay"] = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        """The option as it was set."""
        return self.options.get("keepalive", False)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Store the option in :attr:`options`."""
        self.options["keepalive"] = bool(enabled)


def pair(
    clock: IReactorTime, nature: Nature, near: Address, far: Address
) -> tuple[MemoryTransport, MemoryTransport]:
    """Create both ends of a connection, without protocols."""
    here, there = MemoryTransport(clock, nature, near), MemoryTransport(clock, nature, far)
    here.peer, there.peer = there, here
    return here, there
