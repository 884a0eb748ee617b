"""Problems of routes that speak HTTP, and of keys that have a meaning for HTTP only."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from smartproxy.http.local.files_below import is_supported
from smartproxy.http.templates import compiled
from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.compile.answers import may_answer, root_of
from smartproxy.settings.compile.handlers import answers_by_handler
from smartproxy.settings.compile.http import HTTP_KEYS, speaks_http
from smartproxy.settings.tables.base import file_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.compile.references import References
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.route import Action, Route

#: Keys of an action that have a meaning for answers of the proxy itself.
_LOCAL_KEYS = frozenset({"error_pages", "http", "headers"})


def problems(route: Route, path: KeyPath, references: References) -> Iterator[Problem]:
    """What is wrong with the HTTP of ``route``."""
    action, action_path = route.action, (*path, "action")
    by_handler = has_http_handler(route, references)
    is_local = may_answer(action) or by_handler is not False
    yield from _keys(action, action_path, is_local=is_local)
    yield from _protocol(action, action_path, by_handler)
    yield from _terms(route, path, references)
    if speaks_http(action) or may_answer(action) or by_handler:
        yield from _readable(route, path)


def has_http_handler(route: Route, references: References) -> bool | None:
    """Whether the handler of ``route`` answers requests; ``None`` where that cannot be told: it is not looked at, or not found."""
    if route.action.type != "handler" or route.action.handler is None:
        return False
    if not route.enabled:
        return None
    try:
        return answers_by_handler(route.action, references.handlers) is not None
    except ValueError:
        return None  # reported with the handler


def _keys(action: Action, path: KeyPath, *, is_local: bool) -> Iterator[Problem]:
    local = _LOCAL_KEYS if is_local else frozenset[str]()
    for name in sorted(HTTP_KEYS):
        if name not in action.model_fields_set or name in local:
            continue
        if name == "rewrite" and action.type == "static":
            continue
        if action.type != "forward":
            yield Problem((*path, file_key(name)), f'has no meaning for type "{action.type}"')
        elif action.protocol == "tcp":
            yield Problem((*path, file_key(name)), 'has no meaning for protocol "tcp"')

    if is_local and action.headers.request.model_fields_set:
        message = f'has no meaning for type "{action.type}": there is no target'
        yield Problem((*path, "headers", "request"), message)


def _protocol(action: Action, path: KeyPath, by_handler: bool | None) -> Iterator[Problem]:
    if action.protocol == "http" and action.type == "block":
        yield Problem((*path, "protocol"), 'has no meaning for type "block"')
    elif action.protocol == "http" and action.type == "handler" and by_handler is False:
        message = "does not answer HTTP requests: it must be a coroutine function or a twisted.web resource"
        yield Problem((*path, "handler"), message)
    elif action.protocol == "tcp" and (may_answer(action) or by_handler):
        yield Problem((*path, "protocol"), 'must be "http" or "auto": the action answers HTTP requests')


def _terms(route: Route, path: KeyPath, references: References) -> Iterator[Problem]:
    """Terms of an action that no type of a key can check."""
    action, action_path = route.action, (*path, "action")
    if action.type == "redirect" and action.to is not None:
        try:
            compiled(action.to, route.match.path)
        except ValueError as why:
            yield Problem((*action_path, "to"), f"{why} {got(action.to)}")
    if action.type == "static" and action.root is not None and route.enabled:
        why_not = _unreadable(root_of(action.root, references))
        if why_not:
            yield Problem((*action_path, "root"), f"{why_not} {got(action.root)}")


def _unreadable(root: str) -> str:
    """Why no file can be sent of a directory; empty where some can."""
    try:
        is_directory = stat.S_ISDIR(Path(root).stat().st_mode)
    except OSError as why:
        return f"cannot be read: {why.strerror}"
    if not is_directory:
        return "is not a directory"
    if not os.access(root, os.X_OK):
        return f"cannot be read: {os.strerror(errno.EACCES)}"
    return "" if is_supported() else "cannot be served safely: this needs Linux with /proc mounted"


def _readable(route: Route, path: KeyPath) -> Iterator[Problem]:
    """Whether what the route gets can be HTTP."""
    action, action_path = route.action, (*path, "action")
    is_forward = action.type == "forward"
    if action.tls.mode == "passthrough" and (
        "mode" in action.tls.model_fields_set or route.match.protocol == "tls"
    ):
        message = "cannot be read as HTTP: the route passes TLS through; it needs tls.mode terminate"
        yield Problem((*action_path, "protocol" if is_forward else "type"), message)
    elif route.match.protocol == "tcp":
        why = 'action.protocol is "http"' if is_forward else "the action answers HTTP requests"
        yield Problem((*path, "match", "protocol"), f'is "tcp", but {why}')
