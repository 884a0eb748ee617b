"""Content codings of a file: which of its compressed siblings a client is sent (RFC 9110, 12.5.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from smartproxy.wire.http_fields import tokens

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Suffixes of siblings by coding. The first is the best where a client wants several alike.
SUFFIXES: Final = {"br": b".br", "zstd": b".zst", "gzip": b".gz"}
_ALIASES: Final = {"x-gzip": "gzip"}
_QUALITY: Final = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
#: Characters of Accept-Encoding and of Accept that are looked at. Browsers send 40 and 150.
_LONGEST: Final = 1024


def codings(accept_encoding: Iterable[str]) -> list[str]:
    """The codings among :data:`SUFFIXES` that a client takes and does not like less than none, the best first."""
    wanted = _qualities(accept_encoding, _ALIASES)
    other = wanted.get("*", 0.0)
    least = wanted.get("identity", 0.0)
    taken = {name: wanted.get(name, other) for name in SUFFIXES}
    return sorted((name for name, q in taken.items() if q > 0 and q >= least), key=lambda name: -taken[name])


def takes_html(accept: Iterable[str]) -> bool:
    """Whether a client asks for a page by name, as browsers do when they follow a link; ``*/*`` alone does not."""
    wanted = _qualities(accept, {})
    return wanted.get("text/html", wanted.get("text/*", 0.0)) > 0


def _qualities(values: Iterable[str], aliases: dict[str, str]) -> dict[str, float]:
    """The members of a list with their qualities. One whose quality is malformed is left out."""
    found: dict[str, float] = {}
    for member in tokens([",".join(values)[:_LONGEST]]):
        name, *parameters = (part.strip(" \t") for part in member.split(";"))
        written = [part for part in parameters if part.startswith("q=")]
        match = _QUALITY.fullmatch(written[0]) if written else None
        if match is not None or not written:
            found[aliases.get(name, name)] = float(match[1]) if match is not None else 1.0
    return found
