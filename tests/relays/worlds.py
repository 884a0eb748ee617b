"""The worlds in which relays are tested: in memory, and over real sockets. The same tests run in each.

A world opens a client's and an upstream's connection, makes its kind of relay between them and runs the event loop.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.tcp import Server

from smartproxy.flow.side import Side
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.record import ConnectionRecord
from smartproxy.net.stream import Stream
from smartproxy.relays.copying import CopyRelay
from smartproxy.relays.pipes import PipePool
from smartproxy.relays.splice import SpliceRelay
from smartproxy.relays.transport import TransportRelay
from smartproxy.testing import Nature, connection
from tests.pumps import Pump, ReactorPump, open_descriptors


def a_record() -> ConnectionRecord:
    return ConnectionRecord(1, Accepted(":443", 443, Endpoint("192.0.2.1", 50000), 0.0))


class World:
    """The base of the worlds.

    :ivar client: the far end of the client's connection, for the test.
    :ivar upstream: the far end of the upstream's connection.
    :ivar near: the near ends, for the relay: client, upstream.
    :ivar outcome: empty, then the reason with which the relay ended.
    """

    client: Any
    upstream: Any

    def __init__(self) -> None:
        self.record = a_record()
        self.outcome: list[object] = []
        self.relay: Any = None
        self.near: tuple[Side, Side]

    def link(self, header: bytes = b"") -> None:
        """Start the relay with the bytes that the client has sent so far."""
        client = self.near[0]
        held, ended = client.consume(), client.ended
        self.relay = self.make(*self.near)
        self.over = self.relay.start(header, held, ended).deferred().addCallback(self.outcome.append)

    def make(self, client: Side, upstream: Side) -> Any:
        return TransportRelay(client, upstream, self.record, self.now)

    def now(self) -> float:
        raise NotImplementedError

    def assert_nothing_is_left(self, case) -> None:
        """No producer, descriptor or pipe is left."""


class MemoryWorld(World):
    """Transports in memory, of any nature."""

    def __init__(self, case, nature: Nature | None = None) -> None:
        super().__init__()
        self.clock = Clock()
        self.now = self.clock.seconds
        self.near = Side(), Side()
        ends = [connection(self.clock, nature) for _ in self.near]
        for side, (transport, _) in zip(self.near, ends, strict=True):
            transport.carry(side)
        self.transports = [transport for transport, _ in ends]
        self.client, self.upstream = (far for _, far in ends)
        self.near[1].transport.pauseProducing()

    def settle(self) -> None:
        for _ in range(1_000_000):
            if not self.clock.calls:
                return
            self.clock.advance(max(0.0, self.clock.calls[0].getTime() - self.clock.seconds()))
        raise AssertionError("the clock never becomes idle")

    def assert_nothing_is_left(self, case) -> None:
        for transport in self.transports:
            case.assertFalse(transport.connected)
            case.assertIsNone(transport.producer)


class SocketWorld(World):
    """Real TCP over loopback. ``buffers``: of the kernel, in bytes."""

    def __init__(self, case, *, buffers: int | None = None) -> None:
        super().__init__()
        self.before = open_descriptors()
        self.pump = Pump(case)
        self.now = self.pump.reactor.seconds
        self.settle = self.pump.settle
        self.near = Side(), Side()
        ends = [self.pump.connection(buffers=buffers) for _ in self.near]
        self.client, self.upstream = (far for _, far in ends)
        for side, (sock, _) in zip(self.near, ends, strict=True):
            side.makeConnection(Stream(sock, self.pump.poller, side))
        self.near[1].transport.pauseProducing()
        self.pool: PipePool | None = None

    def assert_nothing_is_left(self, case) -> None:
        self.pump.settle()
        case.assertEqual(len(self.pump.poller), 0)
        self.pump.close()
        if self.pool is not None:
            case.assertEqual(self.pool.lent, 0)
            self.pool.close()
        case.assertEqual(open_descriptors(), self.before)


class SpliceWorld(SocketWorld):
    """The same sockets, relayed by the splice relay."""

    def make(self, client: Side, upstream: Side) -> Any:
        self.pool = self.pool or PipePool()
        given = client.detach().detach(), upstream.detach().detach()
        return SpliceRelay(*given, self.record, self.pump.poller, self.pool)


class CopyWorld(SocketWorld):
    """The same sockets, relayed by the relay that copies."""

    def make(self, client: Side, upstream: Side) -> Any:
        given = client.detach().detach(), upstream.detach().detach()
        return CopyRelay(*given, self.record, self.pump.poller)


class TwistedWorld(World):
    """Real TCP on Twisted's own transports, on any of its reactors, which is turned by hand.

    ``buffers``: of the kernel, in bytes.
    """

    def __init__(self, case, reactor: Any, *, buffers: int | None = None) -> None:
        super().__init__()
        self.before = open_descriptors()
        self.pump = ReactorPump(case, reactor)
        self.now = reactor.seconds
        self.settle = self.pump.settle
        self.near = Side(), Side()
        ends = [self.pump.connection(buffers=buffers) for _ in self.near]
        self.client, self.upstream = (far for _, far in ends)
        for side, (sock, _) in zip(self.near, ends, strict=True):
            transport = Server(sock, side, sock.getpeername(), None, 0, reactor)
            side.makeConnection(transport)
        self.near[1].transport.pauseProducing()

    def assert_nothing_is_left(self, case) -> None:
        self.pump.settle()
        case.assertEqual(self.pump.watched(), [])
        self.pump.close()
        case.assertEqual(open_descriptors(), self.before)
