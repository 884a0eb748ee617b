"""Which endpoint answers: a table of paths, each with its methods.

::

    Router({
        "/healthz": {"GET": api.health},
        "/api/v1/connections/*": {"DELETE": api.end_connection},     # the * is asked.item
    })

A ``*`` stands for the last segment and nothing else does; an API of a dozen paths needs no more. HEAD is
answered wherever GET is (RFC 9110, 9.3.2), and twisted.web drops the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from smartproxy.admin.request import AdminRequest, Reply, refusal

#: An endpoint answers at once, or is awaited.
Answer: TypeAlias = Reply | Awaitable[Reply]
Endpoint: TypeAlias = Callable[[AdminRequest], Answer]
Methods: TypeAlias = Mapping[str, Endpoint]


class Router:
    """Finds the endpoint for a request and asks it."""

    def __init__(self, table: Mapping[str, Methods]) -> None:
        self._table = table

    def answer(self, asked: AdminRequest) -> Answer:
        """The endpoint's answer; 404 without one; 405 with ``Allow`` where only the method is wrong."""
        methods, item = self._find(asked.path)
        if methods is None:
            return refusal(404, "there is nothing at this path")
        endpoint = methods.get("GET" if asked.method == "HEAD" else asked.method)
        if endpoint is None:
            return refusal(405, "this path does not take that method", (("Allow", _allowed(methods)),))
        return endpoint(asked._replace(item=item))

    def _find(self, path: str) -> tuple[Methods | None, str]:
        exact = self._table.get(path)
        if exact is not None:
            return exact, ""
        parent, _, item = path.rpartition("/")
        return (self._table.get(f"{parent}/*"), item) if item else (None, "")


def _allowed(methods: Methods) -> str:
    return ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))
