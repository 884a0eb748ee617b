"""HTTP/1.1 to a client: requests in, one after the other, and each answer written before the next request is looked at.

So answers are in order, and a client that sends a thousand requests at once makes the proxy hold a bounded part of them: what
is received meanwhile is held, and above :data:`HELD` not read.

An answer that is complete before its request ends the connection: whether the client sends the rest of the body is not
known, and what it sends must not be taken for a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from smartproxy.errors import Refused
from smartproxy.flow.states import following
from smartproxy.http import refusals
from smartproxy.http.body import BodyReader, EndedBody
from smartproxy.http.errors import answer_to_malformed, status_of
from smartproxy.http.forwarded import passed_trailers
from smartproxy.http.reply import ClientReply, may_persist
from smartproxy.http.states import REQUEST, MessageEvent, RequestState
from smartproxy.model.exchange import CLIENT_LEFT, Exchange
from smartproxy.model.outcome import CloseReason
from smartproxy.net.half_close import LINGER, cut_output, end_output
from smartproxy.serving.served import Served
from smartproxy.wire import http_response
from smartproxy.wire.http_framing import Body, request_framing
from smartproxy.wire.http_head import HeadParser, RequestHead
from smartproxy.wire.verdict import Malformed, NeedMore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from smartproxy.flow.deadline import Deadline
    from smartproxy.flow.side import Side
    from smartproxy.http.interfaces import Answerer
    from smartproxy.http.services import HttpServices
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import HttpPlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.upstream.connected import Connected
    from smartproxy.wire.http_answer import AnswerHead
    from smartproxy.wire.http_framing import Framing

#: Bytes behind the request in progress that are held before reading pauses.
HELD = 64 * 1024

_HEAD, _BODY, _COMPLETE = RequestState
_BEGUN, _ENDED, _NEXT = MessageEvent


@implementer(IPushProducer)
class HttpDownstream(Served):
    """One connection of a client.

    :param first: the facts and the route that the connection was admitted to.
    :param plan: the terms of that route; those of a request are its own route's.
    """

    def __init__(
        self, record: ConnectionRecord, side: Side, first: Routed, plan: HttpPlan, services: HttpServices
    ) -> None:
        super().__init__(record, side, services.clock)
        self._first = first
        self._plan = plan
        self._services = services
        self._held = b""
        self._parser = HeadParser()
        self._request = _HEAD
        self._reader: BodyReader | None = None
        self._body = 0  # bytes of the body in progress
        self._exchange: Exchange | None = None
        self._answerer: Answerer | None = None
        self._reply: ClientReply | None = None
        self._due: Deadline | None = None
        self._is_closing = False
        self._is_ended = False  # by the client's FIN
        self._is_advancing = False
        self._is_paused = False

    def start(self) -> Deferred[CloseReason]:
        """Start, with the bytes that were received already. Returns :attr:`done`."""
        held, ended = self.side.consume(), self.side.ended
        self.side.attach(self)
        self.transport.registerProducer(self, True)
        self._wait(self._plan.request_timeout)
        if held:
            self.data_received(held)
        if ended:
            self.input_ended()
        elif not self._is_paused:
            self.transport.resumeProducing()
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
        if self._request is _COMPLETE and len(self._held) > HELD:
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
        self._held = self._held[verdict.consumed :]
        self.record.moved_in(verdict.consumed, self.clock())
        head = verdict.value
        framing = request_framing(head.fields, head.version)
        if isinstance(framing, Malformed):
            self._refuse_head(framing)
        else:
            self._begin(head, framing, verdict.consumed)
        return True

    def _refuse_head(self, why: Malformed) -> None:
        """Answer a head, or a framing, that is malformed. Where the next request begins is not known any more."""
        self._send(answer_to_malformed(why))
        self._close()

    def _begin(self, head: RequestHead, framing: Framing, size: int) -> None:
        exchange = Exchange(self.record, head, framing, self._first, self.clock())
        exchange.request_bytes = size
        self._exchange, self._reply = exchange, ClientReply(exchange, self._send)
        self._request = following(REQUEST, self._request, _BEGUN)
        refused = self._refusal(exchange)
        if refused is not None:
            self.failed(*refused)
            return
        self._reader, self._body = BodyReader(framing), 0
        self._wait(self._plan.request_timeout)
        answerer = self._answerer = self._services.answerer(exchange, self)
        answerer.begin()
        if framing.body is Body.NONE and self._exchange is exchange:
            self._request_ended(b"")

    def _refusal(self, exchange: Exchange) -> refusals.RequestRefusal | None:
        """Give the exchange its route, or find out why it is refused."""
        refused = refusals.by_head(exchange)
        if refused is not None:
            return refused
        if self._services.draining() and not self.record.exchanges:
            return refusals.RequestRefusal(503, "the proxy is draining")
        try:
            exchange.routed = self._services.route(self._first, exchange.head)
        except Refused as why:
            return refusals.RequestRefusal(status_of(why), why.detail)
        self._services.begun(exchange)
        self._plan = exchange.routed.route.http or self._plan
        return refusals.by_terms(exchange, self._plan)

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
        self.record.moved_in(consumed, self.clock())
        if self._exchange is not None:
            self._exchange.request_bytes += consumed
        self._body += sum(map(len, pieces))
        if self._plan.max_body and self._body > self._plan.max_body:
            self.failed(413, "a body over http.maxBodySize")
            return
        self._wait(self._plan.request_timeout)
        if pieces and self._answerer is not None:
            self._answerer.request_data(pieces)
        if isinstance(verdict, EndedBody) and self._request is _BODY:
            self._request_ended(passed_trailers(verdict.trailers))

    def _request_ended(self, trailers: bytes) -> None:
        self._request = following(REQUEST, self._request, _ENDED)
        if self._reply is not None and not self._reply.is_started:
            self._wait(self._plan.answer_timeout)
        if self._answerer is not None:
            self._answerer.request_end(trailers)

    # -- answers: see AnswerReceiver -------------------------------------------------------------------

    def informational(self, head: AnswerHead) -> None:
        """Pass it on."""
        if self._reply is not None:
            self._reply.informational(head)

    def answer(self, head: AnswerHead, framing: Framing) -> None:
        """Begin the answer."""
        exchange, reply = self._exchange, self._reply
        assert exchange is not None  # noqa: S101 - it is answered
        assert reply is not None  # noqa: S101 - likewise
        exchange.status, exchange.answered_at = head.status, self.clock()
        self._wait(0)
        ends = self._is_ended or self._request is not _COMPLETE or self._services.draining()
        lifetime = exchange.routed.route.timeouts.max_lifetime
        ends = ends or (0 < lifetime <= exchange.answered_at - self.record.opened_at)
        reply.begin(head, framing, persists=not ends and may_persist(exchange))

    def answer_data(self, pieces: Sequence[memoryview]) -> None:
        """Send a part of the body."""
        if self._reply is not None:
            self._reply.data(pieces)

    def answer_flush(self) -> None:
        """Send what is not sent yet."""
        if self._reply is not None:
            self._reply.flush()

    def answer_end(self, trailers: bytes) -> None:
        """Send the end, and go on with the next request where the connection persists."""
        reply = self._reply
        assert reply is not None  # noqa: S101 - it was begun
        reply.end(trailers)
        self._over()
        if reply.is_last or self._is_ended or self._request is not _COMPLETE:
            self._close()
            return
        self._request = following(REQUEST, self._request, _NEXT)
        self._wait(self._plan.keep_alive_timeout)
        self._services.idle.add(self)
        self.resume_request()
        if self._held:
            self._services.idle.discard(self)
            self._wait(self._plan.request_timeout)
            self._advance()

    def failed(self, status: int, detail: str) -> None:
        """Answer in the place of a target; where its answer was begun, cut the client off, so that it is not taken for whole."""
        exchange, answerer, reply = self._exchange, self._answerer, self._reply
        if exchange is None or reply is None:
            return
        exchange.detail, exchange.is_over = detail, True
        self._answerer = None
        if answerer is not None:
            answerer.cancel()
        if reply.is_started:
            reply.flush()
            self._over()
            self.record.explain(CloseReason.UPSTREAM_RESET, detail)
            self._reason = CloseReason.UPSTREAM_RESET
            self._is_closing = True
            cut_output(self.transport)
            return
        exchange.status = status
        reply.refuse(status)
        self._over()
        self._close()

    def _over(self) -> None:
        """The exchange has ended: count it, and log it."""
        exchange, self._exchange = self._exchange, None
        self._answerer = self._reply = self._reader = None
        if exchange is not None:
            exchange.is_over = True
            self._services.finished(exchange)

    def _send(self, data: bytes) -> None:
        if self._exchange is not None:
            self._exchange.response_bytes += len(data)
        self.transport.write(data)
        self.record.moved_out(len(data), self.clock())

    def switch(self, head: bytes, linked: Connected) -> None:
        """Send the 101, and relay what follows. This object has no part in the connection any more."""
        exchange, record = self._exchange, self.record
        assert exchange is not None  # noqa: S101 - it asked for it
        exchange.status, exchange.answered_at = 101, self.clock()
        self._wait(0)
        self._send(head)
        self._over()
        self.side.buffered, self._held = self._held, b""
        self.side.ended = self._is_ended
        self._services.relay(record, self.side, linked, exchange.routed).chainDeferred(self.done)

    # -- back-pressure -----------------------------------------------------------------------------------

    def pause_request(self) -> None:
        """Read no more of the client."""
        self._is_paused = True
        self.transport.pauseProducing()

    def resume_request(self) -> None:
        """Read on."""
        self._is_paused = False
        self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        """The client does not read."""
        if self._answerer is not None:
            self._answerer.pause_answer()

    def resumeProducing(self) -> None:
        """It reads again."""
        if self._answerer is not None:
            self._answerer.resume_answer()

    def stopProducing(self) -> None:
        """The connection is lost, which :meth:`closed` handles."""

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
            self.transport.abortConnection()
        elif self._request is _HEAD and not self._held:
            self._close()
        elif self._request is _COMPLETE:
            self.failed(504, "no answer in time (http.responseTimeout)")
        elif self._exchange is not None:
            self.failed(408, "the request was not complete in time (http.requestTimeout)")
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
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            return
        end_output(self.transport)
        self._wait(LINGER)
        self.transport.resumeProducing()

    def input_ended(self) -> None:
        """The client has ended its direction. An answer in progress is still delivered."""
        self._is_ended = True
        if self._is_closing:
            self.transport.loseConnection()
        elif self._request is _BODY:
            self._reason = CloseReason.CLIENT_RESET
            self.transport.abortConnection()
        elif self._request is _HEAD:
            self._close()

    def closed(self, why: Failure) -> None:
        """The connection is lost: no answer is wanted any more."""
        self._wait(0)
        self._is_closing = True
        self._services.idle.discard(self)
        exchange, answerer = self._exchange, self._answerer
        if exchange is not None:
            exchange.status, exchange.detail = CLIENT_LEFT, "the client has left"
            self._reason = self._reason or CloseReason.CLIENT_RESET
            self._over()
        if answerer is not None:
            answerer.cancel()
