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

from twisted.internet.address import IPv4Address
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
    from collections.abc import Sequence

    from twisted.internet.task import Clock

#: Bytes written and not taken above which a producer is paused, as in Twisted.
HIGH_WATER = 64 * 1024


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
    random: Random = field(default_factory=lambda: Random(7))

    def size(self) -> int:
        return self.random.choice(self.sizes) if self.sizes else self.window

    def delay(self) -> float:
        return self.random.choice(self.delays)


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """One end.

    :ivar out: written, not sent. :ivar arrived: sent by the other end, not read.
    :ivar most: the most bytes that ever waited in :attr:`out`.
    """

    peer: MemoryTransport

    def __init__(self, clock: Clock, nature: Nature, address: IPv4Address) -> None:
        self.clock = clock
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
        self.options: dict[str, object] = {}
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
        assert isinstance(data, bytes)
        if not self.connected or self.aborting or self._finishing or not data:
            return
        self.out += data
        self.most = max(self.most, len(self.out))
        if self.producer is not None and len(self.out) > HIGH_WATER:
            self._paused_producer = True
            self.producer.pauseProducing()
        self._soon(self._send)

    def writeSequence(self, data) -> None:
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        assert self.nature.half_closes, "twisted#5341: on TLS this cuts the encryption off"
        self._finishing = True
        self._soon(self._send)

    def loseConnection(self) -> None:
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self.reading = False
            self._soon(self._send)

    def abortConnection(self) -> None:
        if self.connected and not self.aborting:
            self.aborting = True
            self.reading = False
            self.disconnecting = True
            self._soon(self._abort)

    def _abort(self) -> None:
        self.peer.lost(ConnectionLost())
        self.lost(ConnectionAborted())

    def _soon(self, call, delay: float = 0.0) -> None:
        self.clock.callLater(delay, call)

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
            self.protocol.dataReceived(data)
            self.peer._soon(self.peer._send)
        if self._fin_arrived and not self._fin_told and self.reading and self.connected:
            self._fin_told = True
            if self.nature.half_closes and IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.readConnectionLost()
            else:
                self.lost(ConnectionDone())

    def fin_arrives(self) -> None:
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
        self.reading = False
        if self.nature.late:
            self._soon(lambda: self.deliver(late=True))

    def resumeProducing(self) -> None:
        if self.connected and not self.disconnecting:
            self.reading = True
            self._soon(self.deliver)

    def stopProducing(self) -> None:
        self.loseConnection()

    # -- producers -----------------------------------------------------------------------------------

    def registerProducer(self, producer, streaming: bool) -> None:
        assert streaming, "relays push"
        if self.producer is not None:
            raise RuntimeError("one is registered already")
        if not self.connected:
            producer.stopProducing()
            return
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None
        self._soon(self._send)

    # -- the rest of ITCPTransport -------------------------------------------------------------------

    def getHost(self) -> IPv4Address:
        return self.address

    def getPeer(self) -> IPv4Address:
        return self.peer.address

    def getTcpNoDelay(self) -> bool:
        return bool(self.options.get("nodelay"))

    def setTcpNoDelay(self, enabled) -> None:
        self.options["nodelay"] = enabled

    def getTcpKeepAlive(self) -> bool:
        return bool(self.options.get("keepalive"))

    def setTcpKeepAlive(self, enabled) -> None:
        self.options["keepalive"] = enabled


@implementer(IHalfCloseableProtocol)
class FarEnd:
    """What the test holds of the other end: it notes everything, and reads unless told not to."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport
        self.received = b""
        self.ended = False
        self.was_reset = False
        self.gone = False
        transport.carry(self)

    def makeConnection(self, transport) -> None:
        """It is there already."""

    @property
    def waiting(self) -> int:
        return len(self.transport.out)

    @property
    def reading(self) -> bool:
        return self.transport.reading

    @reading.setter
    def reading(self, wanted: bool) -> None:
        if wanted:
            self.transport.resumeProducing()
        else:
            self.transport.reading = False

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def fin(self) -> None:
        if self.transport.nature.half_closes:
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def rst(self) -> None:
        self.transport.abortConnection()

    def close(self) -> None:
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.ended = True

    def writeConnectionLost(self) -> None:
        """Our FIN has gone out."""

    def connectionLost(self, reason: Failure) -> None:
        self.gone = True
        self.ended = self.ended or reason.check(ConnectionDone) is not None
        self.was_reset = reason.check(ConnectionLost) is not None


def connection(
    clock: Clock, nature: Nature | None = None, *, near: tuple[str, int] = ("127.0.0.1", 443)
) -> tuple[MemoryTransport, FarEnd]:
    """A connection: the near end, for a protocol, and the far one, for the test."""
    nature = nature or Nature()
    here = MemoryTransport(clock, nature, IPv4Address("TCP", *near))
    there = MemoryTransport(clock, nature, IPv4Address("TCP", "192.0.2.1", 50000))
    here.peer, there.peer = there, here
    return here, FarEnd(there)
