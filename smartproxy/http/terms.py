"""What follows from a head, worked out once and kept with its fields: framing, persistence, what is sent on of it.

Heads are remembered (:mod:`smartproxy.http.memo`), so for most messages all of this is a look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from smartproxy.http.date_field import has_date
from smartproxy.http.forwarded import (
    end_to_end,
    proxy_lines,
    requested_host,
    without_connection,
    without_expect,
)
from smartproxy.http.tracing import MOST_PASSED, is_circling, via
from smartproxy.http.upgrade import asked_protocol, required_lines, upgrade_lines
from smartproxy.model.exchange import RequestTerms
from smartproxy.wire.http_answer import build_head
from smartproxy.wire.http_fields import line, tokens
from smartproxy.wire.http_framing import NO_BODY, Body, answer_framing, request_framing
from smartproxy.wire.verdict import Malformed

if TYPE_CHECKING:
    from smartproxy.wire.http_answer import AnswerHead
    from smartproxy.wire.http_fields import Fields
    from smartproxy.wire.http_framing import Framing
    from smartproxy.wire.http_head import RequestHead

_NO_CONTENT, _NOT_MODIFIED = 204, 304
#: Noted fields of a request that nothing but its route and its log depend on.
_IDLE_NAMES = frozenset({"host", "user-agent", "referer"})
_PLAIN_NAMES, _KEPT_ALIVE = _IDLE_NAMES | {"connection"}, ["keep-alive"]
_CHUNKED_LINE = b"Transfer-Encoding: chunked\r\n"


class AnswerTerms(NamedTuple):
    """What follows from the head of an answer to any request but HEAD.

    :ivar framing: of its body, or why it is refused.
    :ivar persists: whether the target lets the connection be used again.
    :ivar lines: what is sent on: without fields of this connection.
    :ivar head: the whole head of a target's answer for a client of HTTP/1.1 whose connection persists, by a route without rules;
        empty where the framing is refused.
    :ivar is_dated: whether it has ``Date``.
    """

    framing: Framing | Malformed
    persists: bool
    lines: bytes
    head: bytes
    is_dated: bool


def request_terms(head: RequestHead) -> RequestTerms:
    """The terms of a request. Those of HTTP/1.1 are kept with its fields."""
    if head.version != (1, 1):
        terms = _request_terms(head.fields, head.version)
        lines = without_expect(terms.lines)
        if not head.fields.noted("host"):  # only HTTP/1.0 needs none
            lines = line("Host", requested_host(head)) + lines
        return terms._replace(lines=lines)
    known = head.fields.derived
    if known is None:
        known = head.fields.derived = _request_terms(head.fields, (1, 1))
    return known  # type: ignore[no-any-return] # set above, by no one else


def answer_terms(head: AnswerHead, *, to_head: bool) -> AnswerTerms:
    """The terms of an answer. Those of one to any request but HEAD are kept with its fields."""
    if to_head:
        return _answer_terms(head, to_head=True)
    known = head.fields.derived
    if known is None:
        known = head.fields.derived = _answer_terms(head, to_head=False)
    return known  # type: ignore[no-any-return] # likewise


def _request_terms(fields: Fields, version: tuple[int, int]) -> RequestTerms:
    if version == (1, 1) and _is_plain(fields):
        return RequestTerms(NO_BODY, True, (), "", without_connection(fields.block), b"")
    framing = request_framing(fields, version)
    has_body = isinstance(framing, Malformed) or framing.body is not Body.NONE
    upgrade = "" if has_body or version == (1, 0) else asked_protocol(fields)
    # HTTP/1.0 has no Expect (RFC 9110, 10.1.1).
    expects = () if version == (1, 0) else tuple(each.lower() for each in fields.noted("expect"))
    return RequestTerms(
        framing,
        _persists(fields, version),
        expects,
        upgrade,
        end_to_end(fields, of_client=False),
        b"" if isinstance(framing, Malformed) else _request_framing_lines(fields, framing, upgrade),
        _refused(fields, expects),
        bool(fields.noted("traceparent") or fields.noted("x-request-id")),
        proxy_lines(fields),
    )


def _is_plain(fields: Fields) -> bool:
    """Whether a request has no body and asks for nothing, as most of browsers: they send ``Connection: keep-alive`` at most."""
    noted = fields.noted_names()
    return noted <= _IDLE_NAMES or (noted <= _PLAIN_NAMES and fields.noted("connection") == _KEPT_ALIVE)


def _refused(fields: Fields, expects: tuple[str, ...]) -> tuple[int, str] | None:
    if expects and expects != ("100-continue",):
        return 417, "Expect other than 100-continue"
    if is_circling(fields):
        return 508, f"a loop: Via names {MOST_PASSED} proxies like this one"
    return None


def _request_framing_lines(fields: Fields, framing: Framing, upgrade: str) -> bytes:
    lines = b""
    if framing.body is Body.CHUNKED:
        lines += _CHUNKED_LINE
    elif framing.body is Body.LENGTH or fields.noted("content-length"):
        lines += b"Content-Length: %d\r\n" % framing.length
    return lines + upgrade_lines(upgrade) if upgrade else lines


def _answer_terms(head: AnswerHead, *, to_head: bool) -> AnswerTerms:
    framing = answer_framing(head.fields, head.version, head.status, to_head=to_head)
    lines = answer_lines(head)
    if isinstance(framing, Malformed):
        return AnswerTerms(framing, False, lines, b"", is_dated=False)
    persists = framing.body is not Body.UNTIL_CLOSE and _persists(head.fields, head.version)
    framing_lines = answer_framing_lines(
        head, framing, chunked=is_of_unknown_length(framing), to_head=to_head
    )
    framed = lines + via(head.version) + framing_lines
    whole = build_head(head.status, head.reason, framed)
    return AnswerTerms(framing, persists, lines, whole, has_date(lines))


def answer_lines(head: AnswerHead) -> bytes:
    """What is sent on of the head of an answer: without fields of this connection, but for those that a 426 must have."""
    return end_to_end(head.fields) + required_lines(head)


def is_of_unknown_length(framing: Framing) -> bool:
    """Whether the body's length is not announced in its head."""
    return framing.body is Body.CHUNKED or framing.body is Body.UNTIL_CLOSE


def answer_framing_lines(head: AnswerHead, framing: Framing, *, chunked: bool, to_head: bool) -> bytes:
    """The fields that frame the body of an answer for the client.

    :param chunked: whether the body is written in chunks.
    """
    if chunked:
        return _CHUNKED_LINE
    if framing.body is Body.LENGTH:
        return b"Content-Length: %d\r\n" % framing.length
    if framing.body is not Body.NONE or head.status == _NO_CONTENT:
        return b""
    announced = head.fields.noted("content-length")  # to HEAD, or of 304: that of the body there would be
    if announced:
        return b"Content-Length: %d\r\n" % int(announced[0])
    return b"" if to_head or head.status == _NOT_MODIFIED else b"Content-Length: 0\r\n"


def _persists(fields: Fields, version: tuple[int, int]) -> bool:
    """Whether the sender lets the connection be used again (RFC 9112, 9.3)."""
    asked = tokens(fields.noted("connection"))
    return "close" not in asked and (version != (1, 0) or "keep-alive" in asked)
