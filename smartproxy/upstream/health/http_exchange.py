"""One connection as Twisted's ``Agent`` wants it: the endpoint that it connects to, and the transport of its protocol.

The connection is open before the agent is asked, and is closed in order whatever the agent does to it. What is received passes
through here, so that a head without end is ended: the agent's parser limits a line, but not their number.
"""

from __future__ import annotations

from enum import auto
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer, IStreamClientEndpoint, ITransport
from twisted.python.failure import Failure
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from smartproxy.flow.states import State, following

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IProtocol, IProtocolFactory
    from twisted.web.client import URI

    from smartproxy.flow.side import Side
    from smartproxy.flow.states import Table

#: Bytes that may be received before the head of the answer is complete; as of a request (smartproxy.wire.http_head).
_LONGEST_HEAD = 64 * 1024
#: Bytes of the begin of the answer that are kept, to be shown.
_KEPT = 60


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
class HttpExchange:
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

    def endpointForURI(self, _uri: URI) -> HttpExchange:
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
        if len(self.begin_of_answer) <= _KEPT:
            self.begin_of_answer += data[: _KEPT + 1]
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
