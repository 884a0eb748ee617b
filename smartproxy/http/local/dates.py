"""Dates in fields (RFC 9110, 5.6.7): the form that is sent today, and the two obsolete ones, which must be read, too.

::

    Sun, 06 Nov 1994 08:49:37 GMT       IMF-fixdate
    Sunday, 06-Nov-94 08:49:37 GMT      RFC 850
    Sun Nov  6 08:49:37 1994            asctime()
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY, _LONG_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)", "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MONTH, _TIME = (
    f"(?P<month>{'|'.join(_MONTHS)})",
    "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})",
)
_FORMS: Final = tuple(
    re.compile(form)
    for form in (
        f"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",
        f"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        f"{_DAY} {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)
#: A year of two digits is one of the next 50 years, or of the past (RFC 9110, 5.6.7).
_AHEAD: Final = 50
_CENTURY: Final = 100


def parse_date(text: str, this_year: int) -> int | None:
    """Seconds since the epoch; ``None`` for what is no date.

    :param this_year: decides what a year of two digits is.
    """
    match = next((found for form in _FORMS if (found := form.fullmatch(text))), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) < len("1994"):
        year += (this_year + _AHEAD - year) // _CENTURY * _CENTURY
    second = min(int(match["second"]), 59)  # a leap second has no place in a datetime
    month = _MONTHS.index(match["month"]) + 1
    try:
        at = datetime(
            year, month, int(match["day"]), int(match["hour"]), int(match["minute"]), second, tzinfo=UTC
        )
    except ValueError:
        return None
    return int(at.timestamp())
