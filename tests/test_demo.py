"""The demo: what its backends answer, and what the proxy in front of them tells them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.model.address import Endpoint
from smartproxy.settings import Settings
from smartproxy.settings.compile.handler_modules import import_module_beside
from smartproxy.testing import MemoryNetwork
from tests.tls.ends import TlsEnd
from tests.tls.talk import client

CLIENT = Endpoint("203.0.113.7", 4711)
PEER = IPv4Address("TCP", "127.0.0.1", 40001)
DEMO = Path(__file__).resolve().parent.parent / "tap" / "demo.yaml"
#: The module that ``tap/demo.yaml`` names, found as the proxy finds it.
backends: Any = import_module_beside(DEMO.parent, "demo_backends")


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = StringTransport(peerAddress=PEER)
        self.page = backends.one.buildProtocol(CLIENT)
        self.page.makeConnection(self.transport)

    def test_page_shows_announced_client_and_connected_peer(self) -> None:
        self.page.dataReceived(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"Content-Length: %d\r\n" % len(body), head)
        self.assertIn(b"client   203.0.113.7 port 4711\n", body)
        self.assertIn(b"peer     127.0.0.1 port 40001\n", body)
        self.assertIn(b"tls      not announced\n", body)
        self.assertIn(b"request  GET /x HTTP/1.1\n", body)
        self.assertIn(b"backend one", body)
        self.assertTrue(self.transport.disconnecting)

    def test_incomplete_head_gets_no_answer(self) -> None:
        for byte in b"GET / HTTP/1.0\r\n\r":
            self.page.dataReceived(bytes([byte]))
        self.assertEqual(self.transport.value(), b"")
        self.page.dataReceived(b"\n")
        self.assertEqual(self.transport.value().count(b"HTTP/1.1 200 OK"), 1)

    def test_request_line_is_escaped(self) -> None:
        self.page.dataReceived(b"GET /\x1b[31m\xff HTTP/1.0\r\n\r\n")
        self.assertIn(b"request  GET /\\x1b[31m\\xff HTTP/1.0\n", self.transport.value())

    def test_endless_head_closes_the_connection(self) -> None:
        self.page.dataReceived(b"x" * 20_000)
        self.assertTrue(self.transport.disconnecting)
        self.page.dataReceived(b"\r\n\r\n")
        self.assertEqual(self.transport.value(), b"")


class BackendTests(SynchronousTestCase):
    def test_backends_are_protocol_factories(self) -> None:
        for backend in (backends.one, backends.two, backends.echo):
            self.assertTrue(verifyObject(IProtocolFactory, backend))

    def test_secure_backend_has_one_tls_factory(self) -> None:
        protocol = backends.secure.buildProtocol(CLIENT)
        self.assertIsInstance(protocol, TLSMemoryBIOProtocol)
        self.assertIs(backends.secure.buildProtocol(CLIENT).factory, protocol.factory)

    def test_echo_sends_back_what_it_receives(self) -> None:
        transport = StringTransport()
        protocol = backends.echo.buildProtocol(CLIENT)
        assert protocol is not None
        protocol.makeConnection(transport)
        protocol.dataReceived(b"hello")
        self.assertEqual(transport.value(), b"hello")


class DemoTests(SynchronousTestCase):
    """``tap/demo.yaml`` on a network in memory."""

    def setUp(self) -> None:
        text = DEMO.read_text(encoding="utf-8") + "acceleration: off\n"
        self.network = MemoryNetwork()
        self.proxy = self.network.start(Settings.parse(text, "yaml", file=str(DEMO)))
        self.addCleanup(self.network.stop, self.proxy)

    def request(self, name: str) -> TlsEnd:
        """A TLS client of port 8443 that asks for ``name`` and requests a page."""
        below = self.network.connect(8443, client=CLIENT)
        end = TlsEnd(below, client(None, name))
        end.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.network.settle()
        while end.step():
            self.network.settle()
        return end

    def test_backend_is_told_of_terminated_tls(self) -> None:
        page = self.request("tls.localhost").received
        self.assertIn(b"This is backend one ", page)
        self.assertIn(b"client   203.0.113.7 port 4711\n", page)
        self.assertIn(b"tls      TLSv1.3, for tls.localhost\n", page)
        (shown,) = self.proxy.certificates()
        self.assertEqual(shown.names, ("tls.localhost",))

    def test_passthrough_tls_reaches_the_backend(self) -> None:
        page = self.request("secure.localhost").received
        self.assertIn(b"This is backend secure ", page)
        self.assertIn(b"tls      not announced\n", page)

    def test_unknown_server_name_is_refused(self) -> None:
        self.assertIsNotNone(self.request("other.localhost").problem)
