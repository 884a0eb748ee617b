"""Problems of tables that a program makes, with the names of the Python API.

The tables and their messages have the keys of a file: ``maxConnections``. A program writes ``max_connections``, and must be told
that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from os import PathLike
from typing import TYPE_CHECKING, Any

from smartproxy.errors import ConfigurationError
from smartproxy.settings.checks.model_errors import problems_of
from smartproxy.settings.checks.problems import Problem, got, line_of
from smartproxy.settings.reading.locations import Source
from smartproxy.settings.tables.base import Table

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


_QUOTED = re.compile(r'(?<=")\w+(?=")')


def invalid_table(
    error: ValidationError, table: type[BaseModel], arguments: dict[str, object]
) -> ConfigurationError:
    """The problems of a call of ``table``: ``Settings: max_connection: unknown argument; did you mean ...``."""
    problems = (
        _with_python_names(_one_for_list(problem, arguments)) for problem in problems_of(error, table)
    )
    lines = [line_of(problem, Source(table.__name__)) for problem in problems]
    return ConfigurationError(list(dict.fromkeys(lines)))


def _one_for_list(problem: Problem, arguments: dict[str, object]) -> Problem:
    """``problem``, or the one that a table is in place of a list: pydantic takes the table for a list of its keys."""
    value: object = arguments
    for depth, key in enumerate(problem.path):
        if isinstance(value, Table) and isinstance(key, int):
            return Problem(problem.path[:depth], _must_be_list(value))
        if isinstance(value, Mapping):
            names = _python_names()
            value = value.get(key, value.get(names.get(key, key)) if isinstance(key, str) else None)
        else:
            value = value[key] if isinstance(value, list) and isinstance(key, int) else None
    return problem


def _must_be_list(table: object) -> str:
    return f"must be a list: put the {type(table).__name__} in brackets, [...] {got(table)}"


def _with_python_names(problem: Problem) -> Problem:
    names = _python_names()
    path = tuple(names.get(key, key) if isinstance(key, str) else key for key in problem.path)
    message = _QUOTED.sub(lambda word: names.get(word[0], word[0]), problem.message)
    if problem.is_unknown_key and len(path) == 1:
        message = message.replace("unknown key", "unknown argument", 1)
    return problem._replace(path=path, message=message)


@cache
def _python_names() -> dict[str, str]:
    """The name in Python of each key whose name in a file differs."""
    return {
        field.alias: name
        for table in _below(Table)
        for name, field in table.model_fields.items()
        if field.alias is not None and field.alias != name
    }


def _below(table: type[Table]) -> Iterable[type[Table]]:
    for inner in table.__subclasses__():
        yield inner
        yield from _below(inner)


def positional_arguments(table: type[BaseModel], arguments: tuple[object, ...]) -> ConfigurationError:
    """Why a call of ``table`` with ``arguments`` and no names is refused."""
    hint = ""
    if hasattr(table, "load") and isinstance(arguments[0], str | PathLike):
        hint = f"; to read a file: {table.__name__}.load({str(arguments[0])!r})"
    elif isinstance(arguments[0], Mapping):
        hint = f"; for a mapping: {table.__name__}(**mapping)"
    return ConfigurationError([f"{table.__name__}: takes arguments by name only{hint}"])


def no_settings(given: object) -> str:
    """Why ``given`` cannot be the settings of a proxy."""
    hint = ""
    if isinstance(given, str):
        hint = '; to read a text: Settings.parse(text, "yaml")'
    elif isinstance(given, list | tuple) or type(given).__name__ == "Route":
        hint = '; for routes: {"routes": [...]}'
    needed = "must be Settings, the path of a configuration file, or a mapping with its keys"
    return f"settings: {needed} {got(given)}{hint}"


def route_list(routes: object) -> list[Any]:
    """A copy of a list of routes, as a program gives it.

    :raises ConfigurationError: where it is no list. A route and a mapping can be iterated, too.
    """
    if isinstance(routes, Table | Mapping):
        raise ConfigurationError([f"routes: {_must_be_list(routes)}"])
    if isinstance(routes, str | bytes) or not isinstance(routes, Iterable):
        raise ConfigurationError([f"routes: must be a list of Route objects or mappings {got(routes)}"])
    return list(routes)
