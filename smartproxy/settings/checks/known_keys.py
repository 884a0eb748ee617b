"""Every key that a configuration may have, with its table: for messages about keys."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple, get_args

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.reading.locations import KeyPath


class KnownKey(NamedTuple):
    """A key.

    :ivar table: the keys from the top level to the table that has it.
    :ivar is_required: whether it must be there.
    """

    table: tuple[str, ...]
    name: str
    is_required: bool = False


@cache
def known_keys(root: type[BaseModel]) -> tuple[KnownKey, ...]:
    """Every key of every table below ``root``."""
    return tuple(_walk(root, ()))


def is_required(path: KeyPath, root: type[BaseModel]) -> bool:
    """Whether the table of ``path`` must have that key."""
    names = tuple(step for step in path if isinstance(step, str))
    if path[-1:] != names[-1:]:
        return False
    return any(key.is_required for key in known_keys(root) if (*key.table, key.name) == names)


def _walk(table: type[BaseModel], place: tuple[str, ...]) -> Iterator[KnownKey]:
    for name, field in table.model_fields.items():
        key = field.alias or name
        yield KnownKey(place, key, field.is_required())
        for inner in _tables_in(field.annotation):
            yield from _walk(inner, (*place, key))


def _tables_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _tables_in(inner)
