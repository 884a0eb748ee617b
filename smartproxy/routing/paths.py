"""Path patterns: ``/login``, ``/api/*`` and ``/users/:id``, anchored at both ends.

``*`` is anything, also nothing and also slashes. ``:name`` is one segment, not an empty one, where a segment
begins; the rest of the segment may follow it, as in ``/:id.json``. Everything else is itself. The path is
compared as it came: without its query, percent-encodings not decoded, ``..`` not resolved, case told apart.
A backend that resolves them is to be protected by its own rules, not by a route's path.

The path is the client's, so the time to compare must not be his to choose. Between two ``*`` the first
place that fits is as good as any other, since what follows may begin anywhere behind it. Each such piece is an atomic
group, which is never tried a second time: the time is that of reading the path, once for each piece.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: A ``:name`` where a segment begins.
_PARAMETER = re.compile(r"(?<=/):[A-Za-z_][A-Za-z0-9_]*")


def is_exact(pattern: str) -> bool:
    """Whether the pattern is one path and no other."""
    return "*" not in pattern and _PARAMETER.search(pattern) is None


def matcher(pattern: str) -> Callable[[str], bool]:
    """The question whether a path meets ``pattern``."""
    if is_exact(pattern):
        return pattern.__eq__
    fullmatch = re.compile(_expression(pattern), re.DOTALL).fullmatch
    return lambda path: fullmatch(path) is not None


def _expression(pattern: str) -> str:
    first, *rest = (_piece(piece) for piece in re.split(r"\*+", pattern))
    if not rest:
        return first
    *between, last = rest
    return "".join([f"(?>{first})", *(f"(?>.*?{piece})" for piece in between), ".*", last])


def _piece(text: str) -> str:
    # As few characters as will do: an atomic group must end at the first place where it can.
    return "[^/]+?".join(re.escape(literal) for literal in _PARAMETER.split(text))


def specificity(pattern: str | None) -> tuple[int, int]:
    """How narrow a pattern is, to be compared: exact, then the one with more literal characters, none."""
    if pattern is None:
        return (0, 0)
    if is_exact(pattern):
        return (2, 0)
    return (1, len(_PARAMETER.sub("", pattern).replace("*", "")))
