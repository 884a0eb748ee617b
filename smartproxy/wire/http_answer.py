"""The head of an HTTP/1 answer (RFC 9112, 4): parsed in pieces, and built.

::

    parser = AnswerParser()
    verdict = parser(received)          # all bytes received so far; it looks at new ones only
    build_head(200, b"OK", lines)       # lines: fields with their CRLF
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.wire.http_fields import HEADERS_LIMIT, Fields
from smartproxy.wire.verdict import Done, Malformed, NeedMore, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

#: Longest head in bytes, with its blank line.
HEAD_LIMIT: Final = 64 * 1024

_END: Final = b"\r\n\r\n"
_BEGIN: Final = b"HTTP/1."
_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t -~\x80-\xff]*+))?")

_NOT_HTTP: Final = Malformed("not an HTTP/1 answer")
_TOO_LONG: Final = Malformed("answer head over 65536 bytes")
_TOO_MANY: Final = Malformed("over 100 header fields")
_LONG_LIST: Final = Malformed("over 100 members of Connection or Upgrade")
_NOT_FIELDS: Final = Malformed("not header fields")


class AnswerHead(NamedTuple):
    """One answer, without its body.

    :ivar status: from 100 to 599.
    :ivar reason: the reason phrase, which may be empty.
    :ivar version: major and minor.
    """

    status: int
    reason: bytes
    version: tuple[int, int]
    fields: Fields


def parse(data: bytes | bytearray | memoryview) -> Verdict[AnswerHead]:
    """Parse the head at the beginning of ``data``. ``consumed`` includes its blank line."""
    return AnswerParser()(bytes(data[:HEAD_LIMIT]))


class AnswerParser:
    """:func:`parse` for bytes that are received in pieces: called with all of them, it searches new bytes only.

    After a head it is ready for another one.

    :ivar head_of: :func:`parse_head`, or a function that remembers what it has returned; can be set between two heads.
    """

    __slots__ = ("_searched", "head_of")

    def __init__(self) -> None:
        self.head_of: Callable[[bytes], AnswerHead | Malformed] = parse_head
        self._searched = 0

    def __call__(self, data: bytes | bytearray) -> Verdict[AnswerHead]:
        """The verdict on ``data``, which begins with the bytes of the former call."""
        searched = self._searched
        end = data.find(_END, searched - 3 if searched > 3 else 0, HEAD_LIMIT)  # noqa: PLR2004 - the length of _END
        if end >= 0:
            self._searched = 0
            head = self.head_of(bytes(data[:end]))
            return head if isinstance(head, Malformed) else Done(head, end + 4)
        size = min(len(data), HEAD_LIMIT)
        self._searched = size
        if not _BEGIN.startswith(bytes(data[: len(_BEGIN)])):
            return _NOT_HTTP
        last = bytes(data[max(size - 3, 0) : size])
        missing = next(4 - count for count in (3, 2, 1, 0) if last.endswith(_END[:count]))
        return NeedMore(size + missing) if size + missing <= HEAD_LIMIT else _TOO_LONG


def parse_head(head: bytes) -> AnswerHead | Malformed:
    """Parse a complete head, without its blank line: the same bytes always give the same."""
    end = head.find(b"\r\n")
    line, block = (head, b"") if end < 0 else (head[:end], head[end + 2 :] + b"\r\n")
    match = _LINE.fullmatch(line)
    if match is None:
        return _NOT_HTTP
    try:
        fields = Fields.parse(block)
    except ValueError:
        return _NOT_FIELDS
    if len(fields) > HEADERS_LIMIT:
        return _TOO_MANY
    if fields.has_long_list():
        return _LONG_LIST
    return AnswerHead(int(match[2]), match[3] or b"", (1, int(match[1])), fields)


def build_head(status: int, reason: bytes, lines: bytes) -> bytes:
    """A head as HTTP/1.1.

    :param reason: of an answer that was parsed, or a registered phrase.
    :param lines: checked fields, each with its CRLF.
    """
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, lines)
