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
    from collections.abc import Iterator

    from smartproxy.model.plan import MatchPlan
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Route, Target

_IS_ADMIN = "is the admin listener of this proxy: clients of this route can reach the admin API"
_PORTS = {"http": 80, "https": 443}


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Everything about the targets of enabled routes."""
    enabled = [(index, route) for index, route in enumerate(settings.routes) if route.enabled]
    own = _OwnListeners(enabled)
    for index, route in enabled:
        path = ("routes", index, "action")
        for number, target in route.action.written_targets():
            place = (*path, "targets", number)
            yield from own.loops(index, target, place)
            yield from _admin(settings, route, target, place)
        yield from _targets_twice(route, (*path, "targets"))
        yield from _redirects_to_itself(route, (*path, "to"))


class _OwnListeners:
    """Which routes get the connections to a target, where that is this proxy.

    :param routes: the enabled ones, with their index in the file.
    """

    def __init__(self, routes: list[tuple[int, Route]]) -> None:
        self._routes = dict(routes)
        self._heard: dict[int, MatchPlan] = {index: match_plan(route.match) for index, route in routes}
        self._following: dict[int, set[int]] = {}
        self._places: dict[tuple[str, int], set[int]] = {}
        wanted = sorted(
            {
                port
                for index, route in routes
                for _, one in route.action.written_targets()
                for port in self._target_ports(index, one)
            }
        )
        self._by_port: dict[int, list[int]] = defaultdict(list)
        for index, heard in self._heard.items():
            for ports in heard.ports:
                for port in wanted[bisect_left(wanted, ports.start) : bisect_left(wanted, ports.stop)]:
                    self._by_port[port].append(index)

    def loops(self, index: int, target: Target, path: KeyPath) -> Iterator[Problem]:
        """The problem of ``target``, of the route at ``index``, if its connections can come back to that route."""
        direct = self._reached(index, target)
        if index in direct:
            via = ""
        elif index in self._closure(direct):
            via = f' through route "{min(self._routes[other].name for other in direct)}"'
        else:
            return
        yield Problem(
            path,
            f"is a listener of this proxy: connections come back to this route{via}, and are refused as a loop",
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
            targets = [target for _, target in self._routes[index].action.written_targets()]
            self._following[index] = set().union(*(self._reached(index, target) for target in targets))
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
    if admin.unix is not None and target.unix is not None:
        if Path(admin.unix) == Path(target.unix):
            yield Problem((*path, "unix"), _IS_ADMIN)
        return
    ports = match_plan(route.match).ports if target.port == "preserve" else ()
    is_port = target.port == admin.port or any(admin.port in one for one in ports)
    if admin.unix is None and is_port and any(reaches(host, admin.address) for host in target.hosts()):
        yield Problem(path, _IS_ADMIN)


def _targets_twice(route: Route, path: KeyPath) -> Iterator[Problem]:
    seen: set[tuple[str, object]] = set()
    for number, target in route.action.written_targets():
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
