"""The end of an in-memory connection that a test controls.

::

    clock = Clock()
    near, far = connection(clock, Nature(window=1000, sizes=range(1, 8)))
    near.carry(protocol)        # the Twisted protocol under test
    far.write(b"hello")         # what the other side sends
    clock.advance(1)
    assert far.received == b"world"     # what the protocol has sent
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from smartproxy.testing.connection import MemoryTransport, address, pair
from smartproxy.testing.nature import Nature

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure


@implementer(IHalfCloseableProtocol)
class FarEnd:
    """The test's end of a connection: records everything, and reads unless :attr:`reading` is set to ``False``.

    :ivar received: all bytes received.
    :ivar ended: whether a FIN was received.
    :ivar was_reset: whether a RST was received.
    :ivar gone: whether the connection is closed.
    """

    def __init__(self, transport: MemoryTransport | None = None) -> None:
        self.received = b""
        self.ended = False
        self.was_reset = False
        self.gone = False
        if transport is not None:
            transport.carry(self)

    def makeConnection(self, transport: MemoryTransport) -> None:
        """The connection is established."""
        self.transport = transport

    @property
    def waiting(self) -> int:
        """Bytes written that are not sent yet, because the window is full."""
        return len(self.transport.out)

    @property
    def reading(self) -> bool:
        """Whether this end reads; can be set."""
        return self.transport.reading

    @reading.setter
    def reading(self, wanted: bool) -> None:
        if wanted:
            self.transport.resumeProducing()
        else:
            self.transport.reading = False

    def write(self, data: bytes) -> None:
        """Send ``data``."""
        self.transport.write(data)

    def fin(self) -> None:
        """Send a FIN."""
        if self.transport.nature.half_closes:
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def rst(self) -> None:
        """Send a RST."""
        self.transport.abortConnection()

    def close(self) -> None:
        """Close the connection, as a program does when it ends."""
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Data was received."""
        self.received += data

    def readConnectionLost(self) -> None:
        """A FIN was received."""
        self.ended = True

    def writeConnectionLost(self) -> None:
        """The FIN of this end was sent."""

    def connectionLost(self, reason: Failure) -> None:
        """The connection is closed."""
        self.gone = True
        self.ended = self.ended or reason.check(ConnectionDone) is not None
        self.was_reset = reason.check(ConnectionLost) is not None


def connection(
    clock: IReactorTime, nature: Nature | None = None, *, near: tuple[str, int] = ("127.0.0.1", 443)
) -> tuple[MemoryTransport, FarEnd]:
    """Create a connection: the near end for the protocol under test, and the far end for the test."""
    here, there = pair(clock, nature or Nature(), address(*near), address("192.0.2.1", 50000))
    return here, FarEnd(there)
