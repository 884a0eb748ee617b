"""Connections in memory behave as TCP does, and as Twisted's transports promise."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IPushProducer, ISSLTransport, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.testing import Nature, connection


class Notes(Protocol):
    def __init__(self):
        self.told = []

    def dataReceived(self, data):
        self.told.append(data)

    def connectionLost(self, reason):
        self.told.append(reason.type)


class Producer:
    def __init__(self):
        self.told = []

    def pauseProducing(self):
        self.told.append("pause")

    def resumeProducing(self):
        self.told.append("resume")

    def stopProducing(self):
        self.told.append("stop")


class ConnectionTests(SynchronousTestCase):
    def make(self, nature=None, protocol=None):
        self.clock = Clock()
        self.near, self.far = connection(self.clock, nature)
        self.protocol = protocol or Notes()
        self.near.carry(self.protocol)

    def settle(self):
        for _ in range(1000):
            self.clock.advance(0.01)

    def test_it_keeps_twisteds_interfaces(self):
        self.make()
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            self.assertTrue(verifyObject(interface, self.near))
        self.assertFalse(ISSLTransport.providedBy(self.near))
        self.make(Nature(half_closes=False))
        self.assertTrue(ISSLTransport.providedBy(self.near))

    def test_nothing_moves_within_a_call(self):
        self.make()
        self.far.write(b"hello")
        self.assertEqual(self.protocol.told, [])
        self.clock.advance(0)
        self.assertEqual(self.protocol.told, [b"hello"])

    def test_a_window_that_is_full_pauses_whoever_produces(self):
        self.make(Nature(window=1000))
        producer = Producer()
        self.near.registerProducer(producer, True)
        self.far.reading = False
        self.near.write(bytes(100_000))
        self.settle()
        self.assertEqual((producer.told, len(self.near.out)), (["pause"], 99_000))
        self.far.reading = True
        self.settle()
        self.assertEqual((producer.told, len(self.far.received)), (["pause", "resume"], 100_000))

    def test_a_producer_that_is_pulled_is_asked_when_nothing_waits(self):
        self.make()
        producer = Producer()
        self.near.registerProducer(producer, False)
        self.settle()
        self.assertEqual(producer.told, ["resume"])
        self.near.write(b"more")
        self.settle()
        self.assertEqual(producer.told, ["resume", "resume"])

    def test_writes_are_cut_and_nothing_is_lost(self):
        self.make(Nature(sizes=range(1, 8), delays=(0.0, 0.05)))
        self.far.write(bytes(range(200)))
        self.settle()
        self.assertEqual(b"".join(self.protocol.told), bytes(range(200)))
        self.assertLessEqual(max(map(len, self.protocol.told)), 7)

    def test_a_fin_comes_after_the_data_and_a_reset_before_it(self):
        self.make()
        self.far.write(b"last")
        self.far.close()
        self.settle()
        self.assertEqual(self.protocol.told, [b"last", ConnectionDone])
        self.make()
        self.far.reading = False
        self.near.write(b"lost")
        self.near.abortConnection()
        self.settle()
        self.assertEqual((self.far.received, self.far.was_reset), (b"", True))

    def test_a_protocol_that_raises_loses_its_connection(self):
        class Raises(Notes):
            def dataReceived(self, data):
                raise ZeroDivisionError

        self.make(protocol=Raises())
        self.far.write(b"x")
        self.settle()
        self.assertEqual((self.protocol.told, self.far.was_reset), ([ZeroDivisionError], True))

    def test_only_bytes_are_written(self):
        self.make()
        self.assertRaises(TypeError, self.near.write, "text")

    def test_within_tls_no_direction_ends_alone(self):
        self.make(Nature(half_closes=False))
        self.assertRaises(RuntimeError, self.near.loseWriteConnection)
        self.far.fin()
        self.settle()
        self.assertEqual(self.protocol.told, [ConnectionDone])
