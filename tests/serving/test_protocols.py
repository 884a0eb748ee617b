"""A connection served by a Twisted protocol: its transport, and what happens when the protocol raises."""

from __future__ import annotations

from io import BytesIO

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import FileSender, LineReceiver
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from smartproxy.model.outcome import CloseReason
from smartproxy.testing import Nature
from tests.serving.made import ROUTE, Serving


class Recording(Protocol):
    """Records its calls and raises in one of them.

    :cvar raises: name of the call that raises.
    """

    raises = ""

    def connectionMade(self):
        self.calls = []
        self.record_call("connectionMade")

    def dataReceived(self, data):
        self.record_call("dataReceived")
        self.transport.write(data)

    def connectionLost(self, reason):
        self.why = reason.type
        self.record_call("connectionLost")

    def record_call(self, what):
        self.calls.append(what)
        if self.raises == what:
            raise ZeroDivisionError


@implementer(IHalfCloseableProtocol)
class HalfCloses(Recording):
    def readConnectionLost(self):
        self.record_call("readConnectionLost")

    def writeConnectionLost(self):
        self.record_call("writeConnectionLost")


class ProtocolTestCase(SynchronousTestCase):
    def serve(self, protocol=Recording, nature=None, *, raises="", **more):
        self.built = []
        case = self

        class Built(Factory):
            noisy = False

            def buildProtocol(self, addr):
                case.address = addr
                made = protocol()
                made.raises = raises
                made.factory = self
                case.built.append(made)
                return made

        self.serving = Serving(self, Built(), nature, **more)
        return self.serving

    def failures(self):
        return [type(failure.value) for failure in self.flushLoggedErrors()]


class FailureTests(ProtocolTestCase):
    def assert_failure_in(self, call, act, protocol=Recording):
        self.serve(protocol, raises=call)
        client = self.serving.connect()
        act(client)
        self.serving.settle()
        self.assertEqual(self.serving.closed, {CloseReason.ERROR: 1}, call)
        self.assertEqual(self.failures(), [ZeroDivisionError], call)
        self.assertEqual(self.built[0].calls.count("connectionLost"), 1, call)
        return client

    def test_exception_in_any_call_ends_the_connection(self):
        self.assertTrue(self.assert_failure_in("connectionMade", lambda client: client.write(b"x")).was_reset)
        self.assertTrue(self.assert_failure_in("dataReceived", lambda client: client.write(b"x")).was_reset)
        self.assert_failure_in("readConnectionLost", lambda client: client.fin(), HalfCloses)
        self.assert_failure_in("connectionLost", lambda client: client.rst())

    def test_protocol_that_raised_receives_no_further_data(self):
        self.serve(raises="connectionMade")
        self.serving.connect(b"hello")
        self.assertEqual(self.built[0].calls, ["connectionMade", "connectionLost"])
        self.assertEqual((self.serving.moved, self.failures()), ((0, 0), [ZeroDivisionError]))

    def test_exception_leaves_other_connections_open(self):
        self.serve(raises="")
        other = self.serving.connect(b"one")
        self.built[0].raises = ""
        self.serving.connect()
        self.built[1].raises = "dataReceived"
        self.serving.say(b"two")
        self.assertEqual((other.received, other.gone), (b"one", False))
        self.assertEqual(self.failures(), [ZeroDivisionError])

    def test_exception_within_a_transport_call_is_an_error(self):
        self.serve()
        self.serving.connect()
        self.built[0].transport.lost(ZeroDivisionError())  # as a reactor does when a producer has raised
        self.assertEqual(self.serving.closed, {CloseReason.ERROR: 1})
        self.assertEqual(self.failures(), [ZeroDivisionError])

    def test_exception_of_the_factory_resets_the_client(self):
        class Broken(Factory):
            def buildProtocol(self, addr):
                raise ZeroDivisionError

        serving = Serving(self, Broken())
        self.assertTrue(serving.connect().was_reset)
        self.assertEqual((serving.closed, self.failures()), ({CloseReason.ERROR: 1}, [ZeroDivisionError]))

    def test_factory_that_returns_none_closes_normally(self):
        class Never(Factory):
            def buildProtocol(self, addr):
                return None

        serving = Serving(self, Never())
        self.assertTrue(serving.connect().ended)
        self.assertEqual((serving.closed, self.failures()), ({CloseReason.NORMAL: 1}, []))


class TransportTests(ProtocolTestCase):
    def test_peer_and_host_are_the_announced_addresses(self):
        self.serve(proxy_ips=["192.0.2.1"])
        self.serving.connect(b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n")
        transport = self.built[0].transport
        self.assertEqual((transport.getPeer().host, transport.getPeer().port), ("2001:db8::7", 4711))
        self.assertEqual((transport.getHost().host, transport.getHost().port), ("2001:db8::1", 443))
        self.assertEqual((self.address, self.address.type), (transport.getPeer(), "TCP"))
        self.assertEqual(transport.facts.detected.announced.accepted.peer.host, "192.0.2.1")

    def test_peer_and_host_without_a_proxy_header(self):
        self.serve()
        self.serving.connect()
        transport = self.built[0].transport
        self.assertEqual((transport.getPeer().host, transport.getPeer().port), ("192.0.2.1", 50000))
        self.assertEqual(transport.getHost().port, 7000)

    def test_transport_provides_tcp_and_push_producer_interfaces(self):
        self.serve()
        self.serving.connect()
        transport = self.built[0].transport
        self.assertTrue(ITCPTransport.providedBy(transport))
        self.assertTrue(IPushProducer.providedBy(transport))
        transport.pauseProducing()
        self.serving.say(b"unread")
        self.assertEqual(self.serving.record.bytes_received, 0)
        transport.resumeProducing()
        self.serving.settle()
        self.assertEqual(self.serving.record.bytes_received, 6)

    def test_bytes_written_after_closing_are_not_counted(self):
        self.serve()
        self.serving.connect()
        transport = self.built[0].transport
        transport.write(b"last")
        transport.loseConnection()
        transport.write(b"too late")
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.serving.moved, (0, 4))
        transport.write(b"much too late")
        self.assertEqual((self.serving.client.received, self.serving.moved), (b"last", (0, 4)))

    def test_producer_finishes_before_the_transport_closes(self):
        class Sends(Recording):
            def connectionMade(self):
                super().connectionMade()
                FileSender().beginFileTransfer(BytesIO(bytes(500_000)), self.transport)
                self.transport.loseConnection()

        self.serve(Sends)
        client = self.serving.connect()
        self.assertEqual((len(client.received), client.ended), (500_000, True))
        self.assertEqual(self.serving.moved, (0, 500_000))

    def test_lose_write_connection_half_closes_and_notifies(self):
        self.serve(HalfCloses)
        client = self.serving.connect()
        self.built[0].transport.write(b"go ahead")
        self.built[0].transport.loseWriteConnection()
        self.serving.settle()
        self.assertTrue(client.ended)
        self.assertEqual(self.built[0].calls, ["connectionMade", "writeConnectionLost"])
        self.serving.say(b"late")
        self.assertEqual(self.serving.record.bytes_received, 4)
        self.assertIsNotNone(self.serving.record.half_closed_at)

    def test_half_close_protocol_may_answer_after_the_clients_fin(self):
        self.serve(HalfCloses)
        client = self.serving.connect()
        client.fin()
        self.serving.settle()
        self.built[0].transport.write(b"answer")
        self.built[0].transport.loseConnection()
        self.assertEqual(self.serving.closed, {CloseReason.NORMAL: 1})
        self.assertEqual(client.received, b"answer")
        self.assertIs(self.built[0].why, ConnectionDone)

    def test_abort_counts_as_a_reset_by_the_upstream(self):
        self.serve()
        client = self.serving.connect()
        self.built[0].transport.abortConnection()
        self.assertEqual(self.serving.closed, {CloseReason.UPSTREAM_RESET: 1})
        self.assertTrue(client.was_reset)
        self.assertIs(self.built[0].why, ConnectionAborted)

    def test_abort_after_the_loss_keeps_the_close_reason(self):
        class Tidy(Protocol):
            def connectionLost(self, reason=None):
                self.transport.abortConnection()

        serving = Serving(self, Factory.forProtocol(Tidy))
        serving.connect(b"hello").rst()
        self.assertEqual(serving.closed, {CloseReason.CLIENT_RESET: 1})

    def test_closed_protocol_receives_no_further_data(self):
        self.serve()
        self.serving.connect()
        self.built[0].transport.registerProducer(self, True)  # keeps it open
        self.built[0].transport.loseConnection()
        self.serving.say(b"too late")
        self.assertEqual(self.built[0].calls, ["connectionMade"])
        self.assertFalse(self.serving.client.transport.peer.disconnecting)
        self.built[0].transport.unregisterProducer()
        self.assertEqual(self.serving.moved, (0, 0))

    def stopProducing(self):
        """As a producer."""


class WholeProtocolTests(SynchronousTestCase):
    def test_twisted_web_site_is_served_with_the_announced_client(self):
        class Who(Resource):
            isLeaf = True

            def render_GET(self, request):
                return request.getClientAddress().host.encode()

        serving = Serving(self, Site(Who()), proxy_ips=["192.0.2.1"])
        serving.connect(
            b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        self.assertIn(b"\r\n\r\n203.0.113.7", serving.client.received)
        self.assertTrue(serving.client.ended)
        self.assertEqual(serving.moved[1], len(serving.client.received))

    def test_line_receiver_that_closes_reads_no_further_line(self):
        class OneLine(LineReceiver):
            def lineReceived(self, line):
                self.sendLine(line)
                self.transport.loseConnection()

        serving = Serving(self, Factory.forProtocol(OneLine), Nature(sizes=[3]))
        serving.connect(b"one\r\ntwo\r\n")
        self.assertEqual(serving.client.received, b"one\r\n")
        self.assertEqual(serving.proxy.counters.route(ROUTE).opened, 1)
