"""Warnings about the conditions of a route: valid ones that match less, or more, than they seem to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.tables import units
from smartproxy.settings.tables.base import file_key
from smartproxy.wire.host import is_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Match, Route

#: Conditions that are lists or mappings. An empty one is no condition.
_COLLECTIONS: Final = ("domains", "proxy_tlv", "client_ip", "alpn", "methods", "headers", "query")
#: Last segments that name everything below a path, rather than a resource.
_PREFIX_LIKE: Final = re.compile(r"/(?:api|apis|assets|static|v[0-9]+)")


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Everything about conditions of enabled routes."""
    paths = {route.match.path for route in settings.routes if route.match.path}
    for index, route in enumerate(settings.routes):
        if route.enabled:
            path = ("routes", index, "match")
            yield from _empty(route.match, path)
            yield from _exact_path(route.match.path, paths, (*path, "path"))
            yield from _addresses(route, path)
            yield from _ports_twice(route.match, path)


def _empty(match: Match, path: KeyPath) -> Iterator[Problem]:
    for name in _COLLECTIONS:
        if name in match.model_fields_set and not getattr(match, name):
            yield Problem(
                (*path, file_key(name)),
                "is empty, which is no condition; leave it out, or list what must match",
            )


def _exact_path(written: str | None, all_paths: set[str], path: KeyPath) -> Iterator[Problem]:
    """A path without a wildcard that looks like a prefix, unless another route has what is below it."""
    if written is None or written == "/" or "*" in written:
        return
    below = f"{written.rstrip('/')}/*"
    looks_like_prefix = written.endswith("/") or _PREFIX_LIKE.fullmatch(written[written.rfind("/") :])
    if looks_like_prefix and below not in all_paths:
        yield Problem(
            path, f'matches only this path, and nothing below it; did you mean "{below}"? {got(written)}'
        )


def _addresses(route: Route, path: KeyPath) -> Iterator[Problem]:
    """IP addresses among the domains, where neither the Host of plain HTTP nor the local address of TLS without SNI is meant."""
    if route.match.protocol == "http" or route.action.tls.mode != "passthrough":
        return
    for index, domain in enumerate(route.match.domains):
        if is_address(domain):
            yield Problem(
                (*path, "domains", index),
                "is an IP address, for which TLS clients send no server name (RFC 6066, section 3): only plain HTTP "
                f"requests match; match.address is the local address {got(domain)}",
            )


def _ports_twice(match: Match, path: KeyPath) -> Iterator[Problem]:
    if not isinstance(match.ports, list | tuple):
        return
    seen: list[range] = []
    for index, written in enumerate(match.ports):
        ports = units.ports(written)
        if any(ports.start < other.stop and other.start < ports.stop for other in seen):
            yield Problem((*path, "ports", index), f"has a port that is listed before {got(written)}")
        seen.append(ports)
