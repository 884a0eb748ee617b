"""Whether a client wants an error as JSON rather than as text (Accept: RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from smartproxy.wire.http_fields import tokens

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Characters of Accept that are looked at. Browsers send 150; a longer one costs no more time.
_LONGEST: Final = 1024
#: A quality of 0 to 1 with at most three decimals (RFC 9110, 12.4.2).
_QUALITY: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_TEXTS: Final = ("text/html", "text/plain")


def wants_json(values: Iterable[str]) -> bool:
    """Whether the fields ``Accept`` with these values ask for JSON, and do not prefer HTML or plain text to it.

    JSON must be named, as ``application/json``, ``application/*`` or a type that ends in ``+json``: ``*/*`` alone, which
    curl sends, is answered with text. Where both are wanted alike, who names JSON gets it.
    """
    ranges = dict(_ranges(",".join(values)[:_LONGEST]))
    named = [
        quality for name, quality in ranges.items() if name == "application/json" or name.endswith("+json")
    ]
    json = max(named, default=ranges.get("application/*", 0.0))
    return json > 0 and json >= max(_text_quality(ranges, name) for name in _TEXTS)


def _text_quality(ranges: dict[str, float], name: str) -> float:
    """The quality of a text type: the most specific range that covers it decides."""
    return next((ranges[one] for one in (name, "text/*", "*/*") if one in ranges), 0.0)


def _ranges(accept: str) -> Iterable[tuple[str, float]]:
    """The media ranges with their qualities. One whose quality cannot be read is left out."""
    for member in tokens([accept]):
        name, *parameters = (part.strip() for part in member.split(";"))
        written = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        if _QUALITY.fullmatch(written):
            yield name, float(written)
