"""The in-memory network: reachability, names, time and results."""

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

    def test_network_implements_ireactortcp(self):
        self.assertTrue(verifyObject(IReactorTCP, self.network))
        port = self.network.listenTCP(0, Factory.forProtocol(Echo))
        self.assertTrue(verifyObject(IListeningPort, port))

    def test_names_and_addresses_resolve_for_endpoints(self):
        self.assertTrue(verifyObject(IReactorPluggableNameResolver, self.network))
        self.network.names["echo.internal"] = ["10.0.0.5"]
        self.network.listenTCP(7, Factory.forProtocol(Echo), interface="10.0.0.5")
        for host in ("echo.internal", "10.0.0.5"):
            connected = HostnameEndpoint(self.network, host, 7).connect(Factory.forProtocol(Protocol))
            self.network.settle()
            self.assertEqual(self.successResultOf(connected).transport.getPeer().host, "10.0.0.5")
        self.assertIs(self.network.installNameResolver(None), self.network)

    def test_listening_factory_accepts_connections(self):
        self.network.listenTCP(7, Factory.forProtocol(Echo), interface="10.0.0.5")
        client = self.dial("10.0.0.5", 7)
        self.network.settle()
        client.made.write(b"hello")
        self.network.settle()
        self.assertEqual(client.made.received, b"hello")
        self.assertEqual(client.made.transport.getPeer().host, "10.0.0.5")

    def test_port_on_every_address_accepts_any_address(self):
        for interface in ("", "0.0.0.0", "::"):
            port = self.network.listenTCP(7, Factory.forProtocol(Echo), interface=interface)
            self.network.connect(7, "192.0.2.9").close()
            port.stopListening()
        self.assertRaises(error.ConnectionRefusedError, self.network.connect, 7)

    def test_port_on_every_address_is_reached_by_loopback_only(self):
        self.network.listenTCP(7, Factory.forProtocol(Echo))
        for host, failed in (("10.0.0.5", error.ConnectionRefusedError), ("127.0.0.1", None), ("::1", None)):
            client = self.dial(host, 7)
            self.network.settle()
            self.assertIs(client.failed, failed)

    def test_closed_backend_refuses_connections(self):
        backend = self.network.backend("10.0.0.5", 80)
        backend.close()
        client = self.dial("10.0.0.5", 80)
        self.network.settle()
        self.assertEqual((client.failed, backend.connections), (error.ConnectionRefusedError, []))

    def test_silent_host_times_out_and_can_be_cancelled(self):
        self.network.silent.add(("10.0.0.5", 80))
        client = self.dial("10.0.0.5", 80, timeout=5)
        self.network.run(4.9)
        self.assertIsNone(client.failed)
        self.network.run(0.2)
        self.assertIs(client.failed, error.TimeoutError)
        client = self.dial("10.0.0.5", 80)
        self.connector.stopConnecting()
        self.assertIs(client.failed, error.UserError)

    def test_port_in_use_cannot_be_bound_again(self):
        self.network.listenTCP(7, Factory.forProtocol(Echo))
        self.assertRaises(error.CannotListenError, self.network.listenTCP, 7, Factory.forProtocol(Echo))

    def test_calls_run_in_the_order_of_their_time(self):
        called = []
        for seconds in (2, 1, 3):
            self.network.callLater(seconds, called.append, seconds)
        self.network.run(2.5)
        self.assertEqual(called, [1, 2])
        self.assertAlmostEqual(self.network.seconds(), 2.5)

    def test_result_is_returned_or_raised_or_times_out(self):
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

    def test_proxy_resolves_names_and_tries_the_next_target(self):
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
