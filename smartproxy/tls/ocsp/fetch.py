"""A request to an OCSP responder: one POST over HTTP with limits on time and size (RFC 6960, appendix A.1).

::

    fetch = OcspFetch(reactor)
    der = await fetch("http://ocsp.example/", request)      # OcspResponderUnavailable: why there is no response

Redirects are not followed; responders do not need them. Proxies from the environment are not used. The response is
validated by :mod:`smartproxy.tls.ocsp.messages`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.web.client import Agent, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from smartproxy.errors import OcspResponderUnavailable

if TYPE_CHECKING:
    from typing import NoReturn

    from twisted.internet.interfaces import IConsumer, ITCPTransport
    from twisted.python.failure import Failure
    from twisted.web.iweb import IAgent, IResponse

#: Seconds for a whole request, with name resolution and connection; nginx has 60.
TIMEOUT: Final = 10.0
#: Bytes of a response. For one certificate it has about 500, and a few thousand with a chain; nginx accepts 16 KiB.
MAX_SIZE: Final = 64 * 1024

_HEADERS: Final = Headers(
    {"Content-Type": ["application/ocsp-request"], "Accept": ["application/ocsp-response"]}
)
_OK: Final = 200


class OcspFetch:
    """Sends requests to responders.

    :param reactor: connects, resolves names and has the clock.
    :param agent: sends the HTTP request; by default one of ``reactor``.
    """

    def __init__(self, reactor: Any, agent: IAgent | None = None) -> None:
        self._reactor = reactor
        self._agent = agent

    def __call__(self, url: str, request: bytes) -> Deferred[bytes]:
        """Send ``request``; fires with the response. Fails with :class:`OcspResponderUnavailable`. Cancel closes the connection."""
        asked: Deferred[bytes] = Deferred.fromCoroutine(self._send(url, request))
        return asked.addTimeout(TIMEOUT, self._reactor, _timed_out)

    async def _send(self, url: str, request: bytes) -> bytes:
        # A new client for each request, because a client keeps cookies.
        client = HTTPClient(self._agent or Agent(self._reactor))
        try:
            response = await client.post(
                url,
                data=_OcspQuery(request),
                headers=_HEADERS,
                allow_redirects=False,
                unbuffered=True,
                reactor=self._reactor,
            )
            return await _body(response)
        except (CancelledError, OcspResponderUnavailable):
            raise
        except Exception as problem:  # of the network or of HTTP, or a malformed URL
            raise OcspResponderUnavailable(_reason(problem)) from problem


def _timed_out(_: object, timeout: float) -> NoReturn:
    raise OcspResponderUnavailable(f"no answer within {timeout:g} s")


def _reason(problem: BaseException) -> str:
    """The message of an exception in one line. Twisted's agent wraps network errors in a list of reasons."""
    if isinstance(problem, ResponseFailed) and problem.reasons:
        problem = problem.reasons[0].value
    return " ".join(str(problem).split()) or type(problem).__name__


def _body(response: IResponse) -> Deferred[bytes]:
    """The body of a response. If its status is not 200, the body is not read."""
    body = _BodyCollector("" if response.code == _OK else f"answered with HTTP {response.code}")
    response.deliverBody(body)
    return body.whole


@implementer(IBodyProducer)
class _OcspQuery:
    """The body of a request. Twisted's ``FileBodyProducer`` would use the global reactor."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write the whole body."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to pause: the whole body has been written."""

    def resumeProducing(self) -> None:
        """Nothing is left to resume."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


class _BodyCollector(Protocol):
    """Collects the body of a response.

    :param refusal: why it is not wanted, or empty; if not, the connection is closed at once.
    :ivar whole: fires with the body, or fails with :class:`OcspResponderUnavailable`.
    """

    transport: ITCPTransport | None

    def __init__(self, refusal: str) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._disconnect())
        self._refusal = refusal
        self._received = bytearray()

    def connectionMade(self) -> None:
        if self._refusal:
            self._refuse(self._refusal)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > MAX_SIZE:
            self._refuse(f"answered with more than {MAX_SIZE} bytes")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        # PotentialDataLoss: in HTTP/1.0 a body may end with its connection.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._received))
        else:
            self.whole.errback(reason)

    def _refuse(self, why: str) -> None:
        if not self.whole.called:
            self.whole.errback(OcspResponderUnavailable(why))
        self._disconnect()

    def _disconnect(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
