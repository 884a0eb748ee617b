"""Problems of target groups, and of the keys that say how targets are chosen and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.model.plan.target import CLIENT_NAME
from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.compile.groups import checks_of
from smartproxy.settings.tables.balancing import HealthCheck
from smartproxy.settings.tables.base import file_key, inherited
from smartproxy.upstream.candidate import address_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.balancing import BalancingDefaults, CheckStep
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Action, Route, Target

#: Keys of an action that the group has where a route names one.
_OF_THE_GROUP = (
    "targets",
    "targets_file",
    "load_balancing",
    "health_check",
    "passive_health",
    "when_down",
    "queue",
)
#: Keys of a check that belong to some types.
_CHECK_KEYS = {
    "path": {"http"}, "method": {"http"}, "host_header": {"http"}, "expect_status": {"http"}, "expect_body": {"http"},
    "steps": {"script"}, "tls": {"http", "script", "tls"},
}  # fmt: skip
_STEP_KEYS = ("send", "send_base64", "expect", "expect_base64", "expect_regex")


def problems(settings: Configuration) -> Iterator[Problem]:
    """What is wrong with groups, own ones of routes included."""
    yield from _check(settings.defaults, ("defaults",))
    names = {route.name: route for route in settings.routes}
    for name, group in settings.target_groups.items():
        path: KeyPath = ("targetGroups", name)
        if name in names and (names[name].action.targets or names[name].action.targets_file):
            yield Problem(
                path, "is the name of a route with targets of its own, which is a group of that name"
            )
        if not group.targets and group.targets_file is None:
            yield Problem((*path, "targets"), "is required")
        elif group.targets_file is None and not any(target.weight for target in group.targets):
            yield Problem((*path, "targets"), "has no target with a weight above 0")
        yield from target_list(group.written_targets(), path, group, settings.defaults)
        yield from _check(group, path, settings.defaults)
    for index, route in enumerate(settings.routes):
        yield from _route(settings, route, ("routes", index, "action"))


def _route(settings: Configuration, route: Route, path: KeyPath) -> Iterator[Problem]:
    action = route.action
    if action.group is None:
        yield from target_list(action.written_targets(), path, action, settings.defaults)
        yield from _check(action, path, settings.defaults)
        yield from _without_targets(action, path)
        return
    if action.type != "forward":
        yield Problem((*path, "group"), f'has no meaning for type "{action.type}"')
        return
    yield from _beside_group(action, path)
    group = settings.target_groups.get(action.group)
    if group is None:
        known = ", ".join(settings.target_groups) or "none is configured"
        yield Problem(
            (*path, "group"), f"is not the name of a group in targetGroups ({known}) {got(action.group)}"
        )
    elif action.tls.mode == "terminate-and-reencrypt":
        if action.tls.upstream is not None:
            yield Problem((*path, "tls", "upstream"), "has no meaning beside group; its targets have tls")
        for _, target in group.written_targets():
            if target.tls is False:
                message = f'is "terminate-and-reencrypt", but a target of group "{action.group}" has no tls'
                yield Problem((*path, "tls", "mode"), message)
                break


def _beside_group(action: Action, path: KeyPath) -> Iterator[Problem]:
    """Keys that the group of a route has, or its targets."""
    places = dict.fromkeys(_OF_THE_GROUP, "in") | {"send_proxy_protocol": "to the targets of"}
    for name, place in places.items():
        if name in action.model_fields_set:
            message = f"has no meaning beside group; it belongs {place} targetGroups.{action.group}"
            yield Problem((*path, file_key(name)), message)


def _without_targets(action: Action, path: KeyPath) -> Iterator[Problem]:
    """Keys for targets where there are none."""
    if action.type == "forward":
        return
    useless = [name for name in _OF_THE_GROUP[1:] if name in action.model_fields_set]
    if action.send_proxy_protocol:
        useless.append("send_proxy_protocol")
    for name in useless:
        yield Problem((*path, file_key(name)), f'has no meaning for type "{action.type}"')
    if action.tls.mode == "terminate-and-reencrypt":
        message = f'must be "terminate" for type "{action.type}": there is no target to encrypt to'
        yield Problem((*path, "tls", "mode"), f"{message} {got(action.tls.mode)}")


def target_list(
    targets: Iterable[tuple[int, Target]],
    path: KeyPath,
    *levels: BalancingDefaults,
    taken: Iterable[str] = (),
) -> Iterator[Problem]:
    """Problems of targets beside each other.

    :param path: of the table that has the list.
    :param levels: what the targets inherit from.
    :param taken: names that other targets of the group have.
    """
    targets = list(targets)
    seen, unnamed = set(taken), names_by_address(targets)
    for index, target in targets:
        target_path = (*path, "targets", index)
        if target.name is not None and target.name in seen:
            yield Problem((*target_path, "name"), f"is the name of an earlier target {got(target.name)}")
        elif target.name in unnamed:
            message = f"is that of another target, which is called so because it has none {got(target.name)}"
            yield Problem((*target_path, "name"), message)
        if target.name is not None and isinstance(target.host, list | tuple) and len(target.host) > 1:
            yield Problem(
                (*target_path, "name"), "names one target, but host is a list; give each host a target"
            )
        seen |= {target.name} if target.name is not None else set()
        yield from _check(target, target_path, *levels)
        checks = checks_of(target, *levels)
        if checks and (callable(target.host) or CLIENT_NAME in target.hosts()):
            message = (
                "is not possible: the host is chosen for each connection; set it to false for this target"
            )
            yield Problem((*target_path, "healthCheck"), message)
            continue
        is_fixed = isinstance(target.port, int) or target.srv is not None or target.unix is not None
        if checks and inherited("port", *checks) is None and not is_fixed:
            yield Problem(
                (*target_path, "healthCheck"), "needs a port of its own: that of the target is not fixed"
            )


def names_by_address(targets: Iterable[tuple[int, Target]]) -> set[str]:
    """The names, ``host:port``, of the targets that have none of their own."""
    return {
        address_of(host, target.port)
        for _, target in targets
        if target.name is None and isinstance(target.port, int) and not callable(target.host)
        for host in target.hosts()
        if not target.is_discovered
    }


def _check(holder: BalancingDefaults | Target, path: KeyPath, *outer: BalancingDefaults) -> Iterator[Problem]:
    """What is wrong with the check of ``holder``.

    :param outer: what it inherits keys from.
    """
    check = holder.health_check
    if not isinstance(check, HealthCheck):
        return
    path = (*path, "healthCheck")
    yield from _keys_of_type(check, checks_of(holder, *outer), path)
    for index, step in enumerate(check.steps):
        yield from _step(step, (*path, "steps", index))


def _keys_of_type(check: HealthCheck, levels: list[HealthCheck], path: KeyPath) -> Iterator[Problem]:
    """Keys that its type has no use for, or needs.

    :param levels: ``check`` and those that it inherits from.
    """
    kind = inherited("type", *levels)
    for name, types in _CHECK_KEYS.items():
        if name in check.model_fields_set and kind not in types:
            yield Problem((*path, file_key(name)), f'has no meaning for type "{kind}"')
    written = check.model_fields_set
    if kind == "script" and written & {"type", "steps"} and not inherited("steps", *levels):
        yield Problem((*path, "steps"), 'is required for type "script"')
    if kind == "tls" and "tls" in written and check.tls is False:
        yield Problem((*path, "tls"), f'must be true or a mapping for type "tls" {got(check.tls)}')
    if kind == "http":
        yield from _body_of_head(check, levels, path)


def _body_of_head(check: HealthCheck, levels: list[HealthCheck], path: KeyPath) -> Iterator[Problem]:
    """An answer to HEAD has no body that could be compared (RFC 9110, section 9.3.2)."""
    body = inherited("expect_body", *levels)
    if body is None or inherited("method", *levels) != "HEAD":
        return
    if "expect_body" in check.model_fields_set:
        yield Problem((*path, "expectBody"), f"is in no answer to HEAD {got(body)}")
    elif "method" in check.model_fields_set:
        yield Problem((*path, "method"), f"is HEAD, whose answers have no body for expectBody {got(body)}")


def _step(step: CheckStep, path: KeyPath) -> Iterator[Problem]:
    written = [name for name in _STEP_KEYS if name in step.model_fields_set]
    if len(written) != 1:
        keys = ", ".join(file_key(name) for name in _STEP_KEYS)
        yield Problem(path, f"must have exactly one of {keys}")
