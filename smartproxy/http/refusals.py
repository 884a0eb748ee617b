"""Requests that are refused before a target is asked: the status, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from smartproxy.http.tracing import MOST_PASSED, is_circling

if TYPE_CHECKING:
    from smartproxy.model.exchange import Exchange
    from smartproxy.model.plan import HttpPlan, RewritePlan


class RequestRefusal(NamedTuple):
    """Why a request is refused. ``detail`` is for the log."""

    status: int
    detail: str


def by_head(exchange: Exchange) -> RequestRefusal | None:
    """What is refused whatever the route is."""
    head = exchange.head
    if head.method == "CONNECT":
        # A tunnel to a place of the client's choice; and where a target answers it, the connection is no HTTP any more.
        return RequestRefusal(405, "CONNECT")
    expected = exchange.terms.expects
    if expected and expected != ("100-continue",):
        return RequestRefusal(417, "Expect other than 100-continue")
    if is_circling(head.fields):
        return RequestRefusal(508, f"a loop: Via names {MOST_PASSED} proxies like this one")
    return None


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
