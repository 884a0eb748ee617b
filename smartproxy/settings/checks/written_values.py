"""From what was written to a table, and the keys that were written without a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from smartproxy.settings.checks.known_keys import is_required
from smartproxy.settings.checks.model_errors import paths_of
from smartproxy.settings.checks.problems import Problem
from smartproxy.settings.reading.locations import is_extension
from smartproxy.settings.reading.yaml_reader import plain_scalar
from smartproxy.settings.tables.base import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.reading.locations import KeyPath, Source

TableT = TypeVar("TableT", bound=Table)

EMPTY = "has no value; give it one, or leave it out for its default"
EMPTY_AND_REQUIRED = "has no value, and is required; what belongs to it must be indented below it"


def validated_table(model: type[TableT], value: object, source: Source, *, by_name: bool = False) -> TableT:
    """The table of ``value``; what came from a variable is a number or a boolean where the key does not want a string.

    :raises ValidationError: where it is not valid.
    """
    while True:
        try:
            return model.model_validate(value, by_alias=True, by_name=by_name)
        except ValidationError as error:
            if not source.give_numbers(value, paths_of(error), plain_scalar):
                raise


def empty_keys(value: object, path: KeyPath, model: type[Table]) -> Iterator[Problem]:
    """Keys without a value. Were null taken as the default, an empty value would disable an allow or block list."""
    if value is None:
        yield Problem(path, EMPTY_AND_REQUIRED if is_required(path, model) else EMPTY)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if is_extension(key) and path[1:] == path[1:2] and path[:1] in {(), ("routes",)}:
                continue
            # Without the blank after its colon, a key is "key:value" and has no value. It is reported as unknown.
            if inner is None and ":" in key:
                continue
            yield from empty_keys(inner, (*path, key), model)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from empty_keys(inner, (*path, index), model)
