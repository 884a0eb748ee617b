"""Warnings about limits: of connections, and the number of listening sockets against that of descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.net.descriptors import hard_limit
from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.compile.plans import match_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.tables.root import Configuration

#: Descriptors that a proxy needs beside its listeners: logs, event loop, admin, and a few dozen connections.
_BESIDE_LISTENERS: Final = 256


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Everything about limits."""
    yield from _connections(settings)
    yield from _descriptors(settings)


def _connections(settings: Configuration) -> Iterator[Problem]:
    whole = settings.max_connections
    if whole == 1:
        yield Problem(
            ("maxConnections",), "lets the whole proxy have one connection at a time; 0 is no limit (got 1)"
        )
    above = f"is above maxConnections of the whole proxy, {whole}"
    if 0 < whole < settings.max_connections_per_ip:
        yield Problem(("maxConnectionsPerIP",), f"{above} {got(settings.max_connections_per_ip)}")
    places = [
        (("defaults",), settings.defaults),
        *((("routes", i), one) for i, one in enumerate(settings.routes)),
    ]
    for path, table in places:
        limit = table.security.max_connections
        if 0 < whole < limit:
            yield Problem((*path, "security", "maxConnections"), f"{above} {got(limit)}")


def _descriptors(settings: Configuration) -> Iterator[Problem]:
    limit = hard_limit()
    if limit is None:
        return
    listeners: set[tuple[str, int]] = set()
    most, widest = 0, 0
    for index, route in enumerate(settings.routes):
        if route.enabled:
            match = match_plan(route.match)
            own = {(one, port) for one in match.addresses for ports in match.ports for port in ports}
            listeners |= own
            if len(own) > most:
                most, widest = len(own), index
    if len(listeners) + _BESIDE_LISTENERS > limit:
        yield Problem(
            ("routes", widest, "match", "ports"),
            f"the routes listen on {len(listeners)} ports, and a process may open {limit} files and sockets here "
            "(RLIMIT_NOFILE): raise LimitNOFILE of the service, or ulimit -Hn",
        )
