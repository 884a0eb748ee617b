"""The lines of ``smartproxy explain`` about what a route changes in requests and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.http.terms import request_terms
from smartproxy.model.exchange import Exchange
from smartproxy.model.facts import Routed
from smartproxy.settings.compile.http_rules import rules_in_force
from smartproxy.wire.http_framing import Body, Framing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.model.facts import Detected
    from smartproxy.model.plan import RewritePlan, RoutePlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.settings import Settings
    from smartproxy.settings.compile.http_rules import HeaderRule


def http_lines(
    settings: Settings, route: RoutePlan, detected: Detected, record: ConnectionRecord
) -> Iterator[str]:
    """The rules of a route that speaks HTTP, and the new path of the request, if one was given."""
    if route.http is None:
        return
    for kind in ("request", "response"):
        rules = rules_in_force(settings.routes[route.index], settings, kind)
        if rules:
            yield f"{kind} headers:"
            yield from (f"  {_rule(rule)}" for rule in rules)
    if route.http.rewrite is not None:
        yield f"rewrite: {_keys(route.http.rewrite)}"
        if detected.request is not None and route.http.rewrite.target is not None:
            terms, routed = request_terms(detected.request), Routed(detected, route)
            exchange = Exchange(record, detected.request, terms, Framing(Body.NONE), routed, 0.0, 0)
            becomes = route.http.rewrite.target(exchange)
            result = f"becomes {becomes}" if becomes else "is refused with 400: a segment .. in the new path"
            yield f"  {detected.request.target} {result}"


def _rule(rule: HeaderRule) -> str:
    value = "" if rule.value is None else f": {rule.value}"
    return f"{rule.change} {rule.name}{value} ({rule.level})"


def _keys(rewrite: RewritePlan) -> str:
    path = [] if rewrite.path is None else [f"path {rewrite.path}"]
    prefix = [f"stripPrefix {rewrite.strip_prefix}"] if rewrite.strip_prefix else []
    return ", ".join([*path, *prefix, f"host {rewrite.host}"])
