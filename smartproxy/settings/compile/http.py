"""Compiles the terms on which a route speaks HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.flow.signatures import serves
from smartproxy.model.plan import HttpPlan
from smartproxy.settings.compile.http_rules import header_rules, rewrite_plan
from smartproxy.settings.tables import units
from smartproxy.settings.tables.base import inherited
from smartproxy.wire.http_head import HeadLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.settings.compile.error_pages import ErrorPages
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Action, Route


#: Keys of an action that have a meaning for HTTP only.
HTTP_KEYS = frozenset({"error_pages", "http", "forwarded_headers", "headers", "rewrite"})


def speaks_http(action: Action) -> bool:
    """Whether an action says that HTTP is parsed: by ``protocol``, or by a key that has a meaning for HTTP only."""
    if action.type != "forward" or action.protocol == "tcp":
        return False
    return action.protocol == "http" or not HTTP_KEYS.isdisjoint(action.model_fields_set)


def http_plan(
    route: Route, settings: Configuration, pages: ErrorPages, answers: Callable[..., object] | None
) -> HttpPlan | None:
    """The terms of ``route``; ``None`` where bytes are forwarded as they are, and where connections are served or blocked.

    :param answers: what answers its requests in this process.
    """
    if not speaks_http(route.action) and (answers is None or route.action.type == "block"):
        return None
    return _terms(route, settings, pages)


def chosen_http_plan(
    route: Route, settings: Configuration, pages: ErrorPages, handler: object
) -> HttpPlan | None:
    """The terms for a handler of requests that ``handler`` may choose; ``None`` where it chooses none, but serves itself."""
    return None if handler is None or serves(handler) else _terms(route, settings, pages)


def _terms(route: Route, settings: Configuration, pages: ErrorPages) -> HttpPlan:
    levels = (route.action.http, settings.defaults.http)
    pools = [level.pool for level in levels]
    tunnels = [level.websocket for level in levels]
    return HttpPlan(
        request_timeout=units.seconds(inherited("request_timeout", *levels)),
        keep_alive_timeout=units.seconds(inherited("keep_alive_timeout", *levels)),
        answer_timeout=units.seconds(inherited("response_timeout", *levels)),
        max_body=units.octets(inherited("max_body_size", *levels)),
        remembers=inherited("remember_heads", *levels),
        body_rate=units.octets(inherited("body_minimum_rate", *levels)),
        head=HeadLimits(
            units.octets(inherited("max_header_size", *levels)), inherited("max_headers", *levels)
        ),
        retries=inherited("retries", *levels),
        idle_timeout=units.seconds(inherited("idle_timeout", *pools)),
        most_idle=inherited("max_idle", *pools),
        tunnel_timeout=units.seconds(inherited("idle_timeout", *tunnels)),
        origins=frozenset(origin.lower().rstrip("/") for origin in inherited("origins", *tunnels)),
        forwarded=route.action.forwarded_headers,
        request_rules=header_rules(route, settings, "request"),
        answer_rules=header_rules(route, settings, "response"),
        rewrite=rewrite_plan(route, settings),
        error_pages=pages.of(settings.defaults.error_pages | route.action.error_pages),
    )
