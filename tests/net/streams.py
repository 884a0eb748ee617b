"""Streams over real loopback sockets, and protocols that record their events."""

from __future__ import annotations

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from smartproxy.net.stream import Stream
from tests.pumps import Pump

MIB = 1 << 20


class Heard(Protocol):
    """Records what its transport tells it, in order."""

    def __init__(self):
        self.told = []
        self.received = b""

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.told.append(reason.type)


@implementer(IHalfCloseableProtocol)
class HalfHeard(Heard):
    def readConnectionLost(self):
        self.told.append("fin")

    def writeConnectionLost(self):
        self.told.append("fin sent")


class StreamCase(SynchronousTestCase):
    def setUp(self):
        self.pump = Pump(self)

    def stream(self, protocol=HalfHeard, **buffers):
        sock, far = self.pump.connection(**buffers)
        heard = protocol()
        stream = Stream(sock, self.pump.poller, heard)
        heard.makeConnection(stream)
        return stream, heard, far


def stream_to(heard, pump):
    """A stream whose protocol is ``heard``, with small buffers: it, the protocol, and the far end."""
    sock, far = pump.connection(buffers=256 * 1024)
    stream = Stream(sock, pump.poller, heard)
    heard.makeConnection(stream)
    return stream, heard, far
