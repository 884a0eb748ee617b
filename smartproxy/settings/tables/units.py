"""Parsers of durations, sizes and ports.

::

    seconds("4h"), seconds(100)         # 14400.0, 0.1: a bare number is milliseconds
    octets("10MiB"), octets(512)        # 10485760, 512
    ports("8000-8010"), ports(443)      # range(8000, 8011), range(443, 444)

Each raises a ``ValueError`` whose message says what the value must be; the caller adds what it is. A duration may combine
units from large to small (``"1h30m"``), as Go and systemd write it.
"""

from __future__ import annotations

import re
from math import inf

_DURATION_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION = re.compile("".join(rf"(?:({_NUMBER}){unit})?" for unit in _DURATION_UNITS))
_SIZE = re.compile(rf"({_NUMBER}) ?({'|'.join(_SIZE_UNITS)})")
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")

#: For the JSON Schema: what the parsers below accept, without the limits.
DURATION_PATTERN = f"^(?=.)({_DURATION.pattern})$"
SIZE_PATTERN = f"^{_SIZE.pattern}$"
PORTS_PATTERN = f"^{_RANGE.pattern}$"

#: A longer time means "never", which is written 0. It also keeps clock arithmetic far from an overflow.
LONGEST = 36500 * 86400.0
#: The shortest interval: timers of shorter ones would leave no time for anything else.
SHORTEST_INTERVAL = 0.001
#: Far above any buffer of a machine; a larger size is a mistake in the unit.
LARGEST = 1 << 40
HIGHEST_PORT = 65535
#: The shortest duration that is written in days, in seconds.
_DAYS_FROM = 2 * 86400.0

#: More milliseconds than this may not be divided as a float: an ``int`` above 1.8e308 raises ``OverflowError``.
_HUGE = 1e300

_DURATION_RULE = 'must be a number of milliseconds, or a string with a unit: "100ms", "30s", "5m", "4h", "7d"'
_SIZE_RULE = 'must be a number of bytes, or a string with a unit: "64KiB", "10MiB", "1GiB"'
_PORTS_RULE = 'must be a port 1..65535, or a range like "8000-8010"'
#: One status, or two with a hyphen.
STATUSES_PATTERN = "^([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?$"


def seconds(written: object) -> float:
    """A duration in seconds. A bare number is milliseconds.

    :raises ValueError: where it is neither a number nor a string with units, negative, or above 100 years.
    """
    if isinstance(written, int | float) and not isinstance(written, bool):
        value = written / 1000 if abs(written) <= _HUGE else inf
    elif isinstance(written, str) and written and (parts := _DURATION.fullmatch(written)):
        value = sum(
            float(part or 0) * size
            for part, size in zip(parts.groups(), _DURATION_UNITS.values(), strict=True)
        )
    else:
        raise ValueError(_DURATION_RULE)
    if not 0 <= value <= LONGEST:
        raise ValueError('must be 0 to 100 years ("36500d")')
    return value


def duration_text(value: float) -> str:
    """A duration in seconds as :func:`seconds` reads it: ``1h30m``, ``100ms``.

    0 and infinity, which are no limit, are ``none``. Up to two days are in hours, as configurations have them: ``24h``, and then ``7d``.
    """
    if not 0 < value <= LONGEST:
        return "none"
    left = round(value * 1000)
    written = ""
    for unit, size in _DURATION_UNITS.items():
        if unit == "d" and value < _DAYS_FROM:
            continue
        count, left = divmod(left, round(size * 1000))
        written += f"{count}{unit}" if count else ""
    return written or "0s"


def octets(written: object) -> int:
    """A size in bytes.

    :raises ValueError: where it is neither a number nor a string with a unit, negative, or above 1 TiB.
    """
    if isinstance(written, int) and not isinstance(written, bool):
        value = written
    elif isinstance(written, str) and (parts := _SIZE.fullmatch(written)):
        value = int(float(parts[1]) * _SIZE_UNITS[parts[2]])
    else:
        raise ValueError(_SIZE_RULE)
    if not 0 <= value <= LARGEST:
        raise ValueError('must be 0 to 1 TiB ("1024GiB")')
    return value


def size_text(value: int) -> str:
    """A size in bytes as :func:`octets` reads it: ``64KiB``; 0, which is no limit, is ``none``."""
    if not value:
        return "none"
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value % size == 0:
            return f"{value // size}{unit}"
    return f"{value}"


def ports(written: object) -> range:
    """A port, or a range of ports, both ends included.

    :raises ValueError: where it is neither, outside 1..65535, or ends before it begins.
    """
    text = str(written) if isinstance(written, int) and not isinstance(written, bool) else written
    found = _RANGE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(_PORTS_RULE)
    first = int(found[1])
    last = int(found[2] or first)
    if not 1 <= first <= HIGHEST_PORT or not 1 <= last <= HIGHEST_PORT:
        raise ValueError(_PORTS_RULE)
    if last < first:
        raise ValueError("must be a range that does not end before it begins")
    return range(first, last + 1)


def statuses(written: object) -> range:
    """A status of HTTP, or a range of them, both ends included.

    :raises ValueError: where it is neither, outside 100..599, or ends before it begins.
    """
    text = str(written) if isinstance(written, int) and not isinstance(written, bool) else written
    found = re.fullmatch(STATUSES_PATTERN, text) if isinstance(text, str) else None
    first, last = (int(found[1]), int(found[2] or found[1])) if found is not None else (0, 0)
    if not first <= last:
        raise ValueError("must be a range that does not end before it begins")
    if found is None:
        raise ValueError('must be a status from 100 to 599, or a range like "200-299"')
    return range(first, last + 1)
