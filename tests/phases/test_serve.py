"""Serving a connection in this process: a handler takes the place of a target."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from smartproxy.model.outcome import CloseReason, ConnectionState
from smartproxy.model.plan import ActionKind
from smartproxy.phases.serve import Serve
from tests.phases.made import CLIENT, Client, routed
from tests.relays.worlds import a_record


class UpperCase(Protocol):
    """Answers in upper case."""

    def connectionMade(self):
        self.lost = []
        self.transport.write(b"hello ")

    def dataReceived(self, data):
        self.transport.writeSequence([data.upper(), b"!"])

    def connectionLost(self, reason):
        self.lost.append(reason.type)


@implementer(IHalfCloseableProtocol)
class UpperCaseThenBye(UpperCase):
    def readConnectionLost(self):
        self.transport.write(b"bye")
        self.transport.loseConnection()

    def writeConnectionLost(self):
        """The protocol does not end its own direction first."""


class ServeTests(SynchronousTestCase):
    def serve(self, protocol=UpperCase, said=b"", *, ended=False):
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
        serve = Serve(self.client.clock, lambda record, route: None)
        done = Deferred.fromCoroutine(serve(self.record, self.client.side, facts, lambda: None, None, None))
        self.client.clock.advance(0)
        return done

    def test_handler_receives_buffered_and_new_bytes(self):
        self.serve(said=b"one")
        self.client.say(b"two")
        self.assertEqual(self.client.far.received, b"hello ONE!TWO!")
        self.assertEqual([(address.host, address.port) for address in self.addresses], [CLIENT])
        self.assertEqual((self.record.relay, self.record.state), (None, ConnectionState.RELAYING))

    def test_bytes_of_a_handler_are_counted_like_a_targets(self):
        self.serve(said=b"one")
        self.client.say(b"two")
        self.assertEqual(self.record.bytes_received, len(b"onetwo"))
        self.assertEqual(self.record.bytes_sent, len(self.client.far.received))

    def test_transport_of_a_handler_delegates_to_the_clients(self):
        self.serve()
        transport = self.built[0].transport
        self.assertEqual(transport.getHost(), self.client.transport.getHost())
        transport.setTcpNoDelay(True)
        self.assertTrue(self.client.transport.getTcpNoDelay())
        transport.pauseProducing()
        self.assertFalse(self.client.transport.reading)
        self.assertTrue(IPushProducer.providedBy(self.client.transport))

    def test_fin_of_the_client_closes_normally(self):
        done = self.serve()
        self.client.fin()
        self.assertEqual(self.successResultOf(done), CloseReason.NORMAL)
        self.assertEqual(self.built[0].lost, [ConnectionDone])

    def test_fin_received_before_the_handler_closes_normally(self):
        done = self.serve(said=b"one", ended=True)
        self.assertEqual(self.client.far.received, b"hello ONE!")
        self.assertEqual(self.successResultOf(done), CloseReason.NORMAL)

    def test_half_close_protocol_can_send_after_the_clients_fin(self):
        done = self.serve(UpperCaseThenBye)
        self.client.fin()
        self.assertEqual(self.client.far.received, b"hello bye")
        self.assertEqual(self.successResultOf(done), CloseReason.NORMAL)

    def test_close_by_the_handler_ends_the_client(self):
        done = self.serve()
        self.built[0].transport.loseConnection()
        self.client.clock.advance(0)
        self.assertEqual(self.successResultOf(done), CloseReason.NORMAL)
        self.assertTrue(self.client.far.ended)

    def test_reset_by_the_client_reaches_the_handler(self):
        done = self.serve()
        self.client.far.rst()
        self.client.clock.advance(0)
        self.assertEqual(self.successResultOf(done), CloseReason.CLIENT_RESET)
        self.assertEqual(self.built[0].lost, [ConnectionLost])

    def test_connection_ended_by_an_administrator_is_aborted(self):
        done = self.serve()
        self.record.owner.abort(CloseReason.ADMIN)
        self.client.clock.advance(0)
        self.record.owner.abort(CloseReason.SHUTDOWN)
        self.assertEqual(self.successResultOf(done), CloseReason.ADMIN)
        self.assertEqual(self.built[0].lost, [ConnectionAborted])
        self.assertTrue(self.client.far.was_reset)
