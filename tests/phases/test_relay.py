"""Choice and start of a relay: splice or copy between two sockets of the poller, transports otherwise."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.side import Side
from smartproxy.model.address import Endpoint
from smartproxy.model.outcome import CloseReason, ConnectionState, RelayKind
from smartproxy.net.stream import Stream
from smartproxy.phases.relay import StartRelay
from smartproxy.relays.copying import CopyRelay
from smartproxy.relays.pipes import PipePool
from smartproxy.relays.transport import TransportRelay
from tests.phases.made import Client
from tests.pumps import Pump
from tests.relays.worlds import a_record

TARGET = Endpoint("192.0.2.9", 80)


class StartRelayTests(SynchronousTestCase):
    def setUp(self):
        self.pump = Pump(self)
        self.pool = PipePool()
        self.addCleanup(self.pool.close)
        self.record = a_record()

    def stream(self):
        sock, far = self.pump.connection()
        side = Side()
        side.makeConnection(Stream(sock, self.pump.poller, side))
        return side, far

    def start(self, client, upstream, pool, *, poller=True):
        start = StartRelay(self.pump.poller if poller else None, pool, self.pump.reactor.seconds)
        return start(self.record, client, upstream, TARGET, b"HEADER ").deferred()

    def test_two_sockets_of_the_poller_are_spliced(self):
        (client, one), (upstream, two) = self.stream(), self.stream()
        one.write(b"held")
        self.pump.settle()
        done = self.start(client, upstream, self.pool)
        self.pump.settle()
        self.assertEqual((two.received, self.record.relay), (b"HEADER held", RelayKind.SPLICE))
        self.assertEqual((self.record.target, self.record.state), (TARGET, ConnectionState.RELAYING))
        self.record.owner.abort(CloseReason.ADMIN)
        self.assertEqual(self.successResultOf(done), CloseReason.ADMIN)

    def test_bytes_exchanged_before_the_relay_are_counted(self):
        (client, one), (upstream, two) = self.stream(), self.stream()
        one.write(b"held")
        self.pump.settle()
        start = StartRelay(self.pump.poller, self.pool, self.pump.reactor.seconds)
        done = start(self.record, client, upstream, TARGET, b"", (8, 1)).deferred()
        self.pump.settle()
        self.assertEqual((two.received, self.record.bytes_received, self.record.bytes_sent), (b"held", 12, 1))
        self.record.owner.abort(CloseReason.ADMIN)
        self.successResultOf(done)

    def test_two_sockets_of_the_poller_are_copied_without_pipes(self):
        """The kind is the one of every relay but splice: users tell these two apart."""
        (client, _), (upstream, two) = self.stream(), self.stream()
        done = self.start(client, upstream, None)
        self.pump.settle()
        self.assertEqual((two.received, self.record.relay), (b"HEADER ", RelayKind.TRANSPORT))
        self.assertIsInstance(self.record.owner, CopyRelay)
        self.record.owner.abort(CloseReason.ADMIN)
        self.assertEqual(self.successResultOf(done), CloseReason.ADMIN)

    def test_transports_relay_where_there_is_no_poller(self):
        (client, _), (upstream, two) = self.stream(), self.stream()
        done = self.start(client, upstream, None, poller=False)
        self.pump.settle()
        self.assertEqual((two.received, self.record.relay), (b"HEADER ", RelayKind.TRANSPORT))
        self.assertIsInstance(self.record.owner, TransportRelay)
        self.record.owner.abort(CloseReason.ADMIN)
        self.pump.settle()
        self.assertEqual(self.successResultOf(done), CloseReason.ADMIN)

    def test_transports_relay_where_one_side_is_no_socket(self):
        client = Client()
        upstream, two = self.stream()
        done = self.start(client.side, upstream, self.pool)
        client.say(b"hello")
        self.pump.settle()
        self.assertEqual((two.received, self.record.relay), (b"HEADER hello", RelayKind.TRANSPORT))
        self.record.owner.abort(CloseReason.ADMIN)
        client.clock.advance(0)
        self.pump.settle()
        self.assertEqual(self.successResultOf(done), CloseReason.ADMIN)
