"""Warnings about keys of target groups that have no effect, because of other keys of the group or of its targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.compile.groups import checks_of
from smartproxy.settings.tables.base import inherited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Action, Defaults, TargetGroup


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Everything about groups, own ones of routes included."""
    for name, group in settings.target_groups.items():
        yield from _group(group, settings.defaults, ("targetGroups", name))
    for index, route in enumerate(settings.routes):
        if route.enabled and route.action.type == "forward" and route.action.group is None:
            yield from _group(route.action, settings.defaults, ("routes", index, "action"))


def _group(keys: Action | TargetGroup, defaults: Defaults, path: KeyPath) -> Iterator[Problem]:
    targets = [target for _, target in keys.written_targets()]
    # Targets of a file, and those that a callable gives, may have what the written ones have not.
    if keys.targets_file is None and len(targets) == len(keys.targets):
        if keys.when_down == "reset" and not any(checks_of(target, keys, defaults) for target in targets):
            message = "has no effect: no target has a healthCheck, so none is found down"
            yield Problem((*path, "whenDown"), message)
        if keys.queue is not None and not any(target.max_connections for target in targets):
            message = "has no effect: no target has maxConnections, so no client waits"
            yield Problem((*path, "queue"), message)
    if inherited("algorithm", keys.load_balancing, defaults.load_balancing) != "first":
        return
    for number, target in keys.written_targets():
        if target.weight > 1:
            message = 'has no effect: loadBalancing.algorithm is "first", which goes by the order'
            yield Problem((*path, "targets", number, "weight"), f"{message} {got(target.weight)}")
