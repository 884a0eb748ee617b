"""From a file or a text to settings, or to everything that is wrong with it.

All problems are told at once. So what only shows in the whole is looked for in the routes that are right, even where
others are not: :func:`_salvaged` sets those aside.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from smartproxy.errors import ConfigurationError, ConfigurationSyntaxError
from smartproxy.settings.checks import conflicts
from smartproxy.settings.checks.availability import unavailable
from smartproxy.settings.problems import Problem, of_validation, refusals
from smartproxy.settings.reading import json_reader as read_json
from smartproxy.settings.reading import toml_reader as read_toml
from smartproxy.settings.reading import yaml_reader as read_yaml
from smartproxy.settings.reading.locations import Document, KeyPath, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path as FilePath

    from smartproxy.settings.tables.route import Route
    from smartproxy.settings.top import Settings

_READERS: dict[str, Callable[[str], Document]] = {
    "yaml": read_yaml.read,
    "json": read_json.read,
    "toml": read_toml.read,
}
_EMPTY = "has no value; give it one, or leave it out for its default"
_ENDINGS = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml"}


def file_text(path: FilePath) -> tuple[str, str]:
    """The text of a file, and its format.

    :raises ConfigurationError: where it cannot be read, or its ending is none of ours.
    """
    format_ = _ENDINGS.get(path.suffix.lower())
    if format_ is None:
        raise ConfigurationError([f"{path}: must end in {', '.join(_ENDINGS)}"])
    try:
        return path.read_bytes().decode("utf-8-sig"), format_
    except OSError as problem:
        raise ConfigurationError([f"{path}: cannot be read: {problem.strerror or problem}"]) from None
    except UnicodeDecodeError as problem:
        line = problem.object.count(b"\n", 0, problem.start) + 1
        raise ConfigurationError([f"{path}:{line}: is not UTF-8"]) from None


def parse(model: type[Settings], text: str, format_: str, file: str) -> Settings:
    """The settings that a text says.

    :raises ConfigurationError: with every problem.
    """
    if format_ not in _READERS:
        raise ConfigurationError([f"{file}: the format must be one of {', '.join(_READERS)} (got {format_})"])
    with uncollected():
        try:
            document = _READERS[format_](text)
        except ConfigurationSyntaxError as flaw:
            raise ConfigurationError([f"{file}:{flaw.line}: {flaw.message}"]) from None
        return _validated(model, document.value, Source(file, document.marks))


@contextmanager
def uncollected() -> Iterator[None]:
    """Without garbage collection: while a big configuration is read, all is kept, and looking costs 60 % of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def with_routes(settings: Settings, routes: list[Route | Mapping[str, Any]], file: str) -> Settings:
    """``settings`` with other routes, found right.

    :raises ConfigurationError: with every problem.
    """
    said = {name: getattr(settings, name) for name in settings.model_fields_set}
    source = Source(file)
    try:
        changed = type(settings).model_validate(said | {"routes": routes})
    except ValidationError as error:
        problems = list(of_validation(error, type(settings)))
    else:
        changed.stand_in(settings.directory)
        problems = list(conflicts.problems(changed))
    if problems:
        raise ConfigurationError(refusals(problems, source))
    return changed


def _validated(model: type[Settings], value: Any, source: Source) -> Settings:
    if value is None:
        raise ConfigurationError([f"{source.file}: is empty"])
    before = [*_nothings(value, ()), *unavailable(value)]
    try:
        settings = model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        problems = _joined(before, list(of_validation(error, model)))
        problems += _salvaged(model, value, problems, source)
    else:
        settings.remember(source)
        problems = list(dict.fromkeys([*before, *conflicts.problems(settings)]))
    if problems:
        raise ConfigurationError(refusals(problems, source))
    return settings


def _nothings(value: Any, path: KeyPath) -> Iterator[Problem]:
    """Keys with nothing behind them. Silence must not open what a list was meant to close."""
    if value is None:
        yield Problem(path, _EMPTY)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _nothings(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _nothings(inner, (*path, index))


def _joined(before: list[Problem], found: list[Problem]) -> list[Problem]:
    """Both, one a place; without the own keys of a feature that is not available, which nobody knows yet."""
    empty = {problem.path for problem in before if problem.message == _EMPTY}
    beside = {problem.path[:-1] for problem in before if problem.path[-1:] in {("type",), ("mode",)}}
    malformed = {problem.path for problem in found} - empty
    told = [problem for problem in before if problem.path not in malformed]
    strange = (problem for problem in found if problem.path not in empty)
    return told + [problem for problem in strange if not (problem.unknown and problem.path[:-1] in beside)]


def _salvaged(model: type[Settings], value: Any, problems: list[Problem], source: Source) -> list[Problem]:
    """What is wrong with the whole of what is right, told with the places that it has in the file."""
    if not isinstance(value, dict) or not isinstance(value.get("routes"), list):
        return []
    routes = value["routes"]
    names = [(index, route.get("name")) for index, route in enumerate(routes) if isinstance(route, dict)]
    kept = sorted(
        set(range(len(routes))) - {p.path[1] for p in problems if p.path[1:] and p.path[0] == "routes"}
    )
    broken = {p.path[0] for p in problems if p.path} - {"routes"}
    rest = {key: inner for key, inner in value.items() if key not in broken}
    found = [
        *conflicts.names_used_twice(names),
        *_whole(model, rest | {"routes": [routes[i] for i in kept]}, kept, source),
    ]
    return [problem for problem in dict.fromkeys(found) if problem not in problems]


def _whole(
    model: type[Settings], value: dict[str, Any], indices: list[int], source: Source
) -> Iterator[Problem]:
    """What is wrong with the whole of ``value``, whose routes have these indices in the file."""
    try:
        settings = model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError:
        return
    settings.remember(source)
    for problem in conflicts.problems(settings):
        if problem.path[:1] != ("routes",):
            yield problem
        elif len(problem.path) > 1:  # and not that there is none: one of those that were set aside may be it
            _, index, *rest = problem.path
            yield problem._replace(path=("routes", indices[int(index)], *rest))
