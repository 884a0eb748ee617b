"""What is wrong with a configuration, in our words and with its place.

A :class:`Problem` is a path and a sentence; :func:`refusal` makes the line of it that people see::

    proxy.yaml:12: routes[1].action.targets[0].port: must be 1..65535 or "preserve" (got 70000)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from smartproxy.settings.reading.locations import KeyPath, Source

#: Keys whose values are never repeated in a message.
_SECRETS = frozenset({"token", "key", "cert"})
_LONGEST_QUOTE = 60


class Problem(NamedTuple):
    """What is wrong, and where."""

    path: KeyPath
    message: str
    #: The key that is not known, for problems that are that.
    unknown: bool = False


def refusal(problem: Problem, source: Source | None) -> str:
    """The line that tells of it."""
    place = source.at(problem.path) if source is not None else ""
    path = written(problem.path)
    return f"{place}{path}: {problem.message}" if path else f"{place}{problem.message}"


def refusals(problems: Iterable[Problem], source: Source) -> list[str]:
    """The lines that tell of them, in the order of the file."""
    return [refusal(p, source) for p in sorted(problems, key=lambda p: source.line(p.path))]


def written(path: KeyPath) -> str:
    """``routes[1].action.targets[0].port``."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def got(value: object) -> str:
    """``(got 70000)``: what was written instead, shortened."""
    if isinstance(value, Mapping | BaseModel):
        return "(got a mapping)"
    if isinstance(value, list | tuple):
        return "(got a list)"
    text = json.dumps(value, ensure_ascii=False, default=repr)
    if not text.isprintable():
        text = json.dumps(value, default=repr)
    return f"(got {text})" if len(text) <= _LONGEST_QUOTE else f"(got {text[:_LONGEST_QUOTE]}...)"


def of_validation(error: ValidationError, root: type[BaseModel]) -> Iterator[Problem]:
    """What pydantic found, in our words. Its own text is used for the shapes of :mod:`kinds` only, which wrote it."""
    for detail in error.errors(include_url=False):
        path = tuple(key for key in detail["loc"] if not str(key).startswith("<"))
        if detail["type"] == "extra_forbidden":
            yield Problem(path, _unknown(path, root), unknown=True)
        elif detail["type"] == "missing":
            yield Problem(path, "is required")
        else:
            yield Problem(path, _message(detail, path))


def _message(detail: ErrorDetails, path: KeyPath) -> str:
    say = _WORDS.get(detail["type"])
    rule = say(detail.get("ctx", {})) if say else detail["msg"]
    secret = bool(path) and path[-1] in _SECRETS
    return rule if secret else f"{rule} {got(detail['input'])}"


_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "value_error": lambda context: str(context["error"]),
    "bool_type": lambda _: "must be true or false",
    "int_type": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "finite_number": lambda _: "must be a number",
    "string_type": lambda _: "must be a text",
    "string_too_short": lambda _: "must not be empty",
    "too_short": lambda _: "must not be empty",
    "list_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be a mapping of keys",
    "model_type": lambda _: "must be a mapping of keys",
    "model_attributes_type": lambda _: "must be a mapping of keys",
    "literal_error": lambda context: f"must be {_alternatives(context['expected'])}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']:g}",
    "less_than_equal": lambda context: f"must be at most {context['le']:g}",
}


def _alternatives(expected: str) -> str:
    """What pydantic writes as ``'a', 'b' or 'c'``, with the quotes that a configuration has."""
    return expected.replace("'", '"')


def _unknown(path: KeyPath, root: type[BaseModel]) -> str:
    key = str(path[-1])
    tables = _tables_at(path[:-1], root)
    known = {name: inner for table in tables for name, inner in _keys_of(table)}
    near = _nearest(key, known)
    if near is not None:
        return f'unknown key; did you mean "{near}"?'
    for name, inner in known.items():
        if any(key == inner_key for table in inner for inner_key, _ in _keys_of(table)):
            return f'unknown key; it belongs in "{name}"'
    return "unknown key"


def _nearest(key: str, known: Iterable[str]) -> str | None:
    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(key.lower().replace("_", ""), by_lower, n=1)
    return by_lower[near[0]] if near else None


def _tables_at(path: KeyPath, root: type[BaseModel]) -> list[type[BaseModel]]:
    tables = [root]
    for key in path:
        if isinstance(key, str):
            tables = [
                inner for table in tables for name, found in _keys_of(table) if name == key for inner in found
            ]
    return tables


def _keys_of(table: type[BaseModel]) -> Iterator[tuple[str, list[type[BaseModel]]]]:
    """The keys of a table, each with the tables that may stand under it."""
    for name, field in table.model_fields.items():
        yield field.alias or name, list(_tables_in(field.annotation))


def _tables_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _tables_in(inner)
