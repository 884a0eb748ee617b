"""Problems of routes that take silent clients (``fallback`` with ``silence``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.compile.plans import match_plan
from smartproxy.wire.host import addresses_overlap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.model.plan import MatchPlan
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Route


def problems(route: Route, path: KeyPath) -> Iterator[Problem]:
    """What makes the ``silence`` of ``route`` invalid."""
    if route.silence is None:
        return
    if not route.fallback:
        message = 'has no meaning without fallback: write "fallback: true" beside it'
        yield Problem((*path, "silence"), f"{message} {got(route.silence)}")
    if route.action.tls.mode != "passthrough":
        message = "has no meaning where TLS is terminated: a TLS client sends first"
        yield Problem((*path, "silence"), f"{message} {got(route.silence)}")
    for key in ("alpn", "path", "methods", "headers", "query"):
        if getattr(route.match, key):
            yield Problem(
                (*path, "match", key), "can never match beside silence: such a client sends nothing"
            )
    if route.match.protocol not in (None, "tcp"):
        message = f"can never match beside silence: such a client sends nothing {got(route.match.protocol)}"
        yield Problem((*path, "match", "protocol"), message)


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Several routes of a port that take silent clients: usually one is meant."""
    seen: list[tuple[str, MatchPlan]] = []
    for index, route in enumerate(settings.routes):
        if route.silence is None or not route.enabled:
            continue
        match = match_plan(route.match)
        for name, other in seen:
            if _share_a_listener(match, other):
                message = (
                    f'is set for route "{name}" on the same port, too: '
                    "a silent client goes to the first of them that admits it"
                )
                yield Problem(("routes", index, "silence"), f"{message} {got(route.silence)}")
                break
        seen.append((route.name, match))


def _share_a_listener(one: MatchPlan, other: MatchPlan) -> bool:
    return any(addresses_overlap(a, b) for a in one.addresses for b in other.addresses) and any(
        a.start < b.stop and b.start < a.stop for a in one.ports for b in other.ports
    )
