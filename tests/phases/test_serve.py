"""Serving a connection in this process: a handler stands where a target would."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from smartproxy.model.outcome import CloseReason, ConnectionState, RelayKind
from smartproxy.model.plan import ActionKind
from smartproxy.phases.serve import Serve
from tests.phases.made import CLIENT, Client, routed
from tests.relays.worlds import a_record


class Shouts(Protocol):
    """Answers in capitals."""

    def connectionMade(self):
        self.lost = []
        self.transport.write(b"hello ")

    def dataReceived(self, data):
        self.transport.writeSequence([data.upper(), b"!"])

    def connectionLost(self, reason):
        self.lost.append(reason.type)


@implementer(IHalfCloseableProtocol)
class ShoutsLast(Shouts):
    def readConnectionLost(self):
        self.transport.write(b"bye")
        self.transport.loseConnection()

    def writeConnectionLost(self):
        """Not asked for."""


class ServeTests(SynchronousTestCase):
    def serve(self, protocol=Shouts, said=b"", *, ended=False):
        self.client = Client()
        self.record = a_record()
        self.built = []
        factory = Factory.forProtocol(protocol)
        build = factory.buildProtocol
        self.addresses = []

        def built(address):
            self.addresses.append(address)
            self.built.append(build(address))
            return self.built[-1]

        factory.buildProtocol = built
        self.client.say(said)
        if ended:
            self.client.fin()
        facts = routed(kind=ActionKind.HANDLER, handler=factory)
        serve = Serve(self.client.clock)
        done = Deferred.fromCoroutine(serve(self.record, self.client.side, facts, lambda: None))
        self.client.clock.advance(0)
        return done

    def test_the_handler_gets_what_was_held_and_what_comes(self):
        self.serve(said=b"one")
        self.client.say(b"two")
        self.assertEqual(self.client.far.received, b"hello ONE!TWO!")
        self.assertEqual([(address.host, address.port) for address in self.addresses], [CLIENT])
        self.assertEqual(
            (self.record.relay, self.record.state), (RelayKind.TRANSPORT, ConnectionState.RELAYING)
        )

    def test_its_bytes_are_counted_as_a_targets_are(self):
        self.serve(said=b"one")
        self.client.say(b"two")
        self.assertEqual(self.record.bytes_received, len(b"onetwo"))
        self.assertEqual(self.record.bytes_sent, len(self.client.far.received))

    def test_its_transport_is_the_clients_in_all_but_counting(self):
        self.serve()
        transport = self.built[0].transport
        self.assertEqual(transport.getHost(), self.client.transport.getHost())
        transport.setTcpNoDelay(True)
        self.assertTrue(self.client.transport.getTcpNoDelay())
        transport.pauseProducing()
        self.assertFalse(self.client.transport.reading)
        self.assertTrue(IPushProducer.providedBy(self.client.transport))

    def test_a_clean_end(self):
        done = self.serve()
        self.client.fin()
        self.assertEqual(self.successResultOf(done), CloseReason.NORMAL)
        self.assertEqual(self.built[0].lost, [ConnectionDone])

    def test_an_end_that_had_come_already(self):
        done = self.serve(said=b"one", ended=True)
        self.assertEqual(self.client.far.received, b"hello ONE!")
        self.assertEqual(self.successResultOf(done), CloseReason.NORMAL)

    def test_one_that_knows_half_close_has_the_last_word(self):
        done = self.serve(ShoutsLast)
        self.client.fin()
        self.assertEqual(self.client.far.received, b"hello bye")
        self.assertEqual(self.successResultOf(done), CloseReason.NORMAL)

    def test_a_handler_that_closes(self):
        done = self.serve()
        self.built[0].transport.loseConnection()
        self.client.clock.advance(0)
        self.assertEqual(self.successResultOf(done), CloseReason.NORMAL)
        self.assertTrue(self.client.far.ended)

    def test_a_client_that_resets(self):
        done = self.serve()
        self.client.far.rst()
        self.client.clock.advance(0)
        self.assertEqual(self.successResultOf(done), CloseReason.CLIENT_RESET)
        self.assertEqual(self.built[0].lost, [ConnectionLost])

    def test_ended_from_outside(self):
        done = self.serve()
        self.record.owner.abort(CloseReason.ADMIN)
        self.client.clock.advance(0)
        self.record.owner.abort(CloseReason.SHUTDOWN)
        self.assertEqual(self.successResultOf(done), CloseReason.ADMIN)
        self.assertEqual(self.built[0].lost, [ConnectionAborted])
        self.assertTrue(self.client.far.was_reset)
