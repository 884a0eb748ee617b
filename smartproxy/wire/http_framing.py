"""Which body follows a head, and every reason to refuse one (RFC 9112, 6).

Two servers that do not agree about where a message ends can be made to exchange requests of different clients. So only
what has one reading is taken: one Content-Length of digits, or ``Transfer-Encoding: chunked`` and nothing else. Both
together, either one twice, another coding, and a coding in HTTP/1.0 are refused, also where a specification would allow
them to be repaired.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.wire.verdict import Malformed

if TYPE_CHECKING:
    from smartproxy.wire.http_fields import Fields

#: A body of more than 2**63 - 1 bytes cannot be counted by every server behind us.
_LONGEST: Final = (1 << 63) - 1
_LENGTH: Final = re.compile(r"[0-9]{1,19}")
_INFORMATIONAL: Final = range(100, 200)
_BODILESS: Final = frozenset({204, 304})

OTHER_CODING: Final = Malformed("a transfer coding other than chunked")
_BOTH: Final = Malformed("Content-Length beside Transfer-Encoding")
_CODING_IN_1_0: Final = Malformed("Transfer-Encoding in HTTP/1.0")
_LENGTHS: Final = Malformed("more than one Content-Length")
_NO_LENGTH: Final = Malformed("not a Content-Length")


class Body(Enum):
    """How a body ends."""

    NONE = auto()
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()  # of an answer only


class Framing(NamedTuple):
    """A body. ``length`` is its bytes, for :attr:`Body.LENGTH`."""

    body: Body
    length: int = 0


NO_BODY: Final = Framing(Body.NONE)
_CHUNKED: Final = Framing(Body.CHUNKED)
_UNTIL_CLOSE: Final = Framing(Body.UNTIL_CLOSE)


def request_framing(fields: Fields, version: tuple[int, int]) -> Framing | Malformed:
    """The body of a request. One with neither field has none (RFC 9112, 6.3)."""
    return _declared(fields, version) or NO_BODY


def answer_framing(
    fields: Fields, version: tuple[int, int], status: int, *, to_head: bool
) -> Framing | Malformed:
    """The body of an answer.

    :param to_head: the request was HEAD: there is no body, whatever the fields say (RFC 9110, 9.3.2).
    """
    declared = _declared(fields, version)
    if isinstance(declared, Malformed):
        return declared
    if to_head or status in _INFORMATIONAL or status in _BODILESS:
        return NO_BODY
    return declared or _UNTIL_CLOSE


def _declared(fields: Fields, version: tuple[int, int]) -> Framing | Malformed | None:
    """What the fields say; ``None`` where they say nothing."""
    codings, lengths = fields.noted("transfer-encoding"), fields.noted("content-length")
    if codings:
        return _coded(codings, lengths, version)
    if not lengths:
        return None
    if len(lengths) > 1:
        return _LENGTHS
    if not _LENGTH.fullmatch(lengths[0]) or int(lengths[0]) > _LONGEST:
        return _NO_LENGTH
    length = int(lengths[0])
    return Framing(Body.LENGTH, length) if length else NO_BODY


def _coded(codings: list[str], lengths: list[str], version: tuple[int, int]) -> Framing | Malformed:
    if lengths:
        return _BOTH
    if version == (1, 0):
        return _CODING_IN_1_0
    if len(codings) == 1 and codings[0].lower() == "chunked":
        return _CHUNKED
    return OTHER_CODING
