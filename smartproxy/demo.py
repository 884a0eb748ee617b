"""Backends for a demonstration that needs nothing else: what ``tap/demo.yaml`` leads to.

::

    action: {type: handler, handler: "smartproxy.demo:one"}

They are ordinary Twisted protocol factories, and so also an example of what may stand behind a route in this
process. The address that ``buildProtocol`` is given is the client's, as announced, and so is the transport's
peer; the transport's facts say who has connected. The pages show both, which makes a PROXY header visible.
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

from smartproxy.tls.certificate import Certificate, self_signed
from smartproxy.wire import http_response, proxy_tlv
from smartproxy.wire.verdict import Malformed

if TYPE_CHECKING:
    from twisted.python.failure import Failure

#: Bytes of a request's head; a longer one gets no page. Browsers send about 1 KiB.
_MOST = 16 * 1024

_PAGE = """\
This is backend {name} of the smartproxy demo.

client  {client}
peer    {peer}
tls     {tls}
asked   {asked}

The client is whom the proxy announced, and its TLS what the proxy says of it; the peer is who connected to this backend.
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
            self._close()

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
            tls=_tls(transport),
            asked=ascii(asked.decode("latin-1"))[1:-1],
        )
        transport.write(http_response.build_text(200, page))
        self._close()

    def _close(self) -> None:
        transport: Any = self.transport
        self._head = None
        transport.loseConnection()


def _peer(transport: Any) -> Any:
    """Who has connected. A handler's transport names the client as its peer, and has the rest in its facts."""
    facts = getattr(transport, "facts", None)
    return transport.getPeer() if facts is None else facts.detected.announced.accepted.peer


def _tls(transport: Any) -> str:
    """What the PROXY header says of the client's TLS."""
    facts = getattr(transport, "facts", None)
    header = None if facts is None else facts.detected.announced.header
    said = {} if header is None else {tlv.type: tlv.value for tlv in header.tlvs}
    ssl = proxy_tlv.parse_ssl(said.get(proxy_tlv.PP2_TYPE_SSL, b""))
    if isinstance(ssl, Malformed):
        return "not told of"
    name = said.get(proxy_tlv.PP2_TYPE_AUTHORITY, b"no name")
    return ascii(b"%s, for %s" % (ssl.version or b"some version", name))[2:-1]


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
        made = Certificate(self_signed([self._domain]))
        key: Any = made.load_key()
        leaf: Any = made.leaf
        # Without an own list, Twisted's server context ends every client that offers ALPN.
        options = CertificateOptions(key, leaf, acceptableProtocols=[b"http/1.1"])
        return TLSMemoryBIOFactory(options, False, self._pages)


one = Pages("one")
two = Pages("two")
secure = SecurePages("secure", "secure.localhost")
echo: Factory = Factory.forProtocol(Echo)
echo.noisy = False
