"""One question to the admin API and one answer, as values: what an endpoint gets and what it gives.

Endpoints are functions from :class:`AdminRequest` to :class:`Reply`; only :mod:`smartproxy.admin.site` knows that
HTTP is spoken by twisted.web.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers

JSON = "application/json"


class AdminRequest(NamedTuple):
    """A request. ``item`` is the part of the path that stood for a ``*`` in the router's table."""

    method: str
    path: str
    query: dict[str, str]
    headers: Headers
    body: bytes = b""
    item: str = ""


class Reply(NamedTuple):
    """A response. ``headers`` come on top of those that every response has."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def json_reply(value: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """``value`` as JSON in printable ASCII, whatever a client may have written into it.

    ``json`` leaves only the characters from space to tilde as they are, and so escapes DEL, too.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return Reply(status, text.encode("ascii") + b"\n", headers=headers)


def refusal(status: int, why: str, headers: tuple[tuple[str, str], ...] = (), **more: object) -> Reply:
    """An error: ``{"error": why}``, and whatever else helps."""
    return json_reply({"error": why, **more}, status, headers)
