"""Ranges of a file (RFC 9110, 14).

One range is answered with 206. Several are answered with the whole file, as section 14.2 allows: nothing common needs them,
and many small or overlapping ones cost a server more than the file (CVE-2011-3192).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.wire.http_fields import LIST_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

_SET: Final = re.compile(r"bytes=([0-9, \t-]+)", re.IGNORECASE)
_ONE: Final = re.compile(r"([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19})")


class ByteRange(NamedTuple):
    """``length`` bytes from ``start``."""

    start: int
    length: int


class NoRange:
    """None of the ranges asked for exists."""


UNSATISFIABLE: Final = NoRange()


def byte_range(values: Sequence[str], size: int) -> ByteRange | NoRange | None:
    """The range of a file of ``size`` bytes to send; ``None`` for all of it.

    :param values: of the field Range. One that is malformed is ignored, and one of over 100 ranges; of an empty file all are, as
        by nginx and Go: to some clients, which ask for ``bytes=0-``, a 416 would be a failure.
    """
    if not size:
        return None
    match = _SET.fullmatch(values[0]) if len(values) == 1 else None
    if match is None or match[1].count(",") >= LIST_LIMIT:
        return None
    found = [_ONE.fullmatch(part.strip(" \t")) for part in match[1].split(",") if part.strip(" \t")]
    if not found or None in found:
        return None
    asked = [(int(one[1] or 0), one[2], one[3]) for one in found if one is not None]
    if any(last and int(last) < first for first, last, _ in asked):
        return None
    exist = [span for each in asked if (span := _span(*each, size)).length > 0]
    if not exist:
        return UNSATISFIABLE
    return exist[0] if len(exist) == 1 else None


def _span(first: int, last: str | None, suffix: str | None, size: int) -> ByteRange:
    if suffix is not None:
        length = min(int(suffix), size)
        return ByteRange(size - length, length)
    end = min(int(last) + 1, size) if last else size
    return ByteRange(first, end - first)
