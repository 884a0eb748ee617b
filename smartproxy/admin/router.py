"""Finds the endpoint of a request in a table of paths and methods.

::

    Router({
        "/healthz": {"GET": api.health},
        "/api/v1/connections/*": {"DELETE": api.end_connection},     # the segment at * is request.items[0]
        "/api/v1/certificates/*/renew": {"POST": api.renew},
    })

``*`` is one segment that is not empty. An API of a dozen paths has few of them, so these are compared one by one. HEAD is
answered wherever GET is (RFC 9110, 9.3.2); twisted.web drops the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias
from urllib.parse import unquote

from smartproxy.admin.request import AdminRequest, Reply, refusal

#: What an endpoint returns: its reply, or an awaitable of it.
Answer: TypeAlias = Reply | Awaitable[Reply]
Endpoint: TypeAlias = Callable[[AdminRequest], Answer]
Methods: TypeAlias = Mapping[str, Endpoint]


class Router:
    """Finds the endpoint of a request and calls it."""

    def __init__(self, table: Mapping[str, Methods]) -> None:
        self._exact = {path: methods for path, methods in table.items() if "*" not in path}
        self._patterns = [(path.split("/"), methods) for path, methods in table.items() if "*" in path]

    def answer(self, request: AdminRequest) -> Answer:
        """Return the endpoint's reply; 404 for an unknown path; 405 with ``Allow`` for another method."""
        methods, items = self._find(request.path)
        if methods is None:
            return refusal(404, "there is nothing at this path")
        endpoint = methods.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            return refusal(405, "this path does not take that method", (("Allow", _allowed(methods)),))
        return endpoint(request._replace(items=items))

    def _find(self, path: str) -> tuple[Methods | None, tuple[str, ...]]:
        if path in self._exact:
            return self._exact[path], ()
        segments = path.split("/")
        for pattern, methods in self._patterns:
            if _matches(pattern, segments):
                pairs = zip(pattern, segments, strict=True)
                return methods, tuple(unquote(segment) for wanted, segment in pairs if wanted == "*")
        return None, ()


def _matches(pattern: Sequence[str], segments: Sequence[str]) -> bool:
    if len(pattern) != len(segments):
        return False
    return all(
        segment if wanted == "*" else segment == wanted
        for wanted, segment in zip(pattern, segments, strict=True)
    )


def _allowed(methods: Methods) -> str:
    return ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))
