"""Where a key belongs that is unknown in its table: a typing error there, or a key of another table.

Keys under the wrong parent are mostly indented wrongly. The schema knows where each key may stand, so the nearest place is
suggested: below the table first, then beside and above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import SequenceMatcher
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, get_args, get_origin

from pydantic import BaseModel

from smartproxy.settings.checks.problems import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.reading.locations import KeyPath

#: The keys that lead to a table; ``[]`` for every index of a list.
_Steps: TypeAlias = tuple[str, ...]

#: How alike two keys must be, 0 to 1: for a typing error in the table itself, for one where another table has a similar key,
#: and for a key of another table.
_ALIKE, _NEARLY_SAME, _ELSEWHERE = 0.6, 0.8, 0.85
#: Characters of a key that is compared; the longest of the schema has 30.
_LONGEST = 60


class _KnownKey(NamedTuple):
    """A key of the schema, and the table that has it."""

    key: str
    table: _Steps


def hint(path: KeyPath, root: type[BaseModel]) -> str:
    """What to do about the unknown key at ``path``: ``did you mean "ports"?``; empty where nothing is similar."""
    key, here = str(path[-1]), _steps(path[:-1])
    if len(key) > _LONGEST:
        return ""
    likeness, own, elsewhere = _similar(key, here, root)
    is_below = any(one.key == key and one.table[: len(here)] == here for one in elsewhere)
    if likeness == 1 or (likeness >= _NEARLY_SAME and not is_below):
        return f'did you mean "{own}"?'
    if elsewhere:
        places = " or ".join(_place(one.table, path[:-1]) for one in elsewhere)
        name = elsewhere[0].key
        return f"it belongs {places}" if name == key else f'did you mean "{name}" {places}?'
    return f'did you mean "{own}"?' if likeness >= _ALIKE else ""


@lru_cache(maxsize=1000)  # thousands of routes may have the same mistake
def _similar(key: str, here: _Steps, root: type[BaseModel]) -> tuple[float, str, tuple[_KnownKey, ...]]:
    """The most similar key of the table itself, with how alike it is; and the nearest tables that have such a key."""
    scored = [(_likeness(key, one.key), one) for one in _schema(root)]
    likeness, own = max(((score, one.key) for score, one in scored if one.table == here), default=(0.0, ""))
    # The same key first, wherever it is: admin.port is nearer to a stray "ports" than match.ports.
    ranks = {
        one: (score < 1, _distance(here, one.table), -score)
        for score, one in scored
        if one.table != here and score >= _ELSEWHERE
    }
    best = min(ranks.values(), default=None)
    return likeness, own, tuple(one for one, rank in ranks.items() if rank == best)


def _distance(here: _Steps, there: _Steps) -> tuple[int, int]:
    """How many tables are between the two, and how many of them above: what is below is nearer."""
    a, b = ([step for step in steps if step != "[]"] for steps in (here, there))
    common = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return len(a) + len(b) - 2 * common, len(a) - common


def _likeness(written: str, known: str) -> float:
    """0 to 1; 1 also for another spelling, and for the singular of a list's key."""
    a, b = (text.lower().replace("_", "").replace("-", "") for text in (written, known))
    if b in (a, f"{a}s"):
        return 1.0
    matcher = SequenceMatcher(None, a, b)
    may_be = matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE
    return matcher.ratio() if may_be else 0.0


def _place(table: _Steps, path: KeyPath) -> str:
    """A table as in a message: relative where it is below ``path``, with the indices of ``path`` where they agree."""
    here = _steps(path)
    if not table:
        return "at the top level"
    if here and table[: len(here)] == here:
        return f'in "{_dotted(table[len(here) :])}"'
    same = next(
        (n for n, (a, b) in enumerate(zip(table, here, strict=False)) if a != b), min(len(table), len(here))
    )
    return f'in "{".".join(filter(None, (dotted(path[:same]), _dotted(table[same:]))))}"'


def _dotted(steps: _Steps) -> str:
    return ".".join(steps).replace(".[]", "[]")


def _steps(path: KeyPath) -> _Steps:
    return tuple("[]" if isinstance(key, int) else key for key in path)


@cache
def _schema(root: type[BaseModel]) -> tuple[_KnownKey, ...]:
    """Every key of the schema with its table."""
    return tuple(dict.fromkeys(_keys(root, (), ())))


def _keys(table: type[BaseModel], steps: _Steps, above: tuple[type[BaseModel], ...]) -> Iterator[_KnownKey]:
    if table in above:  # a table within itself has no end
        return
    for name, field in table.model_fields.items():
        key = field.alias or name
        yield _KnownKey(key, steps)
        for more, inner in _tables_in(field.annotation):
            yield from _keys(inner, (*steps, key, *more), (*above, table))


def _tables_in(annotation: object) -> Iterator[tuple[_Steps, type[BaseModel]]]:
    """The tables that a value may be, or may hold as a list or as a mapping of names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield (), annotation
    origin = get_origin(annotation)
    more: _Steps = ()
    if isinstance(origin, type):
        more = (
            ("[]",) if issubclass(origin, list | tuple) else ("NAME",) if issubclass(origin, Mapping) else ()
        )
    for inner in get_args(annotation):
        for steps, table in _tables_in(inner):
            yield (*more, *steps), table
