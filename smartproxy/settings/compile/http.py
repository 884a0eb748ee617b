"""Compiles the terms on which a route speaks HTTP.

With ``protocol: auto`` it does so where its action uses HTTP. It also does where the choice between the routes of a port
depends on requests, for connections that begin with one: a connection may be kept, and each of its requests has to be
given its own route, with the lists of that.

Names decide between routes for each request, too, where one of them speaks HTTP in any case, blocks, or has address lists of its own:
a kept connection may ask for the name of another one. Where none does, the first name decides for the connection, as SNI does.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Final

from smartproxy.flow.signatures import serves
from smartproxy.model.plan import HttpPlan
from smartproxy.routing.origins import normalise_origin
from smartproxy.settings.compile.answers import may_answer
from smartproxy.settings.compile.handlers import answers_by_handler
from smartproxy.settings.compile.http_rules import header_rules, rewrite_plan
from smartproxy.settings.tables import units
from smartproxy.settings.tables.base import inherited
from smartproxy.wire.http_head import HeadLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from smartproxy.settings.compile.error_pages import ErrorPages
    from smartproxy.settings.compile.handlers import Handlers
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Action, Route, Security


#: Port numbers, with 0.
_ALL_PORTS: Final = 65536

#: Keys of an action that have a meaning for HTTP only.
HTTP_KEYS = frozenset({"error_pages", "http", "forwarded_headers", "headers", "rewrite"})

_LISTS: Final = ("ip_allow_list", "ip_block_list")


def speaks_http(action: Action) -> bool:
    """Whether an action says that HTTP is parsed: by ``protocol``, or by a key that has a meaning for HTTP only."""
    if action.type != "forward" or action.protocol == "tcp":
        return False
    return action.protocol == "http" or not HTTP_KEYS.isdisjoint(action.model_fields_set)


def ports_by_request(settings: Configuration, handlers: Handlers) -> bytes:
    """The ports at which a request decides which of several routes it has: by port, 1 where it does. Empty where there are none."""
    routes = [route for route in settings.routes if route.enabled]
    named = _ports_of(route for route in routes if route.match.domains)
    shared = settings.defaults.security
    apart = (route for route in routes if _has_own_lists(route, shared) or _speaks(route.action, handlers))
    found = _ports_of(filter(asks, routes)) | (named & _ports_of(apart))
    return found.to_bytes(_ALL_PORTS) if found else b""


def _ports_of(routes: Iterable[Route]) -> int:
    """The ports of ``routes`` as a number with a byte for each. Thousands may have ranges of thousands: none is looked at by itself."""
    found = bytearray(_ALL_PORTS)
    for ports in chain.from_iterable(map(_spans, routes)):
        found[ports.start : ports.stop] = b"\1" * len(ports)
    return int.from_bytes(found)


def asks(route: Route) -> bool:
    """Whether the head of a request decides if it is for ``route``, whatever other routes there are."""
    match = route.match
    return match.path is not None or bool(match.methods or match.headers or match.query)


def _has_own_lists(route: Route, shared: Security) -> bool:
    """Whether other clients are admitted to ``route`` than to routes with the lists of ``shared``."""
    return any(inherited(name, route.security, shared) != getattr(shared, name) for name in _LISTS)


def _speaks(action: Action, handlers: Handlers) -> bool:
    """Whether an action answers requests, or keeps connections for further ones, or refuses all."""
    if action.type == "block":
        return True
    if action.type != "handler" or action.handler is None:
        return speaks_http(action) or may_answer(action)
    try:
        return answers_by_handler(action, handlers) is not None or not serves(
            handlers.resolve(action.handler)
        )
    except ValueError:
        return False  # reported with the handler


def _spans(route: Route) -> Iterator[range]:
    ports = route.match.ports
    yield from map(units.ports, ports if isinstance(ports, list | tuple) else [ports])


def speaks_after_request(route: Route, by_request: bytes) -> bool:
    """Whether ``route`` speaks HTTP on connections that begin with a request, and only on these.

    :param by_request: see :func:`ports_by_request`.
    """
    action = route.action
    if action.type != "forward" or action.protocol != "auto" or speaks_http(action):
        return False
    return any(by_request.find(1, ports.start, ports.stop) >= 0 for ports in _spans(route))


def http_plan(
    route: Route,
    settings: Configuration,
    pages: ErrorPages,
    answers: Callable[..., object] | None,
    by_request: bytes,
) -> HttpPlan | None:
    """The terms of ``route``; ``None`` where bytes are forwarded as they are, and where connections are served or blocked.

    :param answers: what answers its requests in this process.
    :param by_request: see :func:`ports_by_request`.
    """
    if speaks_http(route.action) or (answers is not None and route.action.type != "block"):
        return _terms(route, settings, pages)
    if speaks_after_request(route, by_request):
        return replace(_terms(route, settings, pages), request_ports=by_request)
    return None


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
        origins=frozenset(map(normalise_origin, inherited("origins", *tunnels))),
        forwarded=route.action.forwarded_headers,
        request_rules=header_rules(route, settings, "request"),
        answer_rules=header_rules(route, settings, "response"),
        rewrite=rewrite_plan(route, settings),
        error_pages=pages.of(settings.defaults.error_pages | route.action.error_pages),
    )
