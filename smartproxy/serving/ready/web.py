"""One HTTP/1 response and no more: a redirect, or a page that is always the same.

What of the request is repeated in a redirect has been parsed by :mod:`smartproxy.wire.http_head`, which knows
neither control characters nor a host that is none, and what remains is escaped as RFC 3986, 2.1 has it. A
template says where the redirect leads before anything of the client's does, so that no request can turn it
elsewhere.
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

#: RFC 9110, 15.4: those that say where else.
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_FIELD = re.compile(r"\{(host|path|query)\}")
#: The authority is written out or is the host asked for, and has ended before anything else of the client's; or
#: the redirect stays on the same host, and does not begin like one that leaves it (RFC 3986, 4.2: ``//other``).
_TEMPLATE = re.compile(
    r"(?:https?://(?:\{host\}|[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?=/|\?|\{path\}|\{query\}|\Z)"
    r"|/(?![/\\{]))"
    r"(?:[!-z|~]|\{(?:host|path|query)\})*"
)
#: RFC 3986, 3.3 and 3.4: what may stand in a path and a query as it is; % is an escape that is there already.
_SAFE = "/?:@!$&'()*+,;=-._~%"


def http_redirect(to: str, status: int = 308) -> Serve:
    """Send everybody elsewhere.

    :param to: a URL, in which ``{host}``, ``{path}`` and ``{query}`` (with its ``?``) are those of the request,
        as in ``https://{host}{path}{query}``.
    :param status: 301, 302, 303, 307 or 308.
    :raises ValueError: for a template or a status that cannot be.
    """
    if not is_template(to):
        raise ValueError(f"is no template for a redirect: {to!r}")
    if status not in REDIRECTS:
        raise ValueError(f"a redirect is one of {sorted(REDIRECTS)} (got {status})")

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
    """The same response for every request.

    :param headers: besides Content-Length and Connection, which are ours.
    :raises ValueError: for a status that has no body, with one.
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
    """Whether a redirect made from it can only lead where its author wants."""
    return _TEMPLATE.fullmatch(to) is not None


def location(to: str, request: RequestHead) -> str:
    """Where ``request`` is sent."""
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
    """The head that the client sends; ``None`` where there is none, and the client has been told why."""
    patience = connection.facts.route.timeouts.initial_data or math.inf
    due = connection.seconds() + patience
    held = b""
    while True:
        verdict: Verdict[RequestHead] = http_head.parse(held)
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
    """Seconds; a byte does not make them more."""
    return None if due == math.inf else due - connection.seconds()
