"""Text from the network, made safe for a log line, and lists of names for messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.model.ending import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Characters of one text. The details of Let's Encrypt have up to about 300.
LONGEST: Final = 400
#: Names that a message lists. A certificate may have 100.
MOST_NAMES: Final = 3


def one_line(text: str, longest: int = LONGEST) -> str:
    """``text`` in one line of printable ASCII; what is longer is cut and ends with ``...``."""
    plain = printable(" ".join(text[: 4 * longest].split()), 4 * longest)
    return plain if len(plain) <= longest else plain[: longest - 3] + "..."


def listed(names: Sequence[str]) -> str:
    """``a.example, b.example, c.example and 5 more``."""
    shown = ", ".join(one_line(name) for name in names[:MOST_NAMES])
    more = len(names) - MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
