"""The backends of the demonstration: what they answer, and to whom."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy import demo
from smartproxy.model.address import Endpoint
from smartproxy.settings import Settings
from smartproxy.testing import MemoryNetwork
from tests.tls.ends import TlsEnd
from tests.tls.talk import client

CLIENT = Endpoint("203.0.113.7", 4711)
PEER = IPv4Address("TCP", "127.0.0.1", 40001)
DEMO = Path(__file__).resolve().parent.parent / "tap" / "demo.yaml"


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = StringTransport(peerAddress=PEER)
        self.page = demo.one.buildProtocol(CLIENT)
        self.page.makeConnection(self.transport)

    def test_it_names_the_client_that_was_announced_and_the_peer_that_connected(self) -> None:
        self.page.dataReceived(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"Content-Length: %d\r\n" % len(body), head)
        self.assertIn(b"client  203.0.113.7 port 4711\n", body)
        self.assertIn(b"peer    127.0.0.1 port 40001\n", body)
        self.assertIn(b"tls     not told of\n", body)
        self.assertIn(b"asked   GET /x HTTP/1.1\n", body)
        self.assertIn(b"backend one", body)
        self.assertTrue(self.transport.disconnecting)

    def test_it_waits_for_the_whole_head(self) -> None:
        for byte in b"GET / HTTP/1.0\r\n\r":
            self.page.dataReceived(bytes([byte]))
        self.assertEqual(self.transport.value(), b"")
        self.page.dataReceived(b"\n")
        self.assertEqual(self.transport.value().count(b"HTTP/1.1 200 OK"), 1)

    def test_what_a_client_wrote_is_escaped(self) -> None:
        self.page.dataReceived(b"GET /\x1b[31m\xff HTTP/1.0\r\n\r\n")
        self.assertIn(b"asked   GET /\\x1b[31m\\xff HTTP/1.0\n", self.transport.value())

    def test_a_head_without_end_is_not_kept(self) -> None:
        self.page.dataReceived(b"x" * 20_000)
        self.assertTrue(self.transport.disconnecting)
        self.page.dataReceived(b"\r\n\r\n")
        self.assertEqual(self.transport.value(), b"")


class BackendTests(SynchronousTestCase):
    def test_they_are_protocol_factories(self) -> None:
        for backend in (demo.one, demo.two, demo.echo):
            self.assertTrue(verifyObject(IProtocolFactory, backend))

    def test_the_secure_one_speaks_tls_with_a_certificate_of_its_own(self) -> None:
        protocol = demo.secure.buildProtocol(CLIENT)
        self.assertIsInstance(protocol, TLSMemoryBIOProtocol)
        self.assertIs(demo.secure.buildProtocol(CLIENT).factory, protocol.factory)

    def test_the_echo_says_what_it_hears(self) -> None:
        transport = StringTransport()
        protocol = demo.echo.buildProtocol(CLIENT)
        assert protocol is not None
        protocol.makeConnection(transport)
        protocol.dataReceived(b"hello")
        self.assertEqual(transport.value(), b"hello")


class DemoTests(SynchronousTestCase):
    """``tap/demo.yaml`` on a network in memory."""

    def setUp(self) -> None:
        settings = DEMO.read_text(encoding="utf-8") + "acceleration: off\n"
        self.network = MemoryNetwork()
        self.proxy = self.network.start(Settings.parse(settings, "yaml"))
        self.addCleanup(self.network.stop, self.proxy)

    def asked(self, name: str) -> TlsEnd:
        """A client of 8443 that asks for ``name``, and for a page."""
        below = self.network.connect(8443, client=CLIENT)
        end = TlsEnd(below, client(None, name))
        end.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.network.settle()
        while end.step():
            self.network.settle()
        return end

    def test_tls_that_ends_in_the_proxy_is_told_to_the_backend(self) -> None:
        told = self.asked("tls.localhost").received
        self.assertIn(b"This is backend one ", told)
        self.assertIn(b"client  203.0.113.7 port 4711\n", told)
        self.assertIn(b"tls     TLSv1.3, for tls.localhost\n", told)
        (shown,) = self.proxy.certificates()
        self.assertEqual(shown.names, ("tls.localhost",))

    def test_tls_that_passes_through_ends_in_the_backend(self) -> None:
        told = self.asked("secure.localhost").received
        self.assertIn(b"This is backend secure ", told)
        self.assertIn(b"tls     not told of\n", told)

    def test_a_name_that_no_route_has_is_refused(self) -> None:
        self.assertIsNotNone(self.asked("other.localhost").problem)
