"""A network in memory: who can be reached, how time passes, and what it says when nothing comes of something."""

from __future__ import annotations

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IListeningPort, IReactorPluggableNameResolver, IReactorTCP
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.protocols.wire import Echo
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.model.outcome import RejectReason
from smartproxy.settings import Route, Settings
from smartproxy.testing import FarEnd, MemoryNetwork


class Client(ClientFactory):
    noisy = False

    def __init__(self):
        self.made = FarEnd()
        self.failed = None

    def buildProtocol(self, addr):
        return self.made

    def clientConnectionFailed(self, connector, reason):
        self.failed = reason.type


class NetworkTests(SynchronousTestCase):
    def setUp(self):
        self.network = MemoryNetwork()

    def dial(self, host, port, timeout=30):
        client = Client()
        self.connector = self.network.connectTCP(host, port, client, timeout)
        return client

    def test_it_is_a_reactor_as_far_as_it_goes(self):
        self.assertTrue(verifyObject(IReactorTCP, self.network))
        port = self.network.listenTCP(0, Factory.forProtocol(Echo))
        self.assertTrue(verifyObject(IListeningPort, port))

    def test_names_and_addresses_resolve_for_any_endpoint(self):
        self.assertTrue(verifyObject(IReactorPluggableNameResolver, self.network))
        self.network.names["echo.internal"] = ["10.0.0.5"]
        self.network.listenTCP(7, Factory.forProtocol(Echo), interface="10.0.0.5")
        for host in ("echo.internal", "10.0.0.5"):
            connected = HostnameEndpoint(self.network, host, 7).connect(Factory.forProtocol(Protocol))
            self.network.settle()
            self.assertEqual(self.successResultOf(connected).transport.getPeer().host, "10.0.0.5")
        self.assertIs(self.network.installNameResolver(None), self.network)

    def test_who_listens_can_be_connected_to(self):
        self.network.listenTCP(7, Factory.forProtocol(Echo), interface="10.0.0.5")
        client = self.dial("10.0.0.5", 7)
        self.network.settle()
        client.made.write(b"hello")
        self.network.settle()
        self.assertEqual(client.made.received, b"hello")
        self.assertEqual(client.made.transport.getPeer().host, "10.0.0.5")

    def test_every_address_is_every_address(self):
        for interface in ("", "0.0.0.0", "::"):
            port = self.network.listenTCP(7, Factory.forProtocol(Echo), interface=interface)
            self.network.connect(7, "192.0.2.9").close()
            port.stopListening()
        self.assertRaises(error.ConnectionRefusedError, self.network.connect, 7)

    def test_every_address_is_not_that_of_another_machine(self):
        self.network.listenTCP(7, Factory.forProtocol(Echo))
        for host, failed in (("10.0.0.5", error.ConnectionRefusedError), ("127.0.0.1", None), ("::1", None)):
            client = self.dial(host, 7)
            self.network.settle()
            self.assertIs(client.failed, failed)

    def test_who_does_not_listen_refuses(self):
        backend = self.network.backend("10.0.0.5", 80)
        backend.close()
        client = self.dial("10.0.0.5", 80)
        self.network.settle()
        self.assertEqual((client.failed, backend.connections), (error.ConnectionRefusedError, []))

    def test_who_is_silent_is_given_up(self):
        self.network.silent.add(("10.0.0.5", 80))
        client = self.dial("10.0.0.5", 80, timeout=5)
        self.network.run(4.9)
        self.assertIsNone(client.failed)
        self.network.run(0.2)
        self.assertIs(client.failed, error.TimeoutError)
        client = self.dial("10.0.0.5", 80)
        self.connector.stopConnecting()
        self.assertIs(client.failed, error.UserError)

    def test_a_port_is_had_once(self):
        self.network.listenTCP(7, Factory.forProtocol(Echo))
        self.assertRaises(error.CannotListenError, self.network.listenTCP, 7, Factory.forProtocol(Echo))

    def test_time_passes_as_told_and_in_order(self):
        told = []
        for seconds in (2, 1, 3):
            self.network.callLater(seconds, told.append, seconds)
        self.network.run(2.5)
        self.assertEqual(told, [1, 2])
        self.assertAlmostEqual(self.network.seconds(), 2.5)

    def test_a_result_is_waited_for_or_missed(self):
        waiting = Deferred()
        self.network.callLater(5, waiting.callback, "result")
        self.assertEqual(self.network.result(waiting), "result")
        self.assertAlmostEqual(self.network.seconds(), 5, 1)
        with self.assertRaises(AssertionError):
            self.network.result(Deferred(), within=1)

        async def broken():
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            self.network.result(broken())

    def test_a_proxy_reaches_names_and_the_next_target(self):
        self.network.names["db.internal"] = ["10.0.0.5", "10.0.0.6"]
        backend = self.network.backend("10.0.0.6", 80)
        target = {"host": ["db.internal", "nowhere.internal"], "port": 80}
        proxy = self.network.start(
            Settings(routes=[Route(name="a", match={"ports": 80}, action={"targets": [target]})])
        )
        self.network.connect(80).write(b"hello")
        self.network.run(1)
        self.assertEqual(backend.connections[0].received, b"hello")
        backend.connections[0].close()
        backend.close()
        self.network.connect(80)
        self.network.run(1)
        self.assertEqual(sum(proxy.counters.rejected.values()), 1)
        self.assertEqual(
            proxy.counters.rejected[RejectReason.UPSTREAM_REFUSED]
            + proxy.counters.rejected[RejectReason.UPSTREAM_UNREACHABLE],
            1,
        )
        self.network.result(proxy.stopService())
