"""An in-memory connection that behaves: it pushes back, half-closes, resets, cuts and delays.

::

    clock = Clock()
    near, far = connection(clock, Nature(window=1000, sizes=range(1, 8)))
    near.carry(protocol)        # a Twisted protocol at the near end
    far.write(b"hello")         # the far end is the test's: see FarEnd
    clock.advance(1)

What ``StringTransport`` and ``iosim`` leave out is here what it is about. Each direction has a *window*, the bytes that
have been sent and not read: while nobody reads it fills up, then the writer's buffer does, and then the writer's
producer is paused. A FIN comes after the data; a RST comes at once and takes all data with it. Everything that
moves moves in a later turn of the clock, never within somebody's own call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
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
    from collections.abc import Callable, Iterable, Sequence

    from twisted.internet.interfaces import IReactorTime

#: Bytes written and not taken above which a producer is paused, as in Twisted.
HIGH_WATER = 64 * 1024

Address = IPv4Address | IPv6Address


def address(host: str, port: int) -> Address:
    """Twisted's address of an end."""
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


@dataclass
class Nature:
    """What a connection is like.

    :ivar window: bytes on the way before somebody has to read. :ivar sizes: of the pieces that writes are cut
        into, chosen at random; empty: not cut. :ivar delays: seconds that a piece takes, likewise.
    :ivar late: deliver one more piece after a pause, as TLS does, which has decrypted it already.
    :ivar half_closes: ``False`` is TLS: the end of one direction is the end of both.
    """

    window: int = 64 * 1024
    sizes: Sequence[int] = ()
    delays: Sequence[float] = (0.0,)
    late: bool = False
    half_closes: bool = True
    random: Random = field(default_factory=lambda: Random(7))  # noqa: S311 - the same each time is what a test wants

    def size(self) -> int:
        """Of the next piece."""
        return self.random.choice(self.sizes) if self.sizes else self.window

    def delay(self) -> float:
        """Of the next piece, in seconds."""
        return self.random.choice(self.delays)


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """One end.

    :ivar out: written, not sent. :ivar arrived: sent by the other end, not read.
    :ivar most: the most bytes that ever waited in :attr:`out`.
    :ivar options: TCP_NODELAY and SO_KEEPALIVE as they were set.
    """

    peer: MemoryTransport

    def __init__(self, clock: IReactorTime, nature: Nature, address: Address) -> None:
        self.nature = nature
        self.address = address
        self.protocol: Any = None
        self.producer: Any = None
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

    def carry(self, protocol: Any) -> None:
        """Put ``protocol`` on this end."""
        self.protocol = protocol
        protocol.makeConnection(self)

    # -- writing -------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send it, as the window allows."""
        if not isinstance(data, bytes):
            raise TypeError(f"a transport takes bytes, not {type(data).__name__}")
        if not self.connected or self.aborting or self._finishing or not data:
            return
        self.out += data
        self.most = max(self.most, len(self.out))
        if self._pulls:
            self._paused_producer = True
        elif self.producer is not None and len(self.out) > HIGH_WATER:
            self._paused_producer = True
            self.producer.pauseProducing()
        self._soon(self._send)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """All of them."""
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        """A FIN, after the data."""
        if not self.nature.half_closes:
            raise RuntimeError("on TLS this would cut the encryption off (twisted#5341)")
        self._finishing = True
        self._soon(self._send)

    def loseConnection(self) -> None:
        """Close, after the data."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self.reading = False
            self._soon(self._send)

    def abortConnection(self) -> None:
        """A RST, now."""
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
        """Give the protocol what has arrived, if it wants it."""
        if not self.connected or not (self.reading or late):
            return
        if self.arrived:
            data = bytes(self.arrived)
            self.arrived.clear()
            self._tell(data)
            self.peer._soon(self.peer._send)  # noqa: SLF001 - the other end of the same thing
        if self._fin_arrived and not self._fin_told and self.reading and self.connected:
            self._fin_told = True
            if self.nature.half_closes and IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.readConnectionLost()
            else:
                self.lost(ConnectionDone())

    def _tell(self, data: bytes) -> None:
        """A protocol that raises loses its connection, as with Twisted's own transports."""
        try:
            self.protocol.dataReceived(data)
        except Exception as raised:
            self.peer.lost(ConnectionLost())
            self.lost(raised)

    def fin_arrives(self) -> None:
        """The other end has ended its direction."""
        self._fin_arrived = True
        self._soon(self.deliver)

    def lost(self, why: Exception) -> None:
        """The end, once."""
        if not self.connected:
            return
        self.connected = False
        self.out.clear()
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(Failure(why))

    def pauseProducing(self) -> None:
        """Do not read."""
        self.reading = False
        if self.nature.late:
            self._soon(lambda: self.deliver(late=True))

    def resumeProducing(self) -> None:
        """Read."""
        if self.connected and not self.disconnecting:
            self.reading = True
            self._soon(self.deliver)

    def stopProducing(self) -> None:
        """A consumer has gone."""
        self.loseConnection()

    # -- producers -----------------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """One that is paused while too much waits; or, not streaming, one that is asked when nothing does."""
        if self.producer is not None:
            raise RuntimeError("one is registered already")
        if not self.connected:
            producer.stopProducing()
            return
        self.producer = producer
        self._pulls = self._paused_producer = not streaming
        if not streaming:
            self._soon(self._send)

    def unregisterProducer(self) -> None:
        """There is none any more."""
        self.producer = None
        self._pulls = self._paused_producer = False
        self._soon(self._send)

    # -- the rest of ITCPTransport -------------------------------------------------------------------

    def getHost(self) -> Address:
        """Our end."""
        return self.address

    def getPeer(self) -> Address:
        """The other end."""
        return self.peer.address

    def getTcpNoDelay(self) -> bool:
        """As it was set."""
        return self.options.get("nodelay", False)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Noted in :attr:`options`."""
        self.options["nodelay"] = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        """As it was set."""
        return self.options.get("keepalive", False)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Noted in :attr:`options`."""
        self.options["keepalive"] = bool(enabled)


@implementer(IHalfCloseableProtocol)
class FarEnd:
    """What the test holds of an end: it notes everything, and reads unless told not to.

    :ivar received: all that has come. :ivar ended: whether a FIN has. :ivar was_reset: whether a RST has.
    :ivar gone: whether the connection is no more.
    """

    def __init__(self, transport: MemoryTransport | None = None) -> None:
        self.received = b""
        self.ended = False
        self.was_reset = False
        self.gone = False
        if transport is not None:
            transport.carry(self)

    def makeConnection(self, transport: MemoryTransport) -> None:
        """It stands."""
        self.transport = transport

    @property
    def waiting(self) -> int:
        """Bytes written that nobody has read yet and no window has room for."""
        return len(self.transport.out)

    @property
    def reading(self) -> bool:
        """Whether it reads; set it to have it stop, or go on."""
        return self.transport.reading

    @reading.setter
    def reading(self, wanted: bool) -> None:
        if wanted:
            self.transport.resumeProducing()
        else:
            self.transport.reading = False

    def write(self, data: bytes) -> None:
        """Say something."""
        self.transport.write(data)

    def fin(self) -> None:
        """End this direction."""
        if self.transport.nature.half_closes:
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def rst(self) -> None:
        """Reset the connection."""
        self.transport.abortConnection()

    def close(self) -> None:
        """Close, as a program does that ends."""
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Something has come."""
        self.received += data

    def readConnectionLost(self) -> None:
        """A FIN has come."""
        self.ended = True

    def writeConnectionLost(self) -> None:
        """Our FIN has gone out."""

    def connectionLost(self, reason: Failure) -> None:
        """It is no more."""
        self.gone = True
        self.ended = self.ended or reason.check(ConnectionDone) is not None
        self.was_reset = reason.check(ConnectionLost) is not None


def pair(
    clock: IReactorTime, nature: Nature, near: Address, far: Address
) -> tuple[MemoryTransport, MemoryTransport]:
    """Both ends of a connection, nobody's yet."""
    here, there = MemoryTransport(clock, nature, near), MemoryTransport(clock, nature, far)
    here.peer, there.peer = there, here
    return here, there


def connection(
    clock: IReactorTime, nature: Nature | None = None, *, near: tuple[str, int] = ("127.0.0.1", 443)
) -> tuple[MemoryTransport, FarEnd]:
    """A connection: the near end, for a protocol, and the far one, for the test."""
    here, there = pair(clock, nature or Nature(), address(*near), address("192.0.2.1", 50000))
    return here, FarEnd(there)
