"""Keys and values that the schema has and this version does not implement yet.

There is one entry per feature in :data:`LATER`. A change that implements a feature removes its entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from smartproxy.settings.checks.problems import Problem
from smartproxy.settings.tables.base import Table, file_key

if TYPE_CHECKING:
    from smartproxy.settings.reading.locations import KeyPath


class Later(NamedTuple):
    """A key of which not every value is available.

    :ivar path: the keys in a file, joined by dots; ``[]`` is each item of a list, or each value of a mapping by names.
    :ivar only: the values that are available.
    :ivar today: what to write in this version.
    """

    path: str
    only: tuple[object, ...] = ()
    today: str = ""

    @property
    def steps(self) -> tuple[str, ...]:
        """The single keys of the path."""
        return tuple(self.path.split("."))


LATER = (Later("workers", only=(1,)),)


def unavailable(settings: object) -> Iterator[Problem]:
    """What ``settings`` use and this version does not have.

    :param settings: a mapping with the keys of a file, or a table.
    """
    for later in LATER:
        for path, value in _values_at(settings, later.steps, ()):
            if value not in later.only:
                what = f"{json.dumps(value)} is" if isinstance(value, str | int | float) else "is"
                hint = f"; {later.today}" if later.today else ""
                yield Problem(path, f"{what} not available in this version{hint}")


def _values_at(value: object, steps: tuple[str, ...], path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    """The values that the keys ``steps`` lead to, each with its path."""
    if not steps:
        yield path, value
        return
    step, *rest = steps
    if step == "[]":
        for key, item in _items(value):
            yield from _values_at(item, tuple(rest), (*path, key))
    else:
        for inner in _written(value, step):
            yield from _values_at(inner, tuple(rest), (*path, step))


def _items(value: object) -> Iterator[tuple[int | str, object]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)


def _written(value: object, key: str) -> Iterator[object]:
    """The value of ``key``, if it was written at all."""
    if isinstance(value, Mapping) and key in value:
        yield value[key]
    elif isinstance(value, Table):
        yield from (getattr(value, name) for name in value.model_fields_set if file_key(name) == key)
