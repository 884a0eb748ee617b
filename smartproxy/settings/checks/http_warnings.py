"""Warnings about keys of HTTP that have no effect, and about answers to requests that are no HTTP.

Keys have none in ``defaults`` without a route that uses them, and for answers without a target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.settings.checks.problems import Problem
from smartproxy.settings.compile.answers import may_answer
from smartproxy.settings.compile.handlers import body_of
from smartproxy.settings.compile.http import asks, speaks_http
from smartproxy.settings.tables.base import file_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Action

#: Keys of ``defaults`` for routes that speak HTTP. Error pages are for requests without a route, too.
_OF_DEFAULTS: Final = ("http", "headers", "rewrite")
#: Keys of ``http`` for requests that are sent to a target.
_OF_TARGETS: Final = ("retries", "pool")


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Everything about keys of HTTP."""
    enabled = [(index, route.action) for index, route in enumerate(settings.routes) if route.enabled]
    is_by_request = any(route.enabled and asks(route) for route in settings.routes)
    if not is_by_request and not any(_may_speak(action) for _, action in enabled):
        for name in _OF_DEFAULTS:
            if name in settings.defaults.model_fields_set:
                message = 'has no effect: no route speaks HTTP; write "protocol: http" in the action of those it is for'
                yield Problem(("defaults", name), message)
    for index, action in enabled:
        if may_answer(action):
            yield from _local(action, ("routes", index, "action"))
        elif asks(settings.routes[index]) and _sends_bytes(action):
            message = "is sent as bytes, without HTTP, to what is chosen by a request; write a status"
            yield Problem(("routes", index, "action", "response"), message)


def _may_speak(action: Action) -> bool:
    return action.type in {"handler", "block"} or speaks_http(action) or may_answer(action)


def _sends_bytes(action: Action) -> bool:
    """Whether what is sent to each client is not written as a response of HTTP."""
    return action.response is not None and not body_of(action.response).startswith(b"HTTP/")


def _local(action: Action, path: KeyPath) -> Iterator[Problem]:
    for name in _OF_TARGETS:
        if name in action.http.model_fields_set:
            message = f'has no effect for type "{action.type}": there is no target'
            yield Problem((*path, "http", file_key(name)), message)
    if "host" in action.rewrite.model_fields_set:
        yield Problem(
            (*path, "rewrite", "host"), f'has no effect for type "{action.type}": there is no target'
        )
    if action.spa and not action.index:
        yield Problem(
            (*path, "spa"), "has no effect where index is empty: it is the file that a page is answered with"
        )
