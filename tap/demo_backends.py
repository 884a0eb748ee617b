"""The backends of ``tap/demo.yaml``, which need no other program.

::

    action: {type: handler, handler: "demo_backends:one"}

They are ordinary Twisted protocol factories, and so an example of what may serve a route in this process: the proxy finds
them because this file is beside the configuration. ``buildProtocol`` is given the client's address, as announced, and the
transport's peer is the client too; who connected is in the transport's facts. The pages show both, which makes a PROXY
header visible.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.protocols.wire import Echo
from zope.interface import implementer

from smartproxy.tls.certificate import Certificate, self_signed_certificate
from smartproxy.wire import http_response, proxy_tlv
from smartproxy.wire.verdict import Malformed

if TYPE_CHECKING:
    from twisted.internet.address import IPv4Address, IPv6Address
    from twisted.python.failure import Failure

#: Bytes of a request's head; a longer one gets no page. Browsers send about 1 KiB.
_MOST = 16 * 1024

_PAGE = """\
This is backend {name} of the smartproxy demo.

client   {client}
peer     {peer}
tls      {tls}
request  {request}

client and tls are what the proxy announced of the client and its TLS; peer is what connected to this backend.
"""


class Page(Protocol):
    """Answers one HTTP request with a page about its connection."""

    def __init__(self, name: str, client: IPv4Address | IPv6Address) -> None:
        self._name = name
        self._client = client
        self._head: bytes | None = b""

    def dataReceived(self, data: bytes) -> None:
        """Collect the head of the request; answer when it is complete."""
        if self._head is None:
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._answer(self._head.partition(b"\r\n")[0])
        elif len(self._head) > _MOST:
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Free the head."""
        self._head = None

    def _answer(self, request_line: bytes) -> None:
        transport: Any = self.transport  # Twisted types it as None or ITransport, and facts are smartproxy's
        peer = _peer(transport)
        page = _PAGE.format(
            name=self._name,
            client=f"{self._client.host} port {self._client.port}",
            peer=f"{peer.host} port {peer.port}",
            tls=_tls(transport),
            request=ascii(request_line.decode("latin-1"))[1:-1],
        )
        transport.write(http_response.build_text(200, page))
        self._close()

    def _close(self) -> None:
        transport: Any = self.transport
        self._head = None
        transport.loseConnection()


def _peer(transport: Any) -> Any:
    """Who connected. A handler's transport has the client as its peer, and the real peer in its facts."""
    facts = getattr(transport, "facts", None)
    return transport.getPeer() if facts is None else facts.detected.announced.accepted.peer


def _tls(transport: Any) -> str:
    """What the PROXY header says of the client's TLS."""
    facts = getattr(transport, "facts", None)
    header = None if facts is None else facts.detected.announced.header
    values = {} if header is None else {tlv.type: tlv.value for tlv in header.tlvs}
    ssl = proxy_tlv.parse_ssl(values.get(proxy_tlv.PP2_TYPE_SSL, b""))
    if isinstance(ssl, Malformed):
        return "not announced"
    name = values.get(proxy_tlv.PP2_TYPE_AUTHORITY, b"no name")
    return ascii(b"%s, for %s" % (ssl.version or b"unknown version", name))[2:-1]


@implementer(IProtocolFactory)
class Pages(Factory):
    """A backend that answers with pages.

    :param name: its name on the page.
    """

    noisy = False

    def __init__(self, name: str) -> None:
        self._name = name

    def buildProtocol(self, addr: Any) -> Page:
        """The protocol for a connection of the client ``addr``."""
        return Page(self._name, addr)


class SecurePages:
    """The same behind its own TLS, with a certificate that is made when the first client connects."""

    def __init__(self, name: str, domain: str) -> None:
        self._pages = Pages(name)
        self._domain = domain

    def buildProtocol(self, addr: Any) -> Any:
        """The protocol for a connection of the client ``addr``."""
        return self._factory.buildProtocol(addr)

    @cached_property
    def _factory(self) -> TLSMemoryBIOFactory:
        made = Certificate(self_signed_certificate([self._domain]))
        key: Any = made.load_key()
        leaf: Any = made.leaf
        # Without a list of protocols, Twisted's server context aborts the handshake of a client that offers ALPN.
        options = CertificateOptions(key, leaf, acceptableProtocols=[b"http/1.1"])
        return TLSMemoryBIOFactory(options, False, self._pages)


one = Pages("one")
two = Pages("two")
secure = SecurePages("secure", "secure.localhost")
echo: Factory = Factory.forProtocol(Echo)
echo.noisy = False
