"""Handlers that send one HTTP/1 response and close: a redirect, or a fixed response.

A redirect repeats parts of the request. :mod:`smartproxy.wire.http_head` has refused control characters and invalid
hosts in them, and the rest is percent-encoded (RFC 3986, 2.1). A template fixes the host of the redirect, or uses that
of the request, before any other part of the request, so that no request can make it an open redirect.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from smartproxy.wire import http_head, http_response
from smartproxy.wire.verdict import Malformed, NeedMore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartproxy.serving.connection import Connection, Serve
    from smartproxy.wire.http_head import RequestHead
    from smartproxy.wire.verdict import Verdict

#: The statuses with a Location (RFC 9110, 15.4).
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_FIELD = re.compile(r"\{(host|path|query)\}")
#: Either the authority is literal or ``{host}``, and ends before any other part of the request; or the redirect is a
#: path on the same host, which must not begin like a reference to another one (RFC 3986, 4.2: ``//other``).
_TEMPLATE = re.compile(
    r"(?:https?://(?:\{host\}|[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?=/|\?|\{path\}|\{query\}|\Z)"
    r"|/(?![/\\{]))"
    r"(?:[!-z|~]|\{(?:host|path|query)\})*"
)
#: Characters allowed in a path and a query (RFC 3986, 3.3 and 3.4). "%" is kept: it begins an existing escape.
_SAFE = "/?:@!$&'()*+,;=-._~%"


def http_redirect(to: str, status: int = 308) -> Serve:
    """A handler that redirects every request.

    :param to: a URL, in which ``{host}``, ``{path}`` and ``{query}`` (with its ``?``) are those of the request,
        as in ``https://{host}{path}{query}``.
    :param status: 301, 302, 303, 307 or 308.
    :raises ValueError: for another status, or a template that is not safe (:func:`is_template`).
    """
    if not is_template(to):
        raise ValueError(f"not a template for a redirect: {to!r}")
    if status not in REDIRECTS:
        raise ValueError(f"status must be one of {sorted(REDIRECTS)} (got {status})")

    async def serve(connection: Connection) -> None:
        request = await _request(connection)
        if request is None:
            return
        if request.host is None and "{host}" in to:
            await connection.write(http_response.build_text(400, "Host is missing\n"))
            return
        await connection.write(http_response.build(status, headers={"Location": location(to, request)}))

    return serve


def http_respond(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Serve:
    """A handler that sends the same response to every request.

    :param headers: besides Content-Length and Connection, which are added.
    :raises ValueError: as :func:`smartproxy.wire.http_response.build`.
    """
    default = {} if status in http_response.BODILESS else http_response.PLAIN_TEXT
    whole, without_body = (
        http_response.build(status, body, {**default, **(headers or {})}, to_head=to_head)
        for to_head in (False, True)
    )

    async def serve(connection: Connection) -> None:
        request = await _request(connection)
        if request is not None:
            await connection.write(without_body if request.method == "HEAD" else whole)

    return serve


def is_template(to: str) -> bool:
    """Whether a redirect from this template leads to the hosts that its author intends, whatever the request is."""
    return _TEMPLATE.fullmatch(to) is not None


def location(to: str, request: RequestHead) -> str:
    """The Location for ``request``."""
    host = request.host or ""
    query = request.target.partition("?")
    values = {
        "host": f"[{host}]" if ":" in host else host,
        "path": _escaped(request.path if request.path.startswith("/") else "/"),
        "query": _escaped(query[1] + query[2]),
    }
    return _FIELD.sub(lambda field: values[field[1]], to)


def _escaped(text: str) -> str:
    return quote(text, safe=_SAFE)


async def _request(connection: Connection) -> RequestHead | None:
    """Read the request head; ``None`` where there is none, after an answer that says why."""
    patience = connection.facts.route.timeouts.initial_data or math.inf
    due = connection.seconds() + patience
    held, parse = bytearray(), http_head.HeadParser()
    while True:
        verdict: Verdict[RequestHead] = parse(held)
        if isinstance(verdict, Malformed):
            await connection.write(http_head.build_refusal(verdict))
            return None
        if not isinstance(verdict, NeedMore):
            return verdict.value
        try:
            while len(held) < verdict.at_least:
                data = await connection.read(timeout=_left(connection, due))
                if not data:
                    return None
                held += data
        except TimeoutError:
            await connection.write(http_response.build_text(408))
            return None


def _left(connection: Connection, due: float) -> float | None:
    """Seconds left. Received bytes do not extend the deadline, or a client could hold a connection for ever."""
    return None if due == math.inf else due - connection.seconds()
