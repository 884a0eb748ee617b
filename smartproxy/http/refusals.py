"""Requests that are refused before a target is asked: the status, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from smartproxy.model.exchange import Exchange
    from smartproxy.model.plan import HttpPlan


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
    return None
