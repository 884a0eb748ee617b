"""Backends for a demonstration that needs nothing else: what ``tap/demo.yaml`` leads to.

::

    action: {type: handler, handler: "smartproxy.demo:one"}

They are ordinary Twisted protocol factories, and so also an example of what may stand behind a route in this
process. The address that ``buildProtocol`` is given is the client's, as announced, and so is the transport's
peer; the transport's facts say who has connected. The pages show both, which makes a PROXY header visible.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.protocols.wire import Echo
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.python.failure import Failure

#: Bytes of a request's head; a longer one gets no page. Browsers send about 1 KiB.
_MOST = 16 * 1024

_PAGE = """\
This is backend {name} of the smartproxy demo.

client  {client}
peer    {peer}
asked   {asked}

The client is whom the proxy announced; the peer is who connected to this backend.
"""


class Page(Protocol):
    """Answers one HTTP request with a page about the connection that it came by."""

    def __init__(self, name: str, client: Any) -> None:
        self._name = name
        self._client = client
        self._head: bytes | None = b""

    def dataReceived(self, data: bytes) -> None:
        """Part of a request has come."""
        if self._head is None:
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._answer(self._head.partition(b"\r\n")[0])
        elif len(self._head) > _MOST:
            self._let_go()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client has gone."""
        self._head = None

    def _answer(self, asked: bytes) -> None:
        transport: Any = self.transport
        peer = _peer(transport)
        page = _PAGE.format(
            name=self._name,
            client=f"{self._client.host} port {self._client.port}",
            peer=f"{peer.host} port {peer.port}",
            asked=ascii(asked.decode("latin-1"))[1:-1],
        ).encode()
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(page)}\r\nConnection: close\r\n\r\n"
        )
        transport.write(head.encode() + page)
        self._let_go()

    def _let_go(self) -> None:
        transport: Any = self.transport
        self._head = None
        transport.loseConnection()


def _peer(transport: Any) -> Any:
    """Who has connected. A handler's transport names the client as its peer, and has the rest in its facts."""
    facts = getattr(transport, "facts", None)
    return transport.getPeer() if facts is None else facts.detected.announced.accepted.peer


@implementer(IProtocolFactory)
class Pages(Factory):
    """A backend that answers with pages.

    :param name: what they call it.
    """

    noisy = False

    def __init__(self, name: str) -> None:
        self._name = name

    def buildProtocol(self, addr: Any) -> Page:
        """For a connection of the client ``addr``."""
        return Page(self._name, addr)


class SecurePages:
    """The same behind TLS of its own, with a certificate that is made when the first client comes."""

    def __init__(self, name: str, domain: str) -> None:
        self._pages = Pages(name)
        self._domain = domain

    def buildProtocol(self, addr: Any) -> Any:
        """For a connection of the client ``addr``."""
        return self._factory.buildProtocol(addr)

    @cached_property
    def _factory(self) -> TLSMemoryBIOFactory:
        key, certificate = _self_signed(self._domain)
        # Without an own list, Twisted's server context ends every client that offers ALPN.
        options = CertificateOptions(key, certificate, acceptableProtocols=[b"http/1.1"])
        return TLSMemoryBIOFactory(options, False, self._pages)


def _self_signed(domain: str) -> tuple[Any, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


one = Pages("one")
two = Pages("two")
secure = SecurePages("secure", "secure.localhost")
echo: Factory = Factory.forProtocol(Echo)
echo.noisy = False
