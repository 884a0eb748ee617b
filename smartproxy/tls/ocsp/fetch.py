"""How a responder is asked: one POST over HTTP, one bounded answer, within some seconds (RFC 6960, appendix A.1).

::

    fetch = OcspFetch(reactor)
    der = await fetch("http://ocsp.example/", request)      # OcspResponderUnavailable says why there is none

A redirect is not followed and not needed. A proxy of the environment is not asked. What comes is checked by
:mod:`smartproxy.tls.ocsp.messages`; here it is only kept from being too much or too late.
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

    from twisted.internet.interfaces import IConsumer
    from twisted.python.failure import Failure
    from twisted.web.iweb import IAgent, IResponse

#: Seconds for all of an answer, its name resolved and its connection made; nginx gives it 60.
PATIENCE: Final = 10.0
#: Bytes of an answer. One certificate's has some 500, and a few thousand with a responder's chain; nginx takes 16 KiB.
MOST: Final = 64 * 1024

_HEADERS: Final = Headers(
    {"Content-Type": ["application/ocsp-request"], "Accept": ["application/ocsp-response"]}
)
_OK: Final = 200


class OcspFetch:
    """Asks responders.

    :param reactor: connects, resolves and measures the time. :param agent: asks in its place, in a test.
    """

    def __init__(self, reactor: Any, agent: IAgent | None = None) -> None:
        self._reactor = reactor
        self._agent = agent

    def __call__(self, url: str, request: bytes) -> Deferred[bytes]:
        """The answer to ``request``; fails with :class:`OcspResponderUnavailable`. To cancel it closes the connection."""
        asked: Deferred[bytes] = Deferred.fromCoroutine(self._ask(url, request))
        return asked.addTimeout(PATIENCE, self._reactor, _late)

    async def _ask(self, url: str, request: bytes) -> bytes:
        # A client of its own each time: it keeps cookies.
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
        except Exception as problem:  # of the network, of HTTP, or a URL that is none
            raise OcspResponderUnavailable(_why(problem)) from problem


def _late(_: object, timeout: float) -> NoReturn:
    raise OcspResponderUnavailable(f"no answer within {timeout:g} s")


def _why(problem: BaseException) -> str:
    """In one line. An agent wraps what happened on the wire in a list of reasons."""
    if isinstance(problem, ResponseFailed) and problem.reasons:
        problem = problem.reasons[0].value
    return " ".join(str(problem).split()) or type(problem).__name__


def _body(response: IResponse) -> Deferred[bytes]:
    """All of the body of an answer; what is none is not read."""
    answer = _HttpResponse("" if response.code == _OK else f"answered with HTTP {response.code}")
    response.deliverBody(answer)
    return answer.whole


@implementer(IBodyProducer)
class _OcspQuery:
    """The bytes of a request. What Twisted has for that is driven by the global reactor."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """All at once."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It is all out."""

    def resumeProducing(self) -> None:
        """Likewise."""

    def stopProducing(self) -> None:
        """Likewise."""


class _HttpResponse(Protocol):
    """Collects a body. :ivar whole: all of it, or :class:`OcspResponderUnavailable`.

    :param unwanted: why it is not wanted; then the connection is closed at once.
    """

    def __init__(self, unwanted: str) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._cut())
        self._unwanted = unwanted
        self._held = b""

    def connectionMade(self) -> None:
        if self._unwanted:
            self._refuse(self._unwanted)

    def dataReceived(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > MOST:
            self._refuse(f"answered with more than {MOST} bytes")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(
            ResponseDone, PotentialDataLoss
        ):  # the second: HTTP/1.0, where the connection's end is its end
            self.whole.callback(self._held)
        else:
            self.whole.errback(reason)

    def _refuse(self, why: str) -> None:
        if not self.whole.called:
            self.whole.errback(OcspResponderUnavailable(why))
        self._cut()

    def _cut(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()
