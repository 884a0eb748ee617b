"""An exchange with a target over HTTP/1.1: the head out, the body out, 1xx, the answer in.

What is sent is built from what was parsed; bytes of a client's head are never passed on as they came. The answer is
written to the client likewise, so that neither side sees how the other frames its messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from smartproxy.errors import PeerClosed, Refused
from smartproxy.flow.coroutines import CancellableCoroutine
from smartproxy.flow.states import following
from smartproxy.http.body import BodyReader, BodyWriter, EndedBody
from smartproxy.http.errors import status_of
from smartproxy.http.forwarded import end_to_end, forwarded_lines, passed_trailers, request_target
from smartproxy.http.states import ANSWER, AnswerState, MessageEvent
from smartproxy.http.upgrade import agrees, upgrade_lines, upgrade_of
from smartproxy.wire.http_answer import AnswerParser, build_head
from smartproxy.wire.http_fields import tokens
from smartproxy.wire.http_framing import Body, answer_framing
from smartproxy.wire.verdict import Malformed, NeedMore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeAlias

    from twisted.python.failure import Failure

    from smartproxy.http.interfaces import AnswerReceiver
    from smartproxy.model.exchange import Exchange
    from smartproxy.upstream.connected import Connected
    from smartproxy.upstream.pool import Pool
    from smartproxy.wire.http_answer import AnswerHead
    from smartproxy.wire.http_fields import Fields
    from smartproxy.wire.http_framing import Framing

    #: Connects to a target for an exchange. The second argument raises once it is over; the third asks for a new connection.
    ConnectFor: TypeAlias = Callable[[Exchange, Callable[[], None], bool], Awaitable[Connected]]

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
_SWITCHING = 101
_FINAL = 200
_BAD_GATEWAY = 502


_AWAITED, _BODY, _COMPLETE = AnswerState


@implementer(IPushProducer)
class HttpUpstream:
    """Carries one exchange to a target.

    :param client: gets the answer.
    :param connect: connects to a target.
    :param pool: gets the connection, if it persists.
    :param trusted: whether the client is a proxy whose forwarded fields are believed.
    :param call_soon: calls a function in a later event loop iteration.
    """

    def __init__(
        self,
        exchange: Exchange,
        client: AnswerReceiver,
        connect: ConnectFor,
        pool: Pool,
        call_soon: Callable[[Callable[[], object]], object],
        *,
        trusted: bool,
    ) -> None:
        self._exchange = exchange
        self._client = client
        self._connect = connect
        self._pool = pool
        plan = exchange.routed.route.http
        assert plan is not None  # noqa: S101 - its route speaks HTTP
        self._plan = plan
        self._call_soon = call_soon
        self._trusted = trusted
        self._connecting: CancellableCoroutine[None] | None = None
        self._is_second_try = False
        self._linked: Connected | None = None
        self._early: list[bytes] = []
        self._request_ended: bytes | None = None
        self._writer: BodyWriter | None = None
        self._answer = _AWAITED
        self._parser = AnswerParser()
        self._held = b""
        self._reader: BodyReader | None = None
        self._persists = False

    # -- the request ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """See :class:`~smartproxy.http.interfaces.Answerer`."""
        self._client.pause_request()
        self._connecting = CancellableCoroutine(self._connected(), self._call_soon)
        self._connecting.start().addErrback(self._not_connected)

    def request_data(self, pieces: Sequence[memoryview]) -> None:
        """See :class:`~smartproxy.http.interfaces.Answerer`."""
        if self._writer is None:
            self._early += map(bytes, pieces)
        else:
            self._writer.write(pieces)

    def request_end(self, trailers: bytes) -> None:
        """See :class:`~smartproxy.http.interfaces.Answerer`."""
        self._request_ended = trailers
        if self._writer is not None:
            self._writer.end(trailers)

    def cancel(self) -> None:
        """See :class:`~smartproxy.http.interfaces.Answerer`."""
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        self._release(abort=True)

    def pause_answer(self) -> None:
        """See :class:`~smartproxy.http.interfaces.Answerer`."""
        if self._linked is not None:
            self._linked.side.transport.pauseProducing()

    def resume_answer(self) -> None:
        """See :class:`~smartproxy.http.interfaces.Answerer`."""
        if self._linked is not None:
            self._linked.side.transport.resumeProducing()

    def _require_wanted(self) -> None:
        if self._exchange.is_over:
            raise PeerClosed

    async def _connected(self) -> None:
        """Connect to a target, and send what is there of the request."""
        linked = await self._connect(self._exchange, self._require_wanted, self._is_second_try)
        self._connecting = None
        self._exchange.is_reused = linked.is_reused
        if self._exchange.is_over:
            self._linked = linked
            self._release(abort=True)
            return
        self._linked = linked
        transport = linked.side.transport
        linked.side.attach(self)
        transport.registerProducer(self, True)
        chunked = self._exchange.framing.body is Body.CHUNKED
        self._writer = BodyWriter(transport.write, linked.header + self._head(), chunked=chunked)
        early, self._early = self._early, []
        if early:
            self._writer.write(map(memoryview, early))
        if self._request_ended is not None:
            self._writer.end(self._request_ended)
        self._writer.flush()
        self._client.resume_request()
        received = linked.side.consume()
        if received:
            self.data_received(received)
        if self._linked is not None:
            transport.resumeProducing()

    def _head(self) -> bytes:
        exchange = self._exchange
        head, framing = exchange.head, exchange.framing
        lines = end_to_end(head.fields, of_client=False)
        if self._plan.forwarded:
            lines += forwarded_lines(exchange.routed.detected, head, trusted=self._trusted)
        if framing.body is Body.CHUNKED:
            lines += b"Transfer-Encoding: chunked\r\n"
        elif framing.body is Body.LENGTH or head.fields.noted("content-length"):
            lines += b"Content-Length: %d\r\n" % framing.length
        if not head.fields.noted("host"):
            lines = b"Host: \r\n" + lines
        protocol = upgrade_of(exchange)
        if protocol:
            lines += upgrade_lines(protocol)
        line = f"{head.method} {request_target(head)} HTTP/1.1\r\n".encode("latin-1")
        return b"%b%b\r\n" % (line, lines)

    def _not_connected(self, why: Failure) -> None:
        self._connecting = None
        if self._exchange.is_over:
            return
        refused = why.value
        if isinstance(refused, Refused):
            self._client.failed(status_of(refused), refused.detail)
        else:
            self._client.failed(_BAD_GATEWAY, "")
            why.raiseException()

    # -- back-pressure -------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The target does not read."""
        self._client.pause_request()

    def resumeProducing(self) -> None:
        """It reads again."""
        self._client.resume_request()

    def stopProducing(self) -> None:
        """The target's connection is lost, which :meth:`lost` handles."""

    # -- the answer ----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what the target sends, and pass it on."""
        self._held = self._held + data if self._held else data
        while self._held and self._linked is not None:
            if self._answer is _AWAITED:
                if not self._read_head():
                    break
            else:
                self._read_body()
        if self._answer is _BODY:
            self._client.answer_flush()

    def _read_head(self) -> bool:
        """Read a head. Returns whether there was one, or the exchange has ended by what was there instead."""
        verdict = self._parser(self._held)
        if isinstance(verdict, NeedMore):
            return False
        if isinstance(verdict, Malformed):
            self._fail(_BAD_GATEWAY, verdict.why)
            return True
        head = verdict.value
        self._held = self._held[verdict.consumed :]
        self._parser = AnswerParser()
        if head.status == _SWITCHING:
            self._switch(head)
        elif head.status < _FINAL:
            self._client.informational(head)
        else:
            self._final(head)
        return True

    def _switch(self, head: AnswerHead) -> None:
        """Make the connection a tunnel. What was received behind the head is its first bytes."""
        linked, protocol = self._linked, upgrade_of(self._exchange)
        if linked is None or not agrees(head, protocol):
            self._fail(_BAD_GATEWAY, "101 to another protocol than was asked for")
            return
        self._linked = None
        side = linked.side
        side.transport.pauseProducing()
        side.transport.unregisterProducer()
        side.receiver = None
        early, self._held = self._held, b""
        lines = end_to_end(head.fields) + upgrade_lines(protocol)
        self._client.switch(build_head(_SWITCHING, head.reason, lines) + early, linked)

    def _final(self, head: AnswerHead) -> None:
        to_head = self._exchange.head.method == "HEAD"
        framing = answer_framing(head.fields, head.version, head.status, to_head=to_head)
        if isinstance(framing, Malformed):
            self._fail(_BAD_GATEWAY, framing.why)
            return
        self._answer = following(ANSWER, self._answer, MessageEvent.BEGUN)
        self._reader = BodyReader(framing)
        self._persists = persists(head, framing)
        self._client.answer(head, framing)
        if framing.body is Body.NONE:
            self._end()

    def _read_body(self) -> None:
        assert self._reader is not None  # noqa: S101 - the head was read
        pieces: list[memoryview] = []
        held, self._held = self._held, b""
        verdict = self._reader.feed(held, pieces)
        if isinstance(verdict, EndedBody):
            self._held = held[verdict.consumed :]
        if pieces:
            self._client.answer_data(pieces)
        if isinstance(verdict, EndedBody):
            self._end(verdict.trailers)
        elif verdict is not None:
            self._fail(_BAD_GATEWAY, verdict.why)

    def _end(self, trailers: Fields | None = None) -> None:
        """The answer is complete. What follows it was not asked for, and is dropped with the connection."""
        self._answer = following(ANSWER, self._answer, MessageEvent.ENDED)
        self._release(abort=self._request_ended is None, persists=self._persists)
        self._client.answer_end(b"" if trailers is None else passed_trailers(trailers))

    def _fail(self, status: int, detail: str) -> None:
        self._release(abort=True)
        self._client.failed(status, detail)

    def _may_try_again(self) -> bool:
        """Whether the target has closed an idle connection as it was used again, and the request may be repeated.

        It may if it has no body, and a method of which a repetition changes nothing (RFC 9110, 9.2.2), and if no byte of an
        answer was received: then the target has not begun to answer it.
        """
        return (
            self._linked is not None
            and self._linked.is_reused
            and self._answer is _AWAITED
            and not self._held
            and self._plan.retries > 0
            and not self._is_second_try
            and self._exchange.framing.body is Body.NONE
            and self._exchange.head.method in _IDEMPOTENT
        )

    def _cut(self, detail: str) -> None:
        """The connection has ended within the exchange."""
        if self._may_try_again():
            self._is_second_try = True
            self._release(abort=True)
            self._writer = None
            self.begin()
        else:
            self._fail(_BAD_GATEWAY, detail)

    def input_ended(self) -> None:
        """The target has ended its direction: that is the end of some bodies, and a cut of all others."""
        if self._answer is _BODY and self._reader is not None and self._reader.may_end_by_close:
            self._end()
        elif self._answer is not _COMPLETE:
            self._cut("the target closed the connection before its answer was complete")

    def output_ended(self) -> None:
        """Our direction has ended."""

    def lost(self, why: Failure) -> None:
        """The connection is lost. An answer that is not complete is a cut."""
        if self._answer is not _COMPLETE and self._linked is not None:
            self._cut("the target reset the connection")

    def _release(self, *, abort: bool, persists: bool = False) -> None:
        """Give the place at the target back, and the connection to the pool, if it ``persists``; else close it."""
        linked, self._linked = self._linked, None
        if linked is None:
            return
        linked.side.receiver = None
        transport = linked.side.transport
        transport.unregisterProducer()
        linked.release(0, 0)  # the bytes are those of the exchange
        if persists and not abort and not self._held:
            transport.pauseProducing()
            self._pool.put(linked, self._plan.idle_timeout, self._plan.most_idle)
        elif abort:
            transport.abortConnection()
            linked.on_closed()
        else:
            linked.close()


def persists(head: AnswerHead, framing: Framing) -> bool:
    """Whether the target lets the connection be used again (RFC 9112, 9.3)."""
    if framing.body is Body.UNTIL_CLOSE:
        return False
    asked = tokens(head.fields.noted("connection"))
    return "close" not in asked and (head.version != (1, 0) or "keep-alive" in asked)
