"""The field ``Date`` (RFC 9110, 6.6.1): an answer of the proxy has it, and it is added to one of a target that has none."""

from __future__ import annotations

import time
from email.utils import formatdate

from smartproxy.wire.http_fields import line

_dated: tuple[int, str, bytes] = (0, "", b"")


def date() -> str:
    """The present second, as a value of the field."""
    return _now()[1]


def date_line() -> bytes:
    """The field with the present second."""
    return _now()[2]


def has_date(lines: bytes) -> bool:
    """Whether there is one among ``lines``, each with its CRLF."""
    return b"\ndate:" in b"\n" + lines.lower()


def missing_date(lines: bytes) -> bytes:
    """The field with the present second, if there is none among ``lines``; else nothing."""
    return b"" if has_date(lines) else date_line()


def _now() -> tuple[int, str, bytes]:
    """Made once a second."""
    global _dated  # noqa: PLW0603 - the same for the whole process
    now = int(time.time())
    if _dated[0] != now:
        text = formatdate(now, usegmt=True)
        _dated = now, text, line("Date", text)
    return _dated
