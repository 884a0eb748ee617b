"""HTTP/1.1 to a client: requests in, one after the other, and each answer written before the next request is looked at.

So answers are in order, and a client that sends a thousand requests at once makes the proxy hold a bounded part of them: what
is received meanwhile is held, and above :data:`HELD` not read.

States of the request, and of the answer to it::

    request:  HEAD --> BODY --> COMPLETE --> HEAD        a head without body is COMPLETE at once
    answer:   AWAITED --> STARTED --> COMPLETE --> AWAITED

Both go back to their first state together. An answer that is complete before its request ends the connection: whether the
client sends the rest of the body is not known, and what it sends must not be taken for a request.
"""

from __future__ import annotations

from enum import auto
from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from smartproxy.errors import Refused
from smartproxy.flow.states import State, Table, following
from smartproxy.http.body import BodyReader, BodyWriter, EndedBody
from smartproxy.http.errors import answer_to_malformed, status_of
from smartproxy.http.forwarded import end_to_end
from smartproxy.http.upgrade import upgrade_of
from smartproxy.model.exchange import CLIENT_LEFT, Exchange
from smartproxy.model.outcome import CloseReason
from smartproxy.net.half_close import LINGER, cut_output, end_output
from smartproxy.net.liveness import transport_gone
from smartproxy.net.outgoing import acknowledged_by
from smartproxy.wire import http_response
from smartproxy.wire.http_answer import build_head
from smartproxy.wire.http_fields import tokens
from smartproxy.wire.http_framing import Body, request_framing
from smartproxy.wire.http_head import HeadParser, RequestHead
from smartproxy.wire.verdict import Malformed, NeedMore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.python.failure import Failure

    from smartproxy.flow.deadline import Deadline, Deadlines
    from smartproxy.flow.side import Side, SideTransport
    from smartproxy.http.interfaces import Answerer
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan.http import HttpPlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.upstream.connected import Connected
    from smartproxy.wire.http_answer import AnswerHead
    from smartproxy.wire.http_framing import Framing

#: Bytes behind the request in progress that are held before reading pauses.
HELD = 64 * 1024
_BODILESS = (204, 304)


class RequestState(State):
    """What was received of a request."""

    HEAD = auto()
    BODY = auto()
    COMPLETE = auto()


class ReplyState(State):
    """What was sent of the answer."""

    AWAITED = auto()
    STARTED = auto()
    COMPLETE = auto()


class MessageEvent(State):
    """What changes one of them."""

    BEGUN = auto()
    ENDED = auto()
    NEXT = auto()


_HEAD, _BODY, _RECEIVED = RequestState
_AWAITED, _STARTED, _SENT = ReplyState
_BEGUN, _ENDED, _NEXT = MessageEvent
REQUEST: Table[RequestState, MessageEvent] = {
    _HEAD: {_BEGUN: _BODY},
    _BODY: {_ENDED: _RECEIVED},
    _RECEIVED: {_NEXT: _HEAD},
}
REPLY: Table[ReplyState, MessageEvent] = {
    _AWAITED: {_BEGUN: _STARTED},
    _STARTED: {_ENDED: _SENT},
    _SENT: {_NEXT: _AWAITED},
}


class HttpServices(NamedTuple):
    """What a client's connection asks for.

    :ivar clock: monotonic seconds.
    :ivar route: the facts with the route of a request; raises :class:`~smartproxy.errors.Refused`.
    :ivar answerer: makes what answers an exchange.
    :ivar idle: the connections that wait for another request.
    :ivar begun: called with an exchange that has a route.
    :ivar finished: called with an exchange that has ended, once.
    :ivar relay: makes a tunnel of a client's side and the connection to its target.
    :ivar draining: whether this is to be the last exchange of each connection.
    """

    clock: Callable[[], float]
    deadlines: Deadlines
    route: Callable[[Routed, RequestHead], Routed]
    answerer: Callable[[Exchange, HttpDownstream], Answerer]
    draining: Callable[[], bool]
    idle: set[HttpDownstream]
    begun: Callable[[Exchange], None]
    finished: Callable[[Exchange], None]
    relay: Callable[[ConnectionRecord, Side, Connected, Routed], Deferred[CloseReason]]


@implementer(IPushProducer)
class HttpDownstream:
    """One connection of a client. It owns the connection: see :attr:`ConnectionRecord.owner`.

    :param first: the facts and the route that the connection was admitted to.
    :ivar done: fires with the reason when the connection has ended.
    """

    def __init__(
        self, record: ConnectionRecord, side: Side, first: Routed, plan: HttpPlan, services: HttpServices
    ) -> None:
        self.record = record
        self.side = side
        self.done: Deferred[CloseReason] = Deferred()
        self._first = first
        self._plan = plan
        self._services = services
        self._held = b""
        self._parser = HeadParser()
        self._request = _HEAD
        self._reply = _AWAITED
        self._reader: BodyReader | None = None
        self._writer: BodyWriter | None = None
        self._exchange: Exchange | None = None
        self._answerer: Answerer | None = None
        self._due: Deadline | None = None
        self._reason: CloseReason | None = None
        self._body = 0
        self._is_last = False
        self._is_closing = False
        self._is_ended = False
        self._is_advancing = False
        self._is_paused = False

    @property
    def _transport(self) -> SideTransport:
        return self.side.transport

    def start(self) -> Deferred[CloseReason]:
        """Start, with the bytes that were received already. Returns :attr:`done`."""
        held, ended = self.side.consume(), self.side.ended
        self.side.attach(self)
        self._transport.registerProducer(self, True)
        self._wait(self._plan.request_timeout)
        if held:
            self.data_received(held)
        if ended:
            self.input_ended()
        elif not self._is_paused:
            self._transport.resumeProducing()
        return self.done

    # -- requests --------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what the client sends; while an answer is awaited, hold it."""
        if self._is_closing:
            return
        if self._request is _HEAD and not self._held:
            self._services.idle.discard(self)
            self._wait(self._plan.request_timeout)
        self._held = self._held + data if self._held else data
        self._advance()
        if self._request is _RECEIVED and len(self._held) > HELD:
            self.pause_request()

    def _advance(self) -> None:
        """Go as far as what is held allows. An exchange may end within it, and the next one begins in the same loop."""
        if self._is_advancing:
            return
        self._is_advancing = True
        while self._held and not self._is_closing:
            if self._request is _HEAD:
                if not self._read_head():
                    break
            elif self._request is _BODY:
                self._read_body()
            else:
                break
        self._is_advancing = False

    def _read_head(self) -> bool:
        """Read a head. Returns whether it was complete."""
        verdict = self._parser(self._held)
        if isinstance(verdict, NeedMore):
            return False
        if isinstance(verdict, Malformed):
            self._refuse_head(verdict)
            return True
        self._parser = HeadParser()
        self._count_received(verdict.consumed)
        self._held = self._held[verdict.consumed :]
        head = verdict.value
        framing = request_framing(head.fields, head.version)
        if isinstance(framing, Malformed):
            self._refuse_head(framing)
        else:
            self._begin(head, framing, verdict.consumed)
        return True

    def _begin(self, head: RequestHead, framing: Framing, size: int) -> None:
        exchange = self._exchange = Exchange(self.record, head, framing, self._first, self._services.clock())
        exchange.request_bytes = size
        self._request = following(REQUEST, self._request, _BEGUN)
        refusal = _refusal_of(head)
        if refusal:
            self.failed(refusal, "")
            return
        if self._services.draining() and not self.record.exchanges:
            self.failed(503, "the proxy is draining")
            return
        try:
            exchange.routed = self._services.route(self._first, head)
        except Refused as refused:
            self.failed(status_of(refused.reason), refused.detail)
            return
        self._services.begun(exchange)
        refused_by_route = self._refusal_of_route(exchange)
        if refused_by_route is not None:
            self.failed(*refused_by_route)
            return
        self._wait(self._plan.request_timeout if framing.body is not Body.NONE else self._plan.answer_timeout)
        self._reader = BodyReader(framing)
        self._body = 0
        answerer = self._answerer = self._services.answerer(exchange, self)
        answerer.begin()
        if framing.body is Body.NONE and self._exchange is exchange:
            self._request_ended(b"")

    def _refusal_of_route(self, exchange: Exchange) -> tuple[int, str] | None:
        """The status and the reason of a request that its route refuses."""
        plan, framing = exchange.routed.route.http, exchange.framing
        assert plan is not None  # noqa: S101 - a request gets only routes that speak HTTP
        self._plan = plan
        if plan.max_body and framing.length > plan.max_body:
            return 413, f"a body of {framing.length} bytes (maxBodySize)"
        if plan.origins and upgrade_of(exchange):
            origin = "".join(exchange.head.fields.values("origin")).lower()
            if origin not in plan.origins:
                return 403, "not from one of websocket.origins"
        return None

    def _read_body(self) -> None:
        assert self._reader is not None  # noqa: S101 - the head was read
        pieces: list[memoryview] = []
        held, self._held = self._held, b""
        verdict = self._reader.feed(held, pieces)
        if isinstance(verdict, Malformed):
            self.failed(400, verdict.why)
            return
        consumed = len(held) if verdict is None else verdict.consumed
        self._held = held[consumed:]
        self._count_received(consumed)
        if self._exchange is not None:
            self._exchange.request_bytes += consumed
            self._body += sum(map(len, pieces))
            if self._plan.max_body and self._body > self._plan.max_body:
                self.failed(413, "a body over maxBodySize")
                return
        self._wait(self._plan.request_timeout)
        if pieces and self._answerer is not None:
            self._answerer.request_data(pieces)
        if isinstance(verdict, EndedBody) and self._request is _BODY:
            self._request_ended(verdict.trailers.block)

    def _request_ended(self, trailers: bytes) -> None:
        self._request = following(REQUEST, self._request, _ENDED)
        self._wait(self._plan.answer_timeout)
        if self._answerer is not None:
            self._answerer.request_end(trailers)

    def _refuse_head(self, why: Malformed) -> None:
        """Answer a head, or a framing, that is malformed. Where the next request begins is not known any more."""
        self._send(answer_to_malformed(why))
        self._close()

    def _count_received(self, count: int) -> None:
        self.record.moved_in(count, self._services.clock())

    # -- answers: see AnswerReceiver -------------------------------------------------------------------

    def informational(self, head: AnswerHead) -> None:
        """Pass it on to a client that knows it (RFC 9110, 15.2)."""
        assert self._exchange is not None  # noqa: S101 - it is answered
        if self._exchange.head.version != (1, 0):
            self._send(build_head(head.status, head.reason, end_to_end(head.fields)))

    def answer(self, head: AnswerHead, framing: Framing) -> None:
        """Send the head."""
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - it is answered
        exchange.status = head.status
        exchange.answered_at = self._services.clock()
        self._reply = following(REPLY, self._reply, _BEGUN)
        self._wait(0)
        chunked = framing.body in {Body.CHUNKED, Body.UNTIL_CLOSE} and exchange.head.version != (1, 0)
        until_close = framing.body in {Body.CHUNKED, Body.UNTIL_CLOSE} and not chunked
        self._is_last = until_close or not self._persists(exchange.head) or self._request is not _RECEIVED
        lines = end_to_end(head.fields) + _framing_lines(head, framing, chunked=chunked)
        if self._is_last:
            lines += b"Connection: close\r\n"
        elif exchange.head.version == (1, 0):
            lines += b"Connection: keep-alive\r\n"
        self._writer = BodyWriter(self._send, build_head(head.status, head.reason, lines), chunked=chunked)

    def answer_data(self, pieces: Sequence[memoryview]) -> None:
        """Send a part of the body."""
        if self._writer is not None:
            self._writer.write(pieces)

    def answer_flush(self) -> None:
        """Send the head, if no part of the body was sent with it."""
        if self._writer is not None:
            self._writer.flush()

    def answer_end(self, trailers: bytes) -> None:
        """The answer is complete."""
        if self._writer is not None:
            self._writer.end(trailers)
        self._replied()

    def switch(self, head: bytes, linked: Connected) -> None:
        """Send the 101, and relay what follows. This object has no part in the connection any more."""
        assert self._exchange is not None  # noqa: S101 - it asked for it
        routed = self._exchange.routed
        self._exchange.status, self._exchange.answered_at = 101, self._services.clock()
        self._answerer = None
        self._wait(0)
        self._send(head)
        self._over()
        self._transport.pauseProducing()
        self._transport.unregisterProducer()
        self.side.receiver = None
        self.side.buffered, self._held = self._held, b""
        self.side.ended = self._is_ended
        before = self.record.bytes_received, self.record.bytes_sent
        tunnel = self._services.relay(self.record, self.side, linked, routed)
        tunnel.addCallback(self._tunnel_ended, linked, before)
        tunnel.chainDeferred(self.done)

    def _tunnel_ended(self, reason: CloseReason, linked: Connected, before: tuple[int, int]) -> CloseReason:
        record = self.record
        linked.release(record.bytes_received - before[0], record.bytes_sent - before[1])
        linked.on_closed()
        return reason

    def failed(self, status: int, detail: str) -> None:
        """Answer in the place of a target; where its answer was begun, cut the client off, so that it is not taken for whole."""
        exchange, answerer = self._exchange, self._answerer
        if exchange is None or exchange.is_over:
            return
        exchange.detail = detail
        self._answerer = None
        exchange.is_over = True
        if answerer is not None:
            answerer.cancel()
        if self._reply is _STARTED:
            self._over()
            self.record.explain(CloseReason.UPSTREAM_RESET, detail)
            self._reason = CloseReason.UPSTREAM_RESET
            self._is_closing = True
            cut_output(self._transport)
            return
        exchange.status = status
        self._send(http_response.build(status, to_head=exchange.head.method == "HEAD"))
        self._over()
        self._close()

    def _replied(self) -> None:
        """The answer was sent. Go on with the next request, where the connection persists."""
        self._over()
        self._answerer = self._writer = self._reader = None
        self._reply = following(REPLY, self._reply, _ENDED)
        if self._is_last or self._is_ended or self._request is not _RECEIVED:
            self._close()
            return
        self._reply = following(REPLY, self._reply, _NEXT)
        self._request = following(REQUEST, self._request, _NEXT)
        self._wait(self._plan.keep_alive_timeout)
        self._services.idle.add(self)
        self.resume_request()
        self._advance()

    def _over(self) -> None:
        """The exchange has ended: count it, and log it."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.is_over = True
            self._services.finished(exchange)

    def _persists(self, head: RequestHead) -> bool:
        """Whether the client may send another request on this connection (RFC 9112, 9.3)."""
        asked = tokens(head.fields.noted("connection"))
        if self._services.draining() or self._is_ended or "close" in asked:
            return False
        return head.version != (1, 0) or "keep-alive" in asked

    def _send(self, data: bytes) -> None:
        if self._exchange is not None:
            self._exchange.response_bytes += len(data)
        self._transport.write(data)
        self.record.moved_out(len(data), self._services.clock())

    # -- back-pressure -----------------------------------------------------------------------------------

    def pause_request(self) -> None:
        """Read no more of the client."""
        self._is_paused = True
        self._transport.pauseProducing()

    def resume_request(self) -> None:
        """Read on."""
        self._is_paused = False
        self._transport.resumeProducing()

    def pauseProducing(self) -> None:
        """The client does not read."""
        if self._answerer is not None:
            self._answerer.pause_answer()

    def resumeProducing(self) -> None:
        """It reads again."""
        if self._answerer is not None:
            self._answerer.resume_answer()

    def stopProducing(self) -> None:
        """The connection is lost, which :meth:`lost` handles."""

    # -- ends --------------------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        """Set the deadline of what is waited for now; 0 is none."""
        due, self._due = self._due, None
        if due is not None:
            due.cancel()
        if seconds:
            self._due = self._services.deadlines.call_later(seconds, self._expired)

    def _expired(self) -> None:
        if self._is_closing:
            self._transport.abortConnection()
        elif self._request is _HEAD and not self._held:
            self._close()
        elif self._request is _RECEIVED:
            self.failed(504, "no answer in time (responseTimeout)")
        elif self._exchange is not None:
            self.failed(408, "the request was not complete in time (requestTimeout)")
        else:
            self._send(http_response.build(408))
            self._close()

    def close_idle(self) -> None:
        """Close a connection that waits for another request: the proxy stops."""
        self._close()

    def _close(self) -> None:
        """End our direction, and read what the client still sends for a moment: a RST could overtake the answer."""
        self._is_closing = True
        self._services.idle.discard(self)
        self._held = b""
        if self._is_ended:
            self._wait(0)
            self._transport.unregisterProducer()
            self._transport.loseConnection()
            return
        end_output(self._transport)
        self._wait(LINGER)
        self._transport.resumeProducing()

    def input_ended(self) -> None:
        """The client has ended its direction. An answer in progress is still delivered."""
        self._is_ended = True
        if self._is_closing:
            self._transport.loseConnection()
        elif self._request is _BODY:
            self._reason = CloseReason.CLIENT_RESET
            self._transport.abortConnection()
        elif self._request is _HEAD:
            self._close()

    def output_ended(self) -> None:
        """Our direction has ended."""

    def lost(self, why: Failure) -> None:
        """The connection is lost: no answer is wanted any more."""
        self._wait(0)
        self._is_closing = True
        self._services.idle.discard(self)
        answerer, self._answerer = self._answerer, None
        if self._exchange is not None:
            self._exchange.status, self._exchange.detail = CLIENT_LEFT, "the client has left"
            self._over()
        if answerer is not None:
            answerer.cancel()
        self.side.receiver = None
        if not self.done.called:
            in_order = why.check(ConnectionDone) is not None and answerer is None
            self.done.callback(self._reason or (CloseReason.NORMAL if in_order else CloseReason.CLIENT_RESET))

    def abort(self, reason: CloseReason) -> None:
        """Reset the connection now. The first reason counts."""
        if not self.done.called:
            self._reason = self._reason or reason
            self._transport.abortConnection()

    def gone(self) -> tuple[bool, bool]:
        """Whether the client's connection no longer exists. That of a target is the exchange's, and never gone."""
        return transport_gone(self._transport), False

    def acknowledged(self) -> int | None:
        """How many bytes the client has acknowledged so far; ``None`` if nothing waits to be acknowledged."""
        return acknowledged_by(self._transport)


def _refusal_of(head: RequestHead) -> int:
    """The status of a request that is refused whatever its route; 0 for none."""
    if head.method == "CONNECT":
        return 405
    expected = head.fields.noted("expect")
    return 417 if expected and [each.lower() for each in expected] != ["100-continue"] else 0


def _framing_lines(head: AnswerHead, framing: Framing, *, chunked: bool) -> bytes:
    """The fields that frame the body for the client."""
    if chunked:
        return b"Transfer-Encoding: chunked\r\n"
    if framing.body is Body.LENGTH:
        return b"Content-Length: %d\r\n" % framing.length
    if framing.body is Body.UNTIL_CLOSE or framing.body is Body.CHUNKED or head.status == _BODILESS[0]:
        return b""
    announced = head.fields.noted("content-length")  # to HEAD, or of 304: that of the body there would be
    if announced:
        return b"Content-Length: %d\r\n" % int(announced[0])
    return b"" if head.status in _BODILESS else b"Content-Length: 0\r\n"
