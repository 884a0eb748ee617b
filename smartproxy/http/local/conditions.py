"""Conditional requests (RFC 9110, 13): whether the file that a client asks for is the one that it knows.

The order is that of section 13.2.2: If-Match or else If-Unmodified-Since, then If-None-Match or else If-Modified-Since, then
the range. A date that is malformed is no condition; an entity tag that is malformed is none of the file's.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from smartproxy.http.local.dates import parse_date

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NOT_MODIFIED: Final = 304
_PRECONDITION_FAILED: Final = 412
_TAG: Final = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*"')
#: Of a list of entity tags that are looked at.
_MOST_TAGS: Final = 64


class Validators:
    """What identifies one state of a file.

    :ivar tag: a strong entity tag.
    :ivar seconds: when it was modified, in whole seconds since the epoch.
    """

    __slots__ = ("seconds", "tag")

    def __init__(self, modified: int, size: int, coding: str = "") -> None:
        self.tag = f'"{modified:x}-{size:x}{"-" if coding else ""}{coding}"'
        self.seconds = modified // 1_000_000_000

    @property
    def date(self) -> str:
        """The value of Last-Modified."""
        return formatdate(self.seconds, usegmt=True)


def status_by_conditions(asked: Mapping[str, Sequence[str]], found: Validators) -> int | None:
    """304 or 412 where the conditions say so; ``None`` where the file is to be sent.

    :param asked: the values of the request's fields, by names in lower case.
    """
    if_match = asked.get("if-match")
    if if_match:
        if not _matches(if_match, found.tag, weak=False):
            return _PRECONDITION_FAILED
    elif (before := _date(asked.get("if-unmodified-since"))) is not None and found.seconds > before:
        return _PRECONDITION_FAILED
    if_none_match = asked.get("if-none-match")
    if if_none_match:
        return _NOT_MODIFIED if _matches(if_none_match, found.tag, weak=True) else None
    since = _date(asked.get("if-modified-since"))
    return _NOT_MODIFIED if since is not None and found.seconds <= since else None


def range_is_wanted(asked: Mapping[str, Sequence[str]], found: Validators) -> bool:
    """Whether If-Range, where it is sent, names this state of the file (RFC 9110, 13.1.5): strongly, or by the exact date."""
    values = asked.get("if-range")
    if not values:
        return True
    if len(values) > 1:
        return False
    return values[0] == found.tag or _date(values) == found.seconds


def _matches(values: Sequence[str], tag: str, *, weak: bool) -> bool:
    """Whether ``*`` or one of the entity tags is ``tag``, which is strong."""
    text = ",".join(values)
    if text.strip() == "*":
        return True
    listed = _TAG.findall(text)[:_MOST_TAGS]
    return any((each.removeprefix("W/") if weak else each) == tag for each in listed)


def _date(values: Sequence[str] | None) -> int | None:
    """Seconds since the epoch; ``None`` for anything but one date."""
    return parse_date(values[0], datetime.now(UTC).year) if values and len(values) == 1 else None
