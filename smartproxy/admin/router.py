"""Finds the endpoint of a request in a table of paths and methods.

::

    Router({
        "/healthz": {"GET": api.health},
        "/api/v1/connections/*": {"DELETE": api.end_connection},     # the segment at * is request.items[0]
    })

Only the last segments of a path can be ``*``, two at the most; an API of a dozen paths needs no more. HEAD is answered wherever GET is
(RFC 9110, 9.3.2); twisted.web drops the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias
from urllib.parse import unquote

from smartproxy.admin.request import AdminRequest, Reply, refusal

#: What an endpoint returns: its reply, or an awaitable of it.
Answer: TypeAlias = Reply | Awaitable[Reply]
Endpoint: TypeAlias = Callable[[AdminRequest], Answer]
Methods: TypeAlias = Mapping[str, Endpoint]
_MOST_ITEMS = 2


class Router:
    """Finds the endpoint of a request and calls it."""

    def __init__(self, table: Mapping[str, Methods]) -> None:
        self._table = table

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
        parent, stars = path, ""
        items: tuple[str, ...] = ()
        for _ in range(_MOST_ITEMS + 1):
            found = self._table.get(parent + stars)
            if found is not None:
                return found, tuple(unquote(item) for item in items)
            parent, _, item = parent.rpartition("/")
            if not item:
                break
            stars, items = f"/*{stars}", (item, *items)
        return None, ()


def _allowed(methods: Methods) -> str:
    return ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))
