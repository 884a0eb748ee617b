"""What is wrong with a configuration whose every key is right: what only shows in the whole.

The routes that are named in a message are named by their name; the place is that of the one to change.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from smartproxy.settings.certificates import TlsFiles
from smartproxy.settings.checks import tls as tls_conflicts
from smartproxy.settings.checks.availability import unavailable
from smartproxy.settings.checks.shadowing import unreached
from smartproxy.settings.problems import Problem, got
from smartproxy.settings.tables import references, units
from smartproxy.settings.tables.base import Table
from smartproxy.settings.tables.route import ProxyHeaderSettings, Route
from smartproxy.wire.http_response import BODILESS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.route import Action, Match, ResponseSettings
    from smartproxy.settings.top import AdminSettings, Settings

#: The keys of an action that belong to one type, and those without which it cannot be.
_KEYS_OF = {
    "targets": "forward", "handler": "handler", "to": "redirect", "status": "redirect", "response": "respond",
    "mode": "block",
}  # fmt: skip
_REQUIRED = frozenset({"targets", "handler", "to", "response"})


def problems(settings: Settings, files: TlsFiles | None = None) -> Iterator[Problem]:
    """Everything for which it is refused.

    :param files: what has been read of its certificates already.
    """
    yield from unavailable(settings)
    yield from _names(settings)
    yield from _header(settings, ())
    yield from _header(settings.defaults, ("defaults",))
    for index, route in enumerate(settings.routes):
        yield from _route(route, ("routes", index))
    yield from _admin(settings)
    yield from _reach(settings)
    yield from tls_conflicts.problems(settings, files or TlsFiles(settings.directory))


def doubts(settings: Settings) -> Iterator[Problem]:
    """What is allowed, and hardly what was meant."""
    if settings.accept_proxy_protocol == "require" and not settings.proxy_ips:
        yield Problem(
            ("acceptProxyProtocol",), 'is "require", but proxyIPs is empty: nobody is asked for a header'
        )
    for index, route in enumerate(settings.routes):
        limit = route.security.max_connections
        if 0 < settings.max_connections < limit:
            yield Problem(
                ("routes", index, "security", "maxConnections"),
                f"is above maxConnections of the whole proxy, {settings.max_connections} {got(limit)}",
            )
    yield from tls_conflicts.doubts(settings, TlsFiles(settings.directory))


def names_used_twice(names: Iterable[tuple[int, object]]) -> Iterator[Problem]:
    """Of routes, given with their indices; also where they are otherwise not right."""
    seen: set[str] = set()
    for index, name in names:
        if isinstance(name, str) and name in seen:
            yield Problem(("routes", index, "name"), f"is the name of an earlier route {got(name)}")
        if isinstance(name, str):
            seen.add(name)


def _names(settings: Settings) -> Iterator[Problem]:
    yield from names_used_twice((index, route.name) for index, route in enumerate(settings.routes))
    if not any(route.enabled for route in settings.routes):
        yield Problem(("routes",), "has no route that is enabled")


def _route(route: Route, path: KeyPath) -> Iterator[Problem]:
    yield from _match(route.match, (*path, "match"))
    yield from _header(route.action, (*path, "action"))
    for index, target in enumerate(route.action.targets):
        yield from _header(target, (*path, "action", "targets", index))
    yield from _action(route.action, (*path, "action"))
    if route.enabled and route.action.type == "handler" and route.action.handler is not None:
        yield from _handler(route.action.handler, (*path, "action", "handler"))


def _match(match: Match, path: KeyPath) -> Iterator[Problem]:
    http_only = [key for key in ("path", "methods", "headers") if getattr(match, key)]
    needs_name = ["domains"] if match.domains else []
    asked = {"tcp": needs_name + http_only, "tls": http_only}.get(match.protocol or "", [])
    for key in asked:
        yield Problem((*path, key), f'is never there where protocol is "{match.protocol}"')


def _action(action: Action, path: KeyPath) -> Iterator[Problem]:
    kind = action.type
    for key, type_ in _KEYS_OF.items():
        there = bool(getattr(action, key)) if key in _REQUIRED else key in action.model_fields_set
        if kind == type_ and key in _REQUIRED and not there:
            yield Problem((*path, key), f'is required for type "{kind}"')
        elif kind != type_ and there:
            yield Problem((*path, key), f'has no meaning for type "{kind}"')
    if action.response is not None:
        yield from _response(action.response, (*path, "response"))
    if action.targets and not any(target.weight for target in action.targets):
        yield Problem((*path, "targets"), "has no target with a weight above 0")


def _response(response: ResponseSettings, path: KeyPath) -> Iterator[Problem]:
    if response.body is not None and response.base64 is not None:
        yield Problem((*path, "base64"), "has no meaning beside body")
    elif response.status is None and not (response.body or response.base64):
        yield Problem((*path, "body"), "is required where there is no status")
    if response.status in BODILESS and (response.body or response.base64):
        yield Problem((*path, "status"), f"has no body in HTTP {got(response.status)}")
    if response.status is None and "content_type" in response.model_fields_set:
        yield Problem((*path, "contentType"), "has no meaning without a status")


def _handler(handler: object, path: KeyPath) -> Iterator[Problem]:
    try:
        references.resolved(handler)
    except ValueError as problem:
        yield Problem(path, f"{problem} {got(handler)}")


def _header(table: Table, path: KeyPath) -> Iterator[Problem]:
    header = getattr(table, "send_proxy_protocol", None)
    if isinstance(header, ProxyHeaderSettings) and header.version == 1 and header.tlvs:
        yield Problem((*path, "sendProxyProtocol", "tlvs"), "has no meaning for version 1")


def _admin(settings: Settings) -> Iterator[Problem]:
    admin = settings.admin
    if admin is False:
        return
    address, port = ("127.0.0.1", 8404) if admin is True else (admin.address, admin.port)
    if isinstance(admin, Table):
        if admin.unix is not None:
            yield from _unix(admin)
            return
        if admin.token is None and not _is_loopback(address):
            yield Problem(
                ("admin", "token"), f"is required where the address is not a loopback one {got(address)}"
            )
    for route in settings.routes:
        if route.enabled and _meet(route.match.address, address) and _listens(route.match, port):
            where = ("admin", "port") if isinstance(admin, Table) else ("admin",)
            yield Problem(where, f'is a port of route "{route.name}" {got(port)}')
            return


def _unix(admin: AdminSettings) -> Iterator[Problem]:
    for name in ("address", "port"):
        if name in admin.model_fields_set:
            yield Problem(("admin", name), "has no meaning beside unix")


def _is_loopback(address: str) -> bool:
    return bool(address) and ip_address(address).is_loopback


def _listens(match: Match, port: int) -> bool:
    ports = match.ports if isinstance(match.ports, list | tuple) else [match.ports]
    return any(port in units.ports(written) for written in ports)


def _meet(one: str, other: str) -> bool:
    """Whether two sockets on the same port would be in each other's way."""
    if one == other or "" in {one, other}:
        return True
    a, b = ip_address(one), ip_address(other)
    wild = [address for address in (a, b) if address.is_unspecified]
    # An IPv6 wildcard takes IPv4 too, unless it was told otherwise (RFC 3493, 5.3).
    return a == b or any(address.version == 6 or a.version == b.version for address in wild)  # noqa: PLR2004 - a number that the line itself explains


def _reach(settings: Settings) -> Iterator[Problem]:
    enabled = [(index, route) for index, route in enumerate(settings.routes) if route.enabled]
    for index, takers in unreached(enabled):
        names = " and ".join(f'"{name}"' for name in takers[:3])
        yield Problem(("routes", index, "match"), f"is never reached: {names} goes first and takes all of it")
