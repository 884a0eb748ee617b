"""HTTP/1.1 to a client: requests in, one after the other, and each answer written before the next request is looked at.

So answers are in order, and a client that sends a thousand requests at once makes the proxy hold a bounded part of them: what
is received meanwhile is held, and above :data:`HELD` not read.

An answer that is complete before its request ends the connection: whether the client sends the rest of the body is not
known, and what it sends must not be taken for a request.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IPushProducer
from zope.interface import classImplements

from smartproxy.flow.side import appended
from smartproxy.http import refusals
from smartproxy.http.body import EndedBody
from smartproxy.http.client_connection import ClientConnection
from smartproxy.http.errors import NO_FIELDS, status_of_malformed
from smartproxy.http.forwarded import passed_trailers
from smartproxy.http.reply import ClientReply
from smartproxy.http.request_body import RequestBody
from smartproxy.http.states import REQUEST, MessageEvent, RequestState
from smartproxy.http.terms import request_terms
from smartproxy.model.exchange import SWITCHED, Exchange
from smartproxy.model.outcome import CloseReason
from smartproxy.model.plan import HttpPlan
from smartproxy.net.half_close import cut_output
from smartproxy.wire.http_framing import Body
from smartproxy.wire.http_head import HeadParser
from smartproxy.wire.verdict import Malformed, NeedMore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from smartproxy.flow.side import Side
    from smartproxy.http.interfaces import TunnelEnd
    from smartproxy.http.services import HttpServices
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import TargetPlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.upstream.connected import Connected
    from smartproxy.wire.http_answer import AnswerHead
    from smartproxy.wire.http_framing import Framing

#: Bytes behind the request in progress that are held before reading pauses.
HELD = 64 * 1024
#: Requests of one client that are answered in one event loop iteration, if none has to wait: one to two milliseconds.
AT_ONCE = 32

#: The terms of a route that has none of its own: it blocks.
_USUAL = HttpPlan()

_HEAD, _BODY, _COMPLETE = RequestState
_BEGUN, _ENDED, _NEXT = MessageEvent


class HttpDownstream(ClientConnection):
    """One connection of a client.

    :param first: the facts and the route that the connection was admitted to.
    :param plan: the terms of that route; those of a request are its own route's.
    :param header: the PROXY header for a target.
    """

    __slots__ = ("_header", "_is_advancing", "_parser")

    def __init__(
        self,
        record: ConnectionRecord,
        side: Side,
        first: Routed,
        plan: HttpPlan,
        header: Callable[[Routed, TargetPlan], bytes],
        services: HttpServices,
    ) -> None:
        super().__init__(record, side, first, plan, services)
        self._header = header
        self._parser = self._made_parser()
        self._is_advancing = False

    def _made_parser(self) -> HeadParser:
        services, known = self._services, self._first.detected.request
        return HeadParser(services.block_of, services.line_of, services.head_limits, known)

    # -- requests --------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what the client sends; while an answer is awaited, hold it."""
        if self.is_closing:
            return
        is_begin = self._request is _HEAD and not self._held
        self._held = appended(self._held, data) if self._held else data
        self._advance()
        if not self._held or self.is_closing:
            return
        if self._request is _COMPLETE or self._is_full or self._is_postponed:
            self.hold(is_much=self._is_postponed or len(self._held) > HELD)
        elif is_begin and self._request is _HEAD:
            self.wait(self._plan.request_timeout)

    def _advance(self) -> None:
        """Go as far as what is held allows. An exchange may end within it, and the next one begins in the same loop."""
        if self._is_advancing or self._is_postponed:
            return
        self._is_advancing = True
        room = AT_ONCE
        while self._held and not self.is_closing:
            if self._request is _HEAD:
                if not room:
                    self._postpone()
                    break
                # A client that reads no answers gets no further ones: each of its requests may ask for any number of bytes.
                if self._is_full or not self._read_head():
                    break
                room -= 1
            elif self._request is _BODY:
                self._read_body()
            else:
                break
        self._is_advancing = False
        if self.is_ended and not self.is_closing:
            self._nothing_follows()
        if len(self._held) <= HELD and not self._is_postponed:
            self.hold(is_much=False)

    def _postpone(self) -> None:
        """Let others have their turn: a client may send thousands of requests that are answered, or refused, at once."""
        self._is_postponed = True
        self._services.in_turn(self._next_turn)

    def _next_turn(self) -> None:
        self._is_postponed = False
        self._go_on()

    def _read_head(self) -> bool:
        """Read a head. Returns whether it was complete."""
        services = self._services
        if services.in_force.served_by is not services.served_by:
            self._follow_reload()
        verdict = self._parser(self._held)
        if isinstance(verdict, NeedMore):
            return False
        if isinstance(verdict, Malformed):
            self._refuse_head(status_of_malformed(verdict), verdict.why)
            return True
        head, consumed = verdict
        self._held = bytes(self._held[consumed:])
        now = self.clock()
        terms = request_terms(head)
        framing = terms.framing
        if isinstance(framing, Malformed):
            self._share.moved_in(consumed, now)
            exchange = refusals.unread_exchange(self.record, head, consumed, self._first, now)
            self._refuse_unread(exchange, status_of_malformed(framing), framing.why)
        else:
            self._begin(Exchange(self.record, head, terms, framing, self._first, now, consumed), framing, now)
        return True

    def _follow_reload(self) -> None:
        """Go on with the routes that are in force; where that cannot be, the next answer is the last one."""
        now = self._services.carried_over(self._first)
        self._is_outdated = now is None
        if now is not None:
            self._first, self._plan, self._services = now
            self._parser = self._made_parser()

    def _refuse_head(self, status: int, detail: str) -> None:
        """Answer a head that is malformed, or not complete in time."""
        held, self._held, now = bytes(self._held), b"", self.clock()
        self._share.moved_in(len(held), now)
        exchange = refusals.malformed_exchange(self.record, held, self._first, now)
        self._refuse_unread(exchange, status, detail)

    def _refuse_unread(self, exchange: Exchange, status: int, detail: str) -> None:
        """Answer a request of which it is not known where it ends: nor where the next one begins."""
        self._exchange = exchange
        self._reply = ClientReply(exchange, self._send, detail.partition(" (")[0])
        self.failed(status, detail)

    def _begin(self, exchange: Exchange, framing: Framing, now: float) -> None:
        self._exchange = exchange
        exchange.is_trusted, exchange.header = self._services.trusted, self._header
        self._reply = ClientReply(exchange, self._send)
        self._request = REQUEST[self._request][_BEGUN]
        is_whole = framing.body is Body.NONE
        if is_whole:
            self._request = REQUEST[self._request][_ENDED]
        refused = refusals.routed_or_refused(exchange, self._services)
        if self._first.detected.request is not None:
            self._first = self._first.without_request()
        record, name = self.record, exchange.routed.route.name
        self._share = record if name == record.route else self._services.share(record, name)
        self._share.moved_in(exchange.request_bytes, now)
        if refused is not None:
            self.failed(*refused)
            return
        self._plan = exchange.routed.route.http or _USUAL
        answerer = self._answerer = self._services.answerer(exchange, self)
        if is_whole:
            self._deadline.move(self._plan.answer_timeout, now)
            answerer.begin()
            if self._answerer is answerer:
                answerer.request_end(b"")
            if self.is_ended and self._answerer is answerer:
                answerer.client_ended()
            return
        self._body = RequestBody(framing, self._plan, self.pauses, self.failed)
        self._deadline.move(self._plan.request_timeout, now)
        answerer.begin()

    def _read_body(self) -> None:
        body = self._body
        assert body is not None  # noqa: S101 - the head was read
        pieces: list[bytes | memoryview] = []
        held, self._held = bytes(self._held), b""
        verdict = body.feed(held, pieces, self._services.deadlines)
        consumed = verdict.consumed if isinstance(verdict, EndedBody) else len(held)
        self._held = held[consumed:]
        self._share.moved_in(consumed, self.clock())
        if self._exchange is not None:
            self._exchange.request_bytes += consumed
        if isinstance(verdict, refusals.RequestRefusal):
            self.failed(*verdict)
            return
        self.wait_for_body()
        if pieces and self._answerer is not None:
            self._answerer.request_data(pieces)
        if isinstance(verdict, EndedBody):
            if self._request is _BODY:
                self._request_ended(passed_trailers(verdict.trailers))
        elif self._body is not None and self._body.may_move and self._answerer is not None:
            sink, left = self._answerer.body_sink(), self._body.left
            if sink is not None:
                self._body.moving = self._services.splicer.start(
                    self.transport, sink, left, self.request_moved, self._body_ended
                )

    def _body_ended(self, left: int) -> None:
        """The body was moved, but for so many bytes."""
        if self._body is not None:
            self._body.moving, self._body.left = None, left
            if not left and self._request is _BODY:
                self._request_ended(b"")

    def _request_ended(self, trailers: bytes) -> None:
        self._request = REQUEST[self._request][_ENDED]
        exchange, answerer = self._exchange, self._answerer
        if exchange is not None and self._reply is not None and self._reply.is_started:
            self.wait(exchange.routed.route.timeouts.inactivity)
        elif self._reply is not None:
            self.wait(self._plan.answer_timeout)
        if answerer is not None:
            answerer.request_end(trailers)
            if self.is_ended and self._answerer is answerer:
                answerer.client_ended()

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
        now = self.clock()
        exchange.status, exchange.answered_at = head.status, now
        self._deadline.move(exchange.routed.route.timeouts.inactivity, now)
        persists = self._request is _COMPLETE and self.may_follow(exchange, now)
        reply.begin(head, framing, persists=persists)

    def answer_data(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Send a part of the body."""
        if self._reply is not None:
            self._reply.write(pieces)

    def body_sink(self) -> object | None:
        """See :class:`~smartproxy.http.interfaces.AnswerReceiver`."""
        return self.transport if self._reply is not None and self._reply.is_raw else None

    def answer_flush(self) -> None:
        """Send what is not sent yet."""
        if self._reply is not None:
            self._reply.flush()

    def answer_end(self, trailers: bytes) -> None:
        """Send the end, and go on with the next request where the connection persists."""
        reply = self._reply
        assert reply is not None  # noqa: S101 - it was begun
        reply.end(trailers)
        self._answered(reply)

    def _answered(self, reply: ClientReply) -> None:
        """An answer was sent whole."""
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - it was answered
        now = self._over()
        # Whether another request may follow was asked when the answer began, and may have changed: by a drain, for one.
        if reply.is_last or self._request is not _COMPLETE or not self.may_follow(exchange, now):
            self.close()
            return
        self._request = REQUEST[self._request][_NEXT]
        if self._is_paused:
            self.resume_request()
        if self._held:
            self._deadline.move(self._plan.request_timeout, now)
            self._advance()
        else:
            self._deadline.move(self._plan.keep_alive_timeout, now)

    def failed(self, status: int, detail: str, fields: Mapping[str, str] = NO_FIELDS) -> None:
        """Answer in the place of a target; where its answer was begun, cut the client off, so that it is not taken for whole."""
        exchange, reply = self._exchange, self._reply
        if exchange is None or reply is None:
            return
        if reply.is_started:
            reply.flush()
            self._cut(CloseReason.UPSTREAM_RESET, detail)
            cut_output(self.transport)
            return
        self._end_answerer(exchange, detail)
        exchange.status = status
        persists = self._request is _COMPLETE and self.may_follow(exchange, self.clock())
        reply.refuse(status, self._services.error_pages, fields, persists=persists)
        self._answered(reply)

    def _end_answerer(self, exchange: Exchange, detail: str) -> None:
        answerer, self._answerer = self._answerer, None
        exchange.detail, exchange.is_over = detail, True
        if answerer is not None:
            answerer.cancel()

    def _cut(self, reason: CloseReason, detail: str) -> None:
        """End an exchange within its answer, and soon the connection."""
        if self._exchange is not None:
            self._end_answerer(self._exchange, detail)
        self._over()
        self.record.explain(reason, detail)
        self._reason = reason
        self.is_closing = True

    def _over(self) -> float:
        """The exchange has ended: count it, and log it. Returns the time."""
        exchange, self._exchange = self._exchange, None
        self._answerer = self._reply = None
        if self._body is not None:
            self._body.close()
            self._body = None
        now = self.clock()
        if exchange is not None:
            exchange.is_over = True
            self._patience = exchange.routed.route.timeouts.half_close or inf
            self._services.finished(exchange, now)
        self.record.relay = None
        return now

    def switch(self, head: bytes, linked: Connected | TunnelEnd) -> None:
        """Send the 101, and relay what follows. This object has no part in the connection any more."""
        exchange, record = self._exchange, self.record
        assert exchange is not None  # noqa: S101 - it asked for it
        exchange.status, exchange.answered_at = SWITCHED, self.clock()
        self.leave()
        self._send(head)
        self._over()
        self.side.buffered, self._held = self._held, b""
        self._is_holding = False  # it is the relay's to read
        self.side.ended = self.is_ended
        over = self._services.relay(record, self.side, linked, exchange)
        over.hand_on(self.done.happen, self.done.fail)

    def _go_on(self) -> None:
        """Answer what was held while the client did not read, or others had their turn."""
        if self._request is _HEAD and not self.is_closing:
            self._advance()


classImplements(HttpDownstream, IPushProducer)
