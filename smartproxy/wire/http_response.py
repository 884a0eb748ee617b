"""Whole HTTP/1.1 responses (RFC 9112, 4): every one that smartproxy writes itself. Most of them end the connection.

::

    build_text(404)                                       # a refusal with an empty body
    build(308, headers={"Location": "https://a.example/"})
    build(200, page, {"Content-Type": "text/html"}, to_head=request.method == "HEAD")

``Content-Length`` and ``Connection`` are added here, so that no caller can frame a body wrongly.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Statuses that never have a body, nor a Content-Length (RFC 9110, 6.4.1 and 8.6).
BODILESS: Final = frozenset({204, 304})
#: Those and the one that has no content, but a Content-Length of 0 (RFC 9110, 15.3.6).
CONTENTLESS: Final = BODILESS | {205}

#: The default type of a body: text in UTF-8.
PLAIN_TEXT: Final = MappingProxyType({"Content-Type": "text/plain; charset=utf-8"})

# RFC 9110, 15.5 renamed the last four, which HTTPStatus follows only since Python 3.13.
_PHRASES: Final[Mapping[int, str]] = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}

# RFC 9110, 5.1 and 5.5: a name is a token, and a value is printable. A CR or LF in it would end the field and begin
# another, or a second response.
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~]*")
_FINAL: Final = 200


def phrase(status: int) -> str:
    """The registered reason phrase; empty where there is none."""
    return _PHRASES.get(status, "")


def build(
    status: int,
    body: bytes = b"",
    headers: Mapping[str, str] = MappingProxyType({}),
    *,
    connection: str = "close",
    to_head: bool = False,
) -> bytes:
    """One response.

    :param status: a final one. Its reason phrase is the registered one, and empty where it is not registered.
    :param headers: besides Content-Length and Connection.
    :param connection: the value of Connection; empty for none, where the connection persists.
    :param to_head: the request was HEAD: the head is the same, and the body is left out (RFC 9110, 9.3.2).
    :raises ValueError: for a status that is not final, one of :data:`CONTENTLESS` with a body, and a header that is
        not one line.
    """
    if status < _FINAL or (body and status in CONTENTLESS):
        raise ValueError(f"status {status} does not fit a response with {len(body)} bytes")
    lines = [f"HTTP/1.1 {status} {phrase(status)}"]
    for name, value in headers.items():
        line = f"{name}: {value}"
        if not _HEADER.fullmatch(line):
            raise ValueError(f"not a header field: {line!r}")
        lines.append(line)
    if status not in BODILESS:
        lines.append(f"Content-Length: {len(body)}")
    if connection:
        lines.append(f"Connection: {connection}")
    head = "\r\n".join([*lines, "", ""]).encode("ascii")
    return head if to_head else head + body


def build_text(status: int, text: str = "") -> bytes:
    """A response whose body is plain text.

    :raises ValueError: as :func:`build`.
    """
    return build(status, text.encode(), PLAIN_TEXT)
