"""A check by an HTTP request, made and parsed by Twisted's ``Agent``.

The agent gets a connection that is open already: dialed, behind its PROXY header and with its TLS, as that of every other
check. It is used for one request. Of the agent's additions none is wanted: redirects are answers, and there are no cookies,
no compression and no connections kept. treq would add all of them.

Memory is bounded: of the head by :data:`_LONGEST_HEAD`, and of the body by :data:`_SEARCHED`. The body is not read where
nothing is expected of it, and not any further than to what is expected.
"""

from __future__ import annotations

from enum import auto
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer, IStreamClientEndpoint, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from smartproxy.errors import CheckFailed
from smartproxy.flow.states import State, following
from smartproxy.upstream.health.connections import port_of
from smartproxy.upstream.interfaces import ICheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IProtocol, IProtocolFactory
    from twisted.web.iweb import IResponse

    from smartproxy.flow.side import Side
    from smartproxy.flow.states import Table
    from smartproxy.model.plan.check import CheckPlan, HttpCheckPlan
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.health.connections import CheckConnections

#: Bytes that may be received before the head of the answer is complete; as of a request (smartproxy.wire.http_head).
_LONGEST_HEAD = 64 * 1024
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
        exchange = _Exchange(side, self._connections.close)
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
    """The value of Host: host and port that are asked, without the port that is the default."""
    host, port = str(candidate.host), port_of(candidate.target, plan)
    host = f"[{host}]" if ":" in host else host
    return host if port == _DEFAULT_PORTS[plan.tls is not None] else f"{host}:{port}"


async def _judged(answer: Deferred[IResponse], http: HttpCheckPlan, exchange: _Exchange) -> str:
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
    failed: ResponseFailed | ResponseNeverReceived | RequestTransmissionFailed, exchange: _Exchange
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


class _Progress(State):
    """How far an exchange is."""

    HEAD = auto()  # the status is not known yet
    BODY = auto()  # it is
    UNANSWERED = auto()  # closed before the status was known
    CLOSED = auto()


class _ExchangeEvent(State):
    """What changes that."""

    HEAD_RECEIVED = auto()  # also of an answer without a body, for which the agent closes first
    CLOSED = auto()


_PROGRESS: Table[_Progress, _ExchangeEvent] = {
    _Progress.HEAD: {
        _ExchangeEvent.HEAD_RECEIVED: _Progress.BODY,
        _ExchangeEvent.CLOSED: _Progress.UNANSWERED,
    },
    _Progress.BODY: {_ExchangeEvent.CLOSED: _Progress.CLOSED},
    _Progress.UNANSWERED: {_ExchangeEvent.HEAD_RECEIVED: _Progress.CLOSED},
}
_CLOSED = (_Progress.UNANSWERED, _Progress.CLOSED)


@implementer(IAgentEndpointFactory, IStreamClientEndpoint, ITransport, IPushProducer)
class _Exchange:
    """The agent's only connection: the endpoint that it connects to, and the transport that it gets.

    :param close: closes the connection in order.
    :ivar received: bytes received.
    :ivar begin_of_answer: the first of them.
    :ivar problem: why it was ended here; empty if it was not.
    :ivar is_ended: whether the target has ended it.
    """

    def __init__(self, side: Side, close: Callable[[Side], None]) -> None:
        self._side = side
        self._close = close
        self._protocol: Any = None
        self._state = _Progress.HEAD
        self.received = 0
        self.begin_of_answer = b""
        self.problem = ""
        self.is_ended = False

    # -- the endpoint ---------------------------------------------------------------------------------

    def endpointForURI(self, _uri: URI) -> _Exchange:
        """The connection is open, whatever the URI."""
        return self

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Give the connection to the agent's protocol."""
        self._protocol = factory.buildProtocol(None)  # type: ignore[arg-type] # it does not look at the address
        self._protocol.makeConnection(self)
        return succeed(self._protocol)

    def begin(self) -> None:
        """Read the answer: the request is written. The protocol cannot take what comes before."""
        self._side.attach(self)
        held = self._side.consume()
        if held:
            self.data_received(held)
        if not self._is_closed() and self._side.ended:
            self.input_ended()
        elif not self._is_closed():
            self._side.transport.resumeProducing()

    def head_is_complete(self) -> None:
        """The status is known."""
        self._state = following(_PROGRESS, self._state, _ExchangeEvent.HEAD_RECEIVED)

    def close(self) -> None:
        """End the connection in order."""
        if not self._is_closed():
            self._state = following(_PROGRESS, self._state, _ExchangeEvent.CLOSED)
            self._close(self._side)

    def _is_closed(self) -> bool:
        return self._state in _CLOSED

    def _is_without_head(self) -> bool:
        return self._state is _Progress.UNANSWERED

    # -- the receiver of the side -----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Pass on what is received, as long as memory is bounded."""
        if self._is_closed():
            return
        self.received += len(data)
        if len(self.begin_of_answer) <= _SHOWN:
            self.begin_of_answer += data[: _SHOWN + 1]
        self._protocol.dataReceived(data)
        if self._is_without_head():
            # The parser closes the connection for a line over its limit, and says nothing.
            self._end("a line in the head of its answer is too long")
        elif self._state is _Progress.HEAD and self.received > _LONGEST_HEAD:
            self._end(f"the head of its answer is over {_LONGEST_HEAD} bytes")

    def _end(self, problem: str) -> None:
        self.problem = problem
        self.close()
        self._tell(Failure(ConnectionDone()))

    def input_ended(self) -> None:
        """The target has ended its direction."""
        self._ended(Failure(ConnectionDone()))

    def output_ended(self) -> None:
        """Our end was sent."""

    def lost(self, why: Failure) -> None:
        """The connection is lost."""
        self._ended(why)

    def _ended(self, why: Failure) -> None:
        if not self._is_closed():
            self.is_ended = True
            self.close()
            self._tell(why)

    def _tell(self, why: Failure) -> None:
        """Tell the protocol, once."""
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connectionLost(why)

    # -- the transport of the protocol ------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send ``data``."""
        self._side.transport.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send all of ``data``."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """The answer is complete, or cannot be parsed."""
        self.close()

    def abortConnection(self) -> None:
        """The request was cancelled. This, too, ends in order."""
        self.close()

    def pauseProducing(self) -> None:
        """Do not read any further."""
        if not self._is_closed():
            self._side.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        if not self._is_closed():
            self._side.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Nobody wants the rest."""
        self.close()

    def getPeer(self) -> Any:
        """The agent does not ask for it."""
        return None

    def getHost(self) -> Any:
        """Likewise."""
        return None


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
