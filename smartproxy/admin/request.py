"""A request to the admin API and its reply, as plain values.

An endpoint is a function from :class:`AdminRequest` to :class:`Reply`. Only :mod:`smartproxy.admin.site` depends on
twisted.web.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers

JSON = "application/json"


class AdminRequest(NamedTuple):
    """A request, after the server has read all of it.

    :ivar path: without the query string.
    :ivar query: parameter name to its last value.
    :ivar items: the path segments that matched ``*`` in the router's table, decoded; empty for other paths.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: Headers
    body: bytes = b""
    items: tuple[str, ...] = ()


class Reply(NamedTuple):
    """A response.

    :ivar body: not changed any more.
    :ivar headers: in addition to those that every response has.
    """

    status: int
    body: bytes | bytearray
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def json_reply(value: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """A reply with ``value`` as JSON in printable ASCII.

    Values may hold text that a client chose (a server name, a Host). ``json`` escapes every character outside of the range
    from space to tilde, DEL included, so that the reply is safe to print on a terminal.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return Reply(status, text.encode("ascii") + b"\n", headers=headers)


def refusal(status: int, why: str, headers: tuple[tuple[str, str], ...] = (), **more: object) -> Reply:
    """An error reply: ``{"error": why}`` and the keys of ``more``."""
    return json_reply({"error": why, **more}, status, headers)
