"""Requests that are refused before a target is asked: the status, and why; and those whose head could not be read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.errors import Refused
from smartproxy.http.errors import status_of
from smartproxy.model.exchange import Exchange, RequestTerms
from smartproxy.wire.http_fields import TCHAR
from smartproxy.wire.http_framing import NO_BODY
from smartproxy.wire.http_head import HEAD_TOO_LONG, LINE_TOO_LONG, TOO_MANY_HEADERS, RequestHead

if TYPE_CHECKING:
    from smartproxy.http.services import HttpServices
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import HttpPlan, RewritePlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.wire.http_head import HeadLimits

#: Method and path of a request line, as far as the log has them. Nothing else of a head that was refused is used.
_LINE: Final = re.compile(rb"(%b{1,32}) ([!->@-~]{0,512})" % TCHAR)
#: Bytes of a head with nothing but a request line beside its method and target: two blanks, the version, CRLF twice.
_LINE_REST: Final = len("  HTTP/1.1\r\n\r\n")

_NO_TERMS: Final = RequestTerms(NO_BODY, False, (), "", b"", b"")


class RequestRefusal(NamedTuple):
    """Why a request is refused. ``detail`` is for the log."""

    status: int
    detail: str


def routed_or_refused(exchange: Exchange, services: HttpServices) -> RequestRefusal | None:
    """Give the exchange its route, or find out why it is refused."""
    refused = by_request(exchange.head, exchange.terms)
    if refused is not None:
        return refused
    if services.draining() and not exchange.record.exchanges:
        return RequestRefusal(503, "the proxy is draining")
    first = exchange.routed
    try:
        exchange.routed = services.route(first, exchange.head)
        services.begun(exchange)
        services.check(exchange.routed, first)
    except Refused as why:
        return RequestRefusal(status_of(why), why.detail)
    plan = exchange.routed.route.http
    if plan is None:
        return None
    if plan.head != services.head_limits:
        refused = by_limits(exchange.head, exchange.request_bytes, plan.head)
    return refused or by_terms(exchange, plan)


def by_request(head: RequestHead, terms: RequestTerms) -> RequestRefusal | None:
    """What is refused whatever the route is."""
    if head.method == "CONNECT":
        # A tunnel to a place of the client's choice; and where a target answers it, the connection is no HTTP any more.
        return RequestRefusal(405, "CONNECT")
    return None if terms.refused is None else RequestRefusal(*terms.refused)


def by_limits(head: RequestHead, size: int, limits: HeadLimits) -> RequestRefusal | None:
    """What the limits of the route refuse, where those that the head was parsed by are wider.

    :param size: bytes of the head.
    """
    if len(head.target) + len(head.method) > limits.size - _LINE_REST:
        return RequestRefusal(414, LINE_TOO_LONG.why)
    if size > limits.size:
        return RequestRefusal(431, HEAD_TOO_LONG.why)
    return RequestRefusal(431, TOO_MANY_HEADERS.why) if len(head.fields) > limits.fields else None


def by_terms(exchange: Exchange, plan: HttpPlan) -> RequestRefusal | None:
    """What the route's own terms refuse."""
    length = exchange.framing.length
    if plan.max_body and length > plan.max_body:
        return RequestRefusal(413, f"a body of {length} bytes (http.maxBodySize)")
    if plan.origins and exchange.terms.upgrade:
        origin = "".join(exchange.head.fields.values("origin")).lower()
        if origin not in plan.origins:
            return RequestRefusal(403, "Origin is not one of http.websocket.origins")
    return None if plan.rewrite is None else _by_rewrite(exchange, plan.rewrite)


def _by_rewrite(exchange: Exchange, rewrite: RewritePlan) -> RequestRefusal | None:
    """Find the target that is sent on, unless it is refused."""
    if rewrite.target is not None:
        exchange.rewritten = rewrite.target(exchange)
        if not exchange.rewritten:
            return RequestRefusal(400, "a segment .. in the path of a route that rewrites it")
    return None


def unread_exchange(
    record: ConnectionRecord, head: RequestHead, size: int, first: Routed, now: float
) -> Exchange:
    """The exchange of a request of which it is not known where it ends, so that it is counted and logged."""
    return Exchange(record, head, _NO_TERMS, NO_BODY, first, now, size)


def malformed_exchange(record: ConnectionRecord, received: bytes, first: Routed, now: float) -> Exchange:
    """The same where not even its head could be read: of that there are ``received`` bytes."""
    return unread_exchange(record, malformed_head(received), len(received), first, now)


def malformed_head(received: bytes) -> RequestHead:
    """What counters and logs have of a head that is malformed, too large, or not complete in time."""
    match = _LINE.match(received)
    method, path = ("", "") if match is None else (match[1].decode("ascii"), match[2].decode("ascii"))
    return RequestHead(method, path, path, None)
