"""Path patterns: ``/login``, ``/api/*`` and ``/users/:id``, anchored at both ends.

``*`` matches any characters, slashes included, or none. ``:name`` at the beginning of a segment matches one or more
characters up to the next slash; literal text may follow it, as in ``/:id.json``. Every other character matches
itself. The path is matched as received: without its query, case-sensitive, percent-encodings not decoded, ``..`` not
resolved. A backend that resolves them must be protected by its own rules, not by the path of a route.

The client chooses the path, and must not be able to choose the time that matching takes. Between two ``*`` the
leftmost match is as good as any other, since what follows may begin anywhere behind it. So each such piece becomes an
atomic group, which is never matched a second time, and the time is linear: the path is read once for each piece.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: A ``:name`` where a segment begins.
_PARAMETER = re.compile(r"(?<=/):[A-Za-z_][A-Za-z0-9_]*")


def names(pattern: str) -> list[str]:
    """The names in ``pattern``, in their order."""
    return [found[1:] for found in _PARAMETER.findall(pattern)]


@lru_cache(maxsize=1024)
def capture(pattern: str) -> Callable[[str], dict[str, str]]:
    """A function that gives what the names in ``pattern`` stand for in a path; nothing where it does not match."""
    found_by = re.compile(_expression(pattern), re.DOTALL).fullmatch
    of = names(pattern)

    def captured(path: str) -> dict[str, str]:
        found = found_by(path)
        return {} if found is None else dict(zip(of, found.groups(), strict=True))

    return captured


def is_exact(pattern: str) -> bool:
    """Whether the pattern matches one path only."""
    return "*" not in pattern and _PARAMETER.search(pattern) is None


def matcher(pattern: str) -> Callable[[str], bool]:
    """A function that says whether a path matches ``pattern``."""
    if is_exact(pattern):
        return pattern.__eq__
    if is_exact(begin := pattern.rstrip("*")):
        return lambda path: path.startswith(begin)
    fullmatch = re.compile(_expression(pattern), re.DOTALL).fullmatch
    return lambda path: fullmatch(path) is not None


def _expression(pattern: str) -> str:
    """The regular expression for a pattern; several ``*`` in a row are one."""
    first, *rest = (_piece(piece) for piece in re.split(r"\*+", pattern))
    if not rest:
        return first
    *between, last = rest
    return "".join([f"(?>{first})", *(f"(?>.*?{piece})" for piece in between), ".*", last])


def _piece(text: str) -> str:
    # As few characters as possible: an atomic group must end at the first place where it can.
    return "([^/]+?)".join(re.escape(literal) for literal in _PARAMETER.split(text))


def specificity(pattern: str | None) -> tuple[int, int]:
    """A sort key, greater for the more specific pattern: exact, then more literal characters, then no pattern."""
    if pattern is None:
        return (0, 0)
    if is_exact(pattern):
        return (2, 0)
    return (1, len(_PARAMETER.sub("", pattern).replace("*", "")))
