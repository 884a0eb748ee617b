"""In-memory connections behave like TCP, and follow the interfaces of Twisted's transports."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IPushProducer, ISSLTransport, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.testing import Nature, connection


class RecordingProtocol(Protocol):
    def __init__(self):
        self.events = []

    def dataReceived(self, data):
        self.events.append(data)

    def connectionLost(self, reason):
        self.events.append(reason.type)


class Producer:
    def __init__(self):
        self.events = []

    def pauseProducing(self):
        self.events.append("pause")

    def resumeProducing(self):
        self.events.append("resume")

    def stopProducing(self):
        self.events.append("stop")


class ConnectionTests(SynchronousTestCase):
    def make(self, nature=None, protocol=None):
        self.clock = Clock()
        self.near, self.far = connection(self.clock, nature)
        self.protocol = protocol or RecordingProtocol()
        self.near.carry(self.protocol)

    def settle(self):
        for _ in range(1000):
            self.clock.advance(0.01)

    def test_transport_implements_twisteds_interfaces(self):
        self.make()
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            self.assertTrue(verifyObject(interface, self.near))
        self.assertFalse(ISSLTransport.providedBy(self.near))
        self.make(Nature(half_closes=False))
        self.assertTrue(ISSLTransport.providedBy(self.near))

    def test_data_is_never_delivered_within_write(self):
        self.make()
        self.far.write(b"hello")
        self.assertEqual(self.protocol.events, [])
        self.clock.advance(0)
        self.assertEqual(self.protocol.events, [b"hello"])

    def test_full_window_pauses_the_producer(self):
        self.make(Nature(window=1000))
        producer = Producer()
        self.near.registerProducer(producer, True)
        self.far.reading = False
        self.near.write(bytes(100_000))
        self.settle()
        self.assertEqual((producer.events, len(self.near.out)), (["pause"], 99_000))
        self.near.write(bytes(1000))
        self.assertEqual(producer.events, ["pause"])  # not again, as a Stream
        self.far.reading = True
        self.settle()
        self.assertEqual((producer.events, len(self.far.received)), (["pause", "resume"], 101_000))

    def test_pull_producer_is_resumed_when_the_buffer_is_empty(self):
        self.make()
        producer = Producer()
        self.near.registerProducer(producer, False)
        self.settle()
        self.assertEqual(producer.events, ["resume"])
        self.near.write(b"more")
        self.settle()
        self.assertEqual(producer.events, ["resume", "resume"])

    def test_split_and_delayed_writes_arrive_complete_and_in_order(self):
        self.make(Nature(sizes=range(1, 8), delays=(0.0, 0.05)))
        self.far.write(bytes(range(200)))
        self.settle()
        self.assertEqual(b"".join(self.protocol.events), bytes(range(200)))
        self.assertLessEqual(max(map(len, self.protocol.events)), 7)

    def test_fin_arrives_after_the_data_and_reset_discards_it(self):
        self.make()
        self.far.write(b"last")
        self.far.close()
        self.settle()
        self.assertEqual(self.protocol.events, [b"last", ConnectionDone])
        self.make()
        self.far.reading = False
        self.near.write(b"lost")
        self.near.abortConnection()
        self.settle()
        self.assertEqual((self.far.received, self.far.was_reset), (b"", True))

    def test_protocol_that_raises_loses_its_connection(self):
        class Raises(RecordingProtocol):
            def dataReceived(self, data):
                raise ZeroDivisionError

        self.make(protocol=Raises())
        self.far.write(b"x")
        self.settle()
        self.assertEqual((self.protocol.events, self.far.was_reset), ([ZeroDivisionError], True))

    def test_write_of_text_raises_type_error(self):
        self.make()
        self.assertRaises(TypeError, self.near.write, "text")

    def test_tls_cannot_half_close(self):
        self.make(Nature(half_closes=False))
        self.assertRaises(RuntimeError, self.near.loseWriteConnection)
        self.far.fin()
        self.settle()
        self.assertEqual(self.protocol.events, [ConnectionDone])
