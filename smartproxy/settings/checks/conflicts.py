"""Problems of a configuration whose every key is valid by itself: keys that contradict each other.

A message names the other route involved by its name; the key path is that of the key to change.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from smartproxy.settings.checks import (
    acme,
    acme_names,
    address_lists,
    client_names,
    error_pages,
    fallbacks,
    groups,
    http,
    http_rules,
    proxy_protocol,
    targets_files,
    tls,
    tls_files,
    unix_targets,
)
from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.checks.shadowing import unreachable
from smartproxy.settings.checks.target_keys import target_problems
from smartproxy.settings.tables import units
from smartproxy.settings.tables.root import AdminSettings
from smartproxy.wire.host import addresses_overlap, is_loopback
from smartproxy.wire.http_response import CONTENTLESS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from smartproxy.model.plan import Handler
    from smartproxy.settings.compile.handlers import Handlers
    from smartproxy.settings.compile.references import References
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import (
        Action,
        Match,
        ResponseSettings,
        Route,
    )

_TERMINATES = 'the route has "tls: {mode: terminate}"'

#: The keys of an action that belong to one type.
_KEYS_OF = {
    "targets": "forward", "handler": "handler", "to": "redirect", "status": "redirect", "response": "respond",
    "mode": "block", "root": "static", "index": "static", "spa": "static", "precompressed": "static",
}  # fmt: skip
#: Those of them that their type requires.
_REQUIRED = frozenset({"targets", "handler", "to", "response", "root"})


def problems(settings: Configuration, references: References) -> Iterator[Problem]:
    """Everything that makes ``settings`` invalid.

    :param references: what they refer to. The files and handlers of disabled routes are not looked at.
    """
    if settings.include:  # a reader replaces it by the routes of the files
        yield Problem(("include",), "is read with a file only; give the routes themselves")
    yield from _names(settings)
    yield from proxy_protocol.problems(settings.send_proxy_protocol, ())
    yield from proxy_protocol.problems(settings.defaults.send_proxy_protocol, ("defaults",))
    unmatchable = set()
    for index, route in enumerate(settings.routes):
        for problem in _route(route, ("routes", index), references):
            if problem.path[2:3] == ("match",):
                unmatchable.add(index)
            yield problem
    yield from groups.problems(settings)
    yield from http_rules.problems(settings, references)
    yield from client_names.problems(settings)
    for name, group in settings.target_groups.items():
        for index, target in group.written_targets():
            yield from target_problems(target, ("targetGroups", name, "targets", index), references)
    yield from _admin(settings, references)
    yield from _reachability(settings, unmatchable)
    yield from address_lists.problems(settings, references.addresses)
    yield from error_pages.problems(settings, references.error_pages)
    yield from tls_files.problems(settings, references.tls)
    yield from targets_files.problems(settings, references)
    yield from tls.problems(settings)
    yield from acme.problems(settings, references)
    yield from acme_names.problems(settings)


def names_used_twice(names: Iterable[tuple[int, object]]) -> Iterator[Problem]:
    """Routes with the name of an earlier one.

    :param names: the index and the name of each route; a name may be malformed.
    """
    seen: set[str] = set()
    for index, name in names:
        if isinstance(name, str) and name in seen:
            yield Problem(("routes", index, "name"), f"is the name of an earlier route {got(name)}")
        if isinstance(name, str):
            seen.add(name)


def _names(settings: Configuration) -> Iterator[Problem]:
    yield from names_used_twice((index, route.name) for index, route in enumerate(settings.routes))
    if not any(route.enabled for route in settings.routes):
        yield Problem(("routes",), "has no route that is enabled")


def _route(route: Route, path: KeyPath, references: References) -> Iterator[Problem]:
    action, action_path = route.action, (*path, "action")
    yield from _match(route, path)
    yield from fallbacks.problems(route, path)
    yield from http.problems(route, path, references)
    yield from proxy_protocol.match_problems(route.match, (*path, "match"))
    yield from proxy_protocol.problems(action.send_proxy_protocol, action_path)
    for index, target in action.written_targets():
        yield from target_problems(target, (*action_path, "targets", index), references)
    yield from unix_targets.reencrypted(action, action_path)
    yield from _action(action, action_path)
    if route.enabled and action.type == "handler" and action.handler is not None:
        yield from _handler(action.handler, (*action_path, "handler"), references.handlers)


def _match(route: Route, path: KeyPath) -> Iterator[Problem]:
    match, ends_tls = route.match, route.action.tls.mode != "passthrough"
    http_only = [key for key in ("path", "methods", "headers", "query") if getattr(match, key)]
    needs_name = ["domains"] if match.domains else []
    needs_tls = ["alpn"] if match.alpn and not ends_tls else []
    impossible = {"tcp": needs_name + needs_tls + http_only, "tls": http_only, "http": needs_tls}
    for key in impossible.get(match.protocol or "", []):
        yield Problem((*path, "match", key), f'can never match where protocol is "{match.protocol}"')
    if needs_tls and http_only and match.protocol is None:
        message = f"can never match beside alpn: a request inside TLS is seen only where {_TERMINATES}"
        yield Problem((*path, "match", http_only[0]), message)
    takes_silent = match.protocol == "tcp" and route.silence is not None
    if route.fallback and match.protocol in {"tcp", "http"} and not takes_silent:
        why = f'has no meaning where protocol is "{match.protocol}": it is for TLS clients without SNI'
        yield Problem((*path, "fallback"), why)


def _action(action: Action, path: KeyPath) -> Iterator[Problem]:
    for key, type_ in _KEYS_OF.items():
        is_set = bool(getattr(action, key)) if key in _REQUIRED else key in action.model_fields_set
        if key == "targets" and (action.group is not None or action.targets_file is not None):
            continue  # looked at with the groups
        if action.type == type_ and key in _REQUIRED and not is_set:
            yield Problem((*path, key), f'is required for type "{action.type}"')
        elif action.type != type_ and is_set:
            yield Problem((*path, key), f'has no meaning for type "{action.type}"')
    if action.response is not None:
        yield from _response(action.response, (*path, "response"))
    is_whole = action.targets_file is None
    if is_whole and action.targets and not any(getattr(target, "weight", 1) for target in action.targets):
        yield Problem((*path, "targets"), "has no target with a weight above 0")


def _response(response: ResponseSettings, path: KeyPath) -> Iterator[Problem]:
    if response.body is not None and response.base64 is not None:
        yield Problem((*path, "base64"), "has no meaning beside body")
    elif response.status is None and not (response.body or response.base64):
        yield Problem((*path, "body"), "is required where there is no status")
    if response.status in CONTENTLESS and (response.body or response.base64):
        yield Problem((*path, "status"), f"has no body in HTTP {got(response.status)}")
    if response.status is None and "content_type" in response.model_fields_set:
        yield Problem((*path, "contentType"), "has no meaning without a status")


def _handler(handler: str | Handler, path: KeyPath, handlers: Handlers) -> Iterator[Problem]:
    try:
        handlers.resolve(handler)
    except ValueError as problem:
        yield Problem(path, f"{problem} {got(handler)}")


def _admin(settings: Configuration, references: References) -> Iterator[Problem]:
    if settings.admin is False:
        return
    admin = AdminSettings() if settings.admin is True else settings.admin
    if admin.token is not None and (admin.token != admin.token.strip() or not admin.token.isprintable()):
        message = "must not have line breaks, or blanks at its ends: no request can have such a token"
        yield Problem(("admin", "token"), message)
    if admin.unix is not None:
        yield from _admin_socket(admin, references.path_of(admin.unix))
        return
    if admin.token is None and not is_loopback(admin.address):
        message = f"is required where the address is not a loopback address {got(admin.address)}"
        yield Problem(("admin", "token"), message)
    for route in settings.routes:
        if route.enabled and _listens_on(route.match, admin.address, admin.port):
            path = ("admin",) if settings.admin is True else ("admin", "port")
            yield Problem(path, f'is a port of route "{route.name}" {got(admin.port)}')
            return


def _admin_socket(admin: AdminSettings, path: str) -> Iterator[Problem]:
    for name in ("address", "port"):
        if name in admin.model_fields_set:
            yield Problem(("admin", name), "has no meaning beside unix")
    if (size := len(os.fsencode(path))) > unix_targets.LONGEST:
        message = f"is {size} bytes long; the path of a unix socket has {unix_targets.LONGEST} at most"
        yield Problem(("admin", "unix"), f"{message} {got(path)}")


def _listens_on(match: Match, address: str, port: int) -> bool:
    ports = match.ports if isinstance(match.ports, list | tuple) else [match.ports]
    bound = match.address if isinstance(match.address, list | tuple) else [match.address]
    is_same_port = any(port in units.ports(one) for one in ports)
    return is_same_port and any(addresses_overlap(one, address) for one in bound)


def _reachability(settings: Configuration, unmatchable: Container[int]) -> Iterator[Problem]:
    """Routes that others cover.

    :param unmatchable: indices of routes whose ``match`` has a problem: it cannot be compared.
    """
    enabled = [
        (index, route)
        for index, route in enumerate(settings.routes)
        if route.enabled and index not in unmatchable
    ]
    for index, covering in unreachable(enabled):
        names = " and ".join(f'"{name}"' for name in covering[:3])
        message = f"is never reached: every connection that it matches goes to {names}"
        yield Problem(("routes", index, "match"), message)
