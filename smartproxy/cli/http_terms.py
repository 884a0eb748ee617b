"""The lines of ``smartproxy explain`` about the terms on which a route speaks HTTP, and what it refuses of the request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.cli.target_effects import place_name
from smartproxy.http.forwarded import forwarded_lines
from smartproxy.http.refusals import by_limits, by_request
from smartproxy.http.terms import request_terms
from smartproxy.settings.compile.levels import SettingLevel, setting_level
from smartproxy.settings.tables.base import file_key
from smartproxy.settings.tables.units import duration_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.model.facts import Detected
    from smartproxy.model.plan import HttpPlan, ProxyPlan, RoutePlan
    from smartproxy.settings import Settings
    from smartproxy.settings.tables.base import Table


def term_lines(settings: Settings, plan: ProxyPlan, route: RoutePlan, detected: Detected) -> Iterator[str]:
    """The terms; nothing where bytes are forwarded as they are."""
    if route.http is None:
        return
    yield "http: each request of the connection has a route of its own; on this one:"
    yield from _limits(settings, route.http, route.index)
    yield from _connections(settings, route.http, route.index)
    yield from _pages(settings, route.http, route.index)
    yield from _request(plan, route.http, detected)


def tunnel_place(settings: Settings, index: int, name: str) -> str:
    """The place that sets a key of ``http.websocket`` for the route with that index."""
    return _place(name, _levels(settings, index, "websocket"))


def _limits(settings: Settings, http: HttpPlan, index: int) -> Iterator[str]:
    """Limits and timeouts of requests."""
    levels = _levels(settings, index)
    values = {
        "max_header_size": size_text(http.head.size),
        "max_headers": f"{http.head.fields}",
        "max_body_size": size_text(http.max_body),
        "body_minimum_rate": size_text(http.body_rate),
        "request_timeout": duration_text(http.request_timeout),
        "keep_alive_timeout": duration_text(http.keep_alive_timeout),
        "response_timeout": duration_text(http.answer_timeout),
        "remember_heads": str(http.remembers).lower(),
    }
    for name, value in values.items():
        yield f"  {file_key(name)}: {value} ({_place(name, levels)})"


def _connections(settings: Settings, http: HttpPlan, index: int) -> Iterator[str]:
    """Connections to targets, and tunnels."""
    yield f"  retries: {http.retries} ({_place('retries', _levels(settings, index))})"
    pools = _levels(settings, index, "pool")
    idle, most = _place("idle_timeout", pools), _place("max_idle", pools)
    yield f"  pool: idleTimeout {duration_text(http.idle_timeout)} ({idle}), maxIdle {http.most_idle} ({most})"
    origins = ", ".join(sorted(http.origins)) or "any"
    yield (
        f"  websocket: idleTimeout {duration_text(http.tunnel_timeout)} ({tunnel_place(settings, index, 'idle_timeout')}), "
        f"origins {origins} ({tunnel_place(settings, index, 'origins')})"
    )


def _pages(settings: Settings, http: HttpPlan, index: int) -> Iterator[str]:
    own = settings.routes[index].action.error_pages
    for status, page in sorted(http.error_pages.items()):
        yield f"  errorPages.{status}: {page.path} ({'route' if str(status) in own else 'defaults'})"


def _request(plan: ProxyPlan, http: HttpPlan, detected: Detected) -> Iterator[str]:
    """What becomes of the request, if one was given."""
    head = detected.request
    if not http.forwarded:
        yield "  forwardedHeaders: off; those of the client are removed"
    elif head is None or not detected.client_ip:
        yield "  forwardedHeaders: on; --host and --client-ip show them"
    else:
        trusted = plan.trusted is not None and detected.client_ip in plan.trusted
        yield f"  forwardedHeaders: on; {'appended to those of the client' if trusted else 'in place of any of the client'}:"
        for line in forwarded_lines(detected, head, trusted=trusted).decode("latin-1").splitlines():
            yield f"    {line}"
    if head is not None:
        size = len(head.method) + len(head.target) + len(head.fields.block)
        refused = by_request(head, request_terms(head)) or by_limits(head, size, http.head)
        if refused is not None:
            yield f"answered: {refused.status} ({refused.detail})"


def _levels(settings: Settings, index: int, table: str = "") -> tuple[SettingLevel, ...]:
    """The places of the keys of ``http``, or of a table in it."""

    def inner(http: Table) -> Table:
        return getattr(http, table) if table else http

    return (
        SettingLevel(("routes", index, "action", "http"), inner(settings.routes[index].action.http), "route"),
        SettingLevel(("defaults", "http"), inner(settings.defaults.http), "defaults"),
    )


def _place(name: str, levels: tuple[SettingLevel, ...]) -> str:
    return place_name(setting_level(name, levels))
