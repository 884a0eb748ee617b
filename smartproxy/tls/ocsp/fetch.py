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
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers

from smartproxy.errors import OcspResponderUnavailable
from smartproxy.flow.http_bodies import BytesBody, collected
from smartproxy.flow.quiet_agent import quiet_agent

if TYPE_CHECKING:
    from typing import NoReturn

    from twisted.web.iweb import IAgent

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
        client = HTTPClient(self._agent or quiet_agent(self._reactor))
        try:
            response = await client.post(
                url,
                data=BytesBody(request),
                headers=_HEADERS,
                allow_redirects=False,
                unbuffered=True,
                reactor=self._reactor,
            )
            refusal = "" if response.code == _OK else f"answered with HTTP {response.code}"
            return await collected(response, MAX_SIZE, OcspResponderUnavailable, refusal)
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
