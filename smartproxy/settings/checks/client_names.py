"""Targets whose host is the name that the client asks for: ``host: "{domain}"``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.model.plan.target import CLIENT_NAME
from smartproxy.settings.checks.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Route, Target

_NEEDS: Final = f"is {CLIENT_NAME}, the name that the client asks for, which needs domains in match"


def problems(settings: Configuration) -> Iterator[Problem]:
    """Routes without ``domains`` whose clients would choose any host."""
    for index, route in enumerate(settings.routes):
        if route.match.domains:
            continue
        path = ("routes", index, "action")
        for number, target in route.action.written_targets():
            if CLIENT_NAME in target.hosts():
                yield Problem((*path, "targets", number, "host"), _NEEDS)
        if any(CLIENT_NAME in target.hosts() for target in _shared(settings, route)):
            yield Problem((*path, "group"), f'has a target whose host {_NEEDS} (got "{route.action.group}")')


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Routes whose clients choose any host, or none."""
    for index, route in enumerate(settings.routes):
        if not route.enabled:
            continue
        targets = [target for _, target in route.action.written_targets()]
        if not any(CLIENT_NAME in target.hosts() for target in (*targets, *_shared(settings, route))):
            continue
        path = ("routes", index)
        if "*" in route.match.domains:
            message = f'has "*", and a target has the host {CLIENT_NAME}: clients reach every host that this proxy reaches'
            yield Problem((*path, "match", "domains"), message)
        if route.fallback:
            message = (
                f"takes clients without a name, for which a target with the host {CLIENT_NAME} is unreachable"
            )
            yield Problem((*path, "fallback"), message)


def _shared(settings: Configuration, route: Route) -> list[Target]:
    group = settings.target_groups.get(route.action.group or "")
    return [] if group is None else [target for _, target in group.written_targets()]
