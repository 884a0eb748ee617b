"""What the schema knows already and this version does not do yet, refused with a line that says so.

One entry a feature, so that the feature takes its entry away and is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from smartproxy.settings.problems import Problem
from smartproxy.settings.tables.base import Table, file_key

if TYPE_CHECKING:
    from smartproxy.settings.reading.locations import KeyPath


class Later(NamedTuple):
    """A key of which not every value is available. ``[]`` is each item of a list; ``only``: what is."""

    path: str
    only: tuple[object, ...] = ()

    @property
    def steps(self) -> tuple[str, ...]:
        """The keys on the way to it."""
        return tuple(self.path.split("."))


LATER = (
    Later("workers", only=(1,)),
    Later("acme"),
    Later("defaults.headers"),
    Later("defaults.loadBalancing.algorithm", only=("roundRobin",)),
    Later("routes.[].headers"),
    Later("routes.[].loadBalancing.algorithm", only=("roundRobin",)),
    Later("routes.[].action.type", only=("forward", "redirect", "respond", "block", "handler")),
    Later("routes.[].action.protocol", only=("tcp", "auto")),
)


def unavailable(settings: object) -> Iterator[Problem]:
    """What of it is not available, in a mapping as a file has it or in tables."""
    for later in LATER:
        for path, value in _reached(settings, later.steps, ()):
            if value not in later.only:
                what = f"{json.dumps(value)} is" if isinstance(value, str | int | float) else "is"
                yield Problem(path, f"{what} not available in this version")


def _reached(value: Any, steps: tuple[str, ...], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if not steps:
        yield path, value
        return
    step, *rest = steps
    if step == "[]":
        for index, item in enumerate(value if isinstance(value, list | tuple) else ()):
            yield from _reached(item, tuple(rest), (*path, index))
    else:
        for inner in _said(value, step):
            yield from _reached(inner, tuple(rest), (*path, step))


def _said(value: Any, key: str) -> Iterator[Any]:
    """The value of a key, if it was written at all."""
    if isinstance(value, Mapping) and key in value:
        yield value[key]
    elif isinstance(value, Table):
        yield from (getattr(value, name) for name in value.model_fields_set if file_key(name) == key)
