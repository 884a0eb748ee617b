"""Problems of routes that speak HTTP, and of keys that have a meaning for HTTP only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.settings.checks.problems import Problem
from smartproxy.settings.compile.http import HTTP_KEYS, speaks_http
from smartproxy.settings.tables.base import file_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.route import Route


def problems(route: Route, path: KeyPath) -> Iterator[Problem]:
    """What is wrong with the HTTP of ``route``."""
    action, action_path = route.action, (*path, "action")
    for name in sorted(HTTP_KEYS):
        if name not in action.model_fields_set:
            continue
        if action.type != "forward":
            yield Problem((*action_path, file_key(name)), f'has no meaning for type "{action.type}"')
        elif action.protocol == "tcp":
            yield Problem((*action_path, file_key(name)), 'has no meaning for protocol "tcp"')
    if action.protocol == "http" and action.type != "forward":
        yield Problem((*action_path, "protocol"), f'has no meaning for type "{action.type}"')
    if not speaks_http(action):
        return
    if action.tls.mode == "passthrough" and (
        "mode" in action.tls.model_fields_set or route.match.protocol == "tls"
    ):
        message = "cannot be read as HTTP: the route passes TLS through; it needs tls.mode terminate"
        yield Problem((*action_path, "protocol"), message)
    elif route.match.protocol == "tcp":
        yield Problem((*path, "match", "protocol"), 'is "tcp", but action.protocol is "http"')
