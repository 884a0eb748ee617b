"""A check by an HTTP request, made and parsed by Twisted's ``Agent``.

The agent gets a connection that is open already: dialed, behind its PROXY header and with its TLS, as that of every other
check. It is used for one request. Of the agent's additions none is wanted: redirects are answers, and there are no cookies,
no compression and no connections kept. treq would add all of them.

Memory is bounded: for the head by the exchange, and for the body by :data:`_SEARCHED`. The body is not read where nothing is
expected of it, and no further than to what is expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from zope.interface import implementer

from smartproxy.errors import CheckFailed
from smartproxy.model.address import UnixEndpoint
from smartproxy.upstream.health.connections import port_of
from smartproxy.upstream.health.http_exchange import HttpExchange
from smartproxy.upstream.interfaces import ICheck

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.python.failure import Failure
    from twisted.web.iweb import IResponse

    from smartproxy.model.plan.check import CheckPlan, HttpCheckPlan
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.health.connections import CheckConnections

#: Bytes of a body in which its text must be found (``expectBody``).
_SEARCHED = 64 * 1024
#: Characters of a text that are shown.
_SHOWN = 60
_USER_AGENT = "smartproxy"
_DEFAULT_PORTS = {False: 80, True: 443}


@implementer(ICheck)
class HttpCheck:
    """Makes requests."""

    def __init__(self, connections: CheckConnections) -> None:
        self._connections = connections
        self._pool = HTTPConnectionPool(None, persistent=False)

    def __call__(self, candidate: Candidate, plan: CheckPlan) -> Deferred[str]:
        """See :class:`~smartproxy.upstream.interfaces.ICheck`."""
        return Deferred.fromCoroutine(self._ask(candidate, plan))

    async def _ask(self, candidate: Candidate, plan: CheckPlan) -> str:
        side = await self._connections.open(candidate, plan)
        exchange = HttpExchange(side, self._connections.close)
        try:
            agent = Agent.usingEndpointFactory(None, exchange, self._pool)
            host = plan.http.host or _authority(candidate, plan)
            headers = Headers({"Host": [host], "User-Agent": [_USER_AGENT], "Accept": ["*/*"]})
            url = b"http://target" + plan.http.path.encode("ascii")
            answer = agent.request(plan.http.method.encode("ascii"), url, headers)
            exchange.begin()
            return await _judged(answer, plan.http, exchange)
        finally:
            exchange.close()


def _authority(candidate: Candidate, plan: CheckPlan) -> str:
    """The value of Host: host and port that are asked, without the port that is the default. That of a socket: localhost."""
    if isinstance(candidate.host, UnixEndpoint):
        return "localhost"
    host, port = str(candidate.host), port_of(candidate.target, plan)
    host = f"[{host}]" if ":" in host else host
    return host if port == _DEFAULT_PORTS[plan.tls is not None] else f"{host}:{port}"


async def _judged(answer: Deferred[IResponse], http: HttpCheckPlan, exchange: HttpExchange) -> str:
    """What was found.

    :raises CheckFailed: where that is not what ``http`` expects.
    """
    try:
        response = await answer
    except (ResponseFailed, ResponseNeverReceived, RequestTransmissionFailed) as failed:
        raise _no_answer(failed, exchange) from None
    exchange.head_is_complete()
    status = int(response.code)
    if not any(status in allowed for allowed in http.statuses):
        raise CheckFailed(f"status {status}, expected {_ranges(http.statuses)}")
    if not http.body:
        return f"status {status}"
    body = _BodySearch(http.body)
    response.deliverBody(body)
    try:
        problem = await body.decided
    except CancelledError:
        problem = "does not contain {} so far, and there was no more in time"
    shown = _shown(http.body)
    if problem:
        raise CheckFailed(f"status {status}, and the body {problem.format(shown)}")
    return f"status {status}, and the body contains {shown}"


def _no_answer(
    failed: ResponseFailed | ResponseNeverReceived | RequestTransmissionFailed, exchange: HttpExchange
) -> Exception:
    """The exception in place of those of the agent, which wraps them."""
    why = failed.reasons[0].value if failed.reasons else failed
    if isinstance(why, CancelledError):
        return why if not exchange.received else CheckFailed("the answer is not complete in time")
    if exchange.problem:
        return CheckFailed(exchange.problem)
    if isinstance(why, OSError | ConnectionDone) or exchange.is_ended:
        begun = "in the middle of its answer" if exchange.received else "without an answer"
        return CheckFailed(f"it closed the connection {begun}")
    return CheckFailed(f"the answer is not HTTP: {_shown(exchange.begin_of_answer)}")


def _ranges(statuses: Iterable[range]) -> str:
    return ", ".join(
        f"{one[0]}-{one[-1]}" if len(one) > 1 else str(one[0]) for one in statuses
    )  # fmt: skip


def _shown(text: bytes) -> str:
    more = "..." if len(text) > _SHOWN else ""
    return ascii(text[:_SHOWN].decode("utf-8", "backslashreplace")) + more


class _BodySearch(Protocol):
    """Searches the begin of a body for a text.

    :ivar decided: fires with what is wrong, as an end of a sentence about the body with the text in place of ``{}``; with ""
        as soon as the text is found.
    """

    def __init__(self, wanted: bytes) -> None:
        self._wanted = wanted
        self._received = bytearray()
        self.decided: Deferred[str] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Search what is received, and where it meets what was received before."""
        if self.decided.called:
            return
        start = max(len(self._received) - len(self._wanted) + 1, 0)
        self._received += data[: _SEARCHED - len(self._received)]
        if self._received.find(self._wanted, start) >= 0:
            self.decided.callback("")
        elif len(self._received) >= _SEARCHED:
            self.decided.callback(f"does not contain {{}} in its first {_SEARCHED} bytes")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body is complete, or the connection was lost. An HTTP/1.0 body may end with its connection."""
        if self.decided.called:
            return
        whole = reason.check(ResponseDone, PotentialDataLoss)
        self.decided.callback("does not contain {}" if whole else "ends too early and does not contain {}")
