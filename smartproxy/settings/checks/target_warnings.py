"""Warnings about targets: listeners of this proxy, the same target twice, and redirects to the same place.

A target that is a listener of this proxy is not wrong in itself: one route may hand connections to another. It is a mistake
where a connection comes back to the route that it came from, directly or through other routes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from smartproxy.net.own_addresses import is_own_address, reaches
from smartproxy.settings.checks.problems import Problem
from smartproxy.settings.compile.plans import match_plan
from smartproxy.settings.tables.root import AdminSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from smartproxy.model.plan import MatchPlan
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Action, Route, Target, TargetGroup

_IS_ADMIN = "is the admin listener of this proxy: clients of {} can reach the admin API"
_PORTS = {"http": 80, "https": 443}


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Everything about the targets of enabled routes."""
    enabled = [(index, route) for index, route in enumerate(settings.routes) if route.enabled]
    groups = _LocalTargets(settings)
    listed = {index: groups.of(index, route) for index, route in enabled}
    own = _OwnListeners(enabled, {index: [target for _, target in found] for index, found in listed.items()})
    for index, route in enabled:
        for place, target in listed[index]:
            yield from own.loops(index, target, place)
            yield from _admin(settings, route, target, place)
        yield from _targets_twice(route.action, ("routes", index, "action", "targets"))
        yield from _redirects_to_itself(route, ("routes", index, "action", "to"))
    for name in dict.fromkeys(route.action.group for _, route in enabled if route.action.group is not None):
        yield from _targets_twice(settings.target_groups[name], ("targetGroups", name, "targets"))


class _LocalTargets:
    """The targets of routes with their places; of those of shared groups only the ones that are on this machine.

    Thousands of routes may share one group, and a group may have a thousand targets.
    """

    def __init__(self, settings: Configuration) -> None:
        self._groups = settings.target_groups
        self._local: dict[str, list[tuple[KeyPath, Target]]] = {}

    def of(self, index: int, route: Route) -> list[tuple[KeyPath, Target]]:
        """Those of the route at ``index``."""
        name = route.action.group
        if name is None:
            return _placed(("routes", index, "action"), route.action)
        if name not in self._local:
            listed = _placed(("targetGroups", name), self._groups[name])
            self._local[name] = [one for one in listed if _is_local(one[1])]
        return self._local[name]


def _placed(path: KeyPath, holder: Action | TargetGroup) -> list[tuple[KeyPath, Target]]:
    return [((*path, "targets", number), target) for number, target in holder.written_targets()]


def _is_local(target: Target) -> bool:
    return target.unix is not None or any(is_own_address(host) for host in target.hosts())


class _OwnListeners:
    """Which routes get the connections to a target, where that is this proxy.

    :param routes: the enabled ones, with their index in the file.
    :param targets: those of each.
    """

    def __init__(self, routes: list[tuple[int, Route]], targets: Mapping[int, Sequence[Target]]) -> None:
        self._routes = dict(routes)
        self._targets = targets
        self._heard: dict[int, MatchPlan] = {index: match_plan(route.match) for index, route in routes}
        self._following: dict[int, set[int]] = {}
        self._places: dict[tuple[str, int], set[int]] = {}
        wanted = sorted(
            {port for index, _ in routes for one in targets[index] for port in self._target_ports(index, one)}
        )
        self._by_port: dict[int, list[int]] = defaultdict(list)
        for index, heard in self._heard.items():
            for ports in heard.ports:
                for port in wanted[bisect_left(wanted, ports.start) : bisect_left(wanted, ports.stop)]:
                    self._by_port[port].append(index)

    def loops(self, index: int, target: Target, path: KeyPath) -> Iterator[Problem]:
        """The problem of ``target``, of the route at ``index``, if its connections can come back to that route."""
        direct = self._reached(index, target)
        back = "this route" if path[0] == "routes" else f'route "{self._routes[index].name}"'
        if index in direct:
            via = ""
        elif index in self._closure(direct):
            via = f' through route "{min(self._routes[other].name for other in direct)}"'
        else:
            return
        yield Problem(
            path,
            f"is a listener of this proxy: connections come back to {back}{via}, and are refused as a loop",
        )

    def _closure(self, first: set[int]) -> set[int]:
        """Every route that connections handed to ``first`` may come to."""
        found: set[int] = set()
        left = set(first)
        while left:
            index = left.pop()
            found.add(index)
            left |= self._next(index) - found
        return found

    def _next(self, index: int) -> set[int]:
        if index not in self._following:
            reached = (self._reached(index, target) for target in self._targets[index])
            self._following[index] = set().union(*reached)
        return self._following[index]

    def _reached(self, index: int, target: Target) -> set[int]:
        """The routes whose listeners get connections to ``target``."""
        found = [
            self._routes_at(host, port)
            for port in self._target_ports(index, target)
            if port in self._by_port
            for host in target.hosts()
        ]
        # Thousands of routes may share one listener and one target: their set is not copied.
        return found[0] if len(found) == 1 else set().union(*found)

    def _routes_at(self, host: str, port: int) -> set[int]:
        if (host, port) not in self._places:
            heard = self._by_port[port] if is_own_address(host) else ()
            self._places[host, port] = {
                index
                for index in heard
                if any(reaches(host, bound) for bound in self._heard[index].addresses)
            }
        return self._places[host, port]

    def _target_ports(self, index: int, target: Target) -> Iterator[int]:
        if isinstance(target.port, int):
            yield target.port
        elif target.port == "preserve":
            for ports in self._heard[index].ports:
                yield from ports


def _admin(settings: Configuration, route: Route, target: Target, path: KeyPath) -> Iterator[Problem]:
    if settings.admin is False:
        return
    admin = AdminSettings() if settings.admin is True else settings.admin
    problem = _IS_ADMIN.format("this route" if path[0] == "routes" else f'route "{route.name}"')
    if admin.unix is not None and target.unix is not None:
        if Path(admin.unix) == Path(target.unix):
            yield Problem((*path, "unix"), problem)
        return
    ports = match_plan(route.match).ports if target.port == "preserve" else ()
    is_port = target.port == admin.port or any(admin.port in one for one in ports)
    if admin.unix is None and is_port and any(reaches(host, admin.address) for host in target.hosts()):
        yield Problem(path, problem)


def _targets_twice(holder: Action | TargetGroup, path: KeyPath) -> Iterator[Problem]:
    seen: set[tuple[str, object]] = set()
    for number, target in holder.written_targets():
        if target.unix is not None:
            if (target.unix, None) in seen:
                message = f"is listed before: unix:{target.unix}; use weight for a larger share"
                yield Problem((*path, number), message)
            seen.add((target.unix, None))
        for host in target.hosts():
            if callable(target.port):
                continue
            if (host, target.port) in seen:
                yield Problem(
                    (*path, number), f"is listed before: {host}:{target.port}; use weight for a larger share"
                )
            seen.add((host, target.port))


def _redirects_to_itself(route: Route, path: KeyPath) -> Iterator[Problem]:
    """A redirect of every request to the same URL, on the same route: browsers give up after some twenty."""
    to = route.action.to
    if route.action.type != "redirect" or to is None:
        return
    scheme = "http" if route.action.tls.mode == "passthrough" else "https"
    host, _, path_part = to.removeprefix(f"{scheme}://").partition("/")
    port = urlsplit(to.replace("{host}", "host").replace("{path}", "/").replace("{query}", "")).port
    whole = (
        to.startswith(f"{scheme}://{{host}}")
        and to.removesuffix("{query}").endswith("{path}")
        and not path_part
    )
    if whole and host and any((port or _PORTS[scheme]) in ports for ports in match_plan(route.match).ports):
        yield Problem(path, "is the URL of the request itself: clients are redirected in a loop")
