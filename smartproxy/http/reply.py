"""The answer to one request, as it is written to a client of HTTP/1.

Its head is rebuilt, and its body is written in a framing that the client knows: a body of unknown length in chunks, or to a client
of HTTP/1.0 up to the end of the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.http.body import BodyWriter
from smartproxy.http.date_field import date_line, missing_date
from smartproxy.http.errors import error_answer, may_go_on
from smartproxy.http.forwarded import end_to_end
from smartproxy.http.header_rules import answer_trailers, whole_with_answer_rules, with_answer_rules
from smartproxy.http.states import REPLY, MessageEvent, ReplyState
from smartproxy.http.terms import answer_framing_lines, answer_lines, answer_terms, is_of_unknown_length
from smartproxy.http.tracing import via
from smartproxy.wire.http_answer import build_head

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartproxy.model.exchange import Exchange
    from smartproxy.model.plan import ErrorPage
    from smartproxy.wire.http_answer import AnswerHead
    from smartproxy.wire.http_framing import Framing

_AWAITED, _STARTED, _COMPLETE = ReplyState
_BEGUN, _ENDED = MessageEvent.BEGUN, MessageEvent.ENDED


class ClientReply(BodyWriter):
    """Writes one answer.

    :param send: sends bytes to the client.
    :param text: what is wrong with the request, for its client; empty is the phrase of the status.
    :ivar state: what was sent of it.
    :ivar is_last: whether the connection ends with it.
    """

    __slots__ = ("_exchange", "_text", "is_last", "state")

    def __init__(self, exchange: Exchange, send: Callable[[bytes], object], text: str = "") -> None:
        self._exchange = exchange
        self._write = send
        self._unwritten = b""
        self._chunked = False
        self.state = _AWAITED
        self.is_last = False
        self._text = text

    @property
    def is_started(self) -> bool:
        """Whether a part of it was sent, and not all."""
        return self.state is _STARTED

    def informational(self, head: AnswerHead) -> None:
        """Pass an answer of 1xx on, to a client that knows them, before the final one (RFC 9110, 15.2)."""
        if self._exchange.head.version != (1, 0) and self.state is _AWAITED:
            self._write(build_head(head.status, head.reason, end_to_end(head.fields)))

    def begin(self, head: AnswerHead, framing: Framing, *, persists: bool) -> None:
        """Write the head; it is sent with the begin of the body, or by :meth:`flush`.

        :param persists: whether the connection is for further requests.
        """
        self.state = REPLY[self.state][_BEGUN]
        exchange = self._exchange
        request, plan = exchange.head, exchange.routed.route.http
        is_ruled = plan is not None and plan.answer_rules is not None
        is_old = request.version == (1, 0)
        is_open_ended = is_of_unknown_length(framing)
        chunked = self._chunked = is_open_ended and not is_old
        self.is_last = not persists or (is_open_ended and is_old)
        if self.is_last or is_ruled or is_old or request.method == "HEAD" or exchange.target is None:
            self._unwritten = self._head(head, framing, chunked=chunked, is_old=is_old)
        else:
            known = answer_terms(head, to_head=False)
            self._unwritten = known.head if known.is_dated else b"%b%b\r\n" % (known.head[:-2], date_line())

    def _head(self, head: AnswerHead, framing: Framing, *, chunked: bool, is_old: bool) -> bytes:
        """The head where it is not that of most answers: the rules of the route are applied before it is framed."""
        to_head = self._exchange.head.method == "HEAD"
        lines = answer_lines(head)
        if self._exchange.target is not None:
            lines += via(head.version)
        lines += missing_date(lines)
        lines = with_answer_rules(lines, self._exchange)
        lines += answer_framing_lines(head, framing, chunked=chunked, to_head=to_head)
        if self.is_last:
            lines += b"Connection: close\r\n"
        elif is_old:
            lines += b"Connection: keep-alive\r\n"
        return build_head(head.status, head.reason, lines)

    def end(self, trailers: bytes = b"") -> None:
        """Send the end."""
        if self._chunked or self._unwritten:
            super().end(answer_trailers(trailers, self._exchange) if trailers else trailers)
        self.state = REPLY[self.state][_ENDED]

    def refuse(
        self, status: int, pages: Mapping[int, ErrorPage], fields: Mapping[str, str], *, persists: bool
    ) -> None:
        """Answer in the place of a target.

        :param pages: for a request without a route; others have those of their route.
        :param fields: of this answer.
        :param persists: whether the connection is for further requests.
        """
        head, plan = self._exchange.head, self._exchange.routed.route.http
        if self._exchange.is_counted and plan is not None:
            pages = plan.error_pages
        self.is_last = not persists or not may_go_on(status, head.method)
        kept = "keep-alive" if head.version == (1, 0) else ""
        answer = error_answer(
            status, head.fields.values("accept"), pages, fields, text=self._text,
            connection="close" if self.is_last else kept, to_head=head.method == "HEAD",
        )  # fmt: skip
        self._write(whole_with_answer_rules(answer, self._exchange))
