"""pydantic's validation errors as problems in the words of this package.

For an unknown key the message suggests the nearest known one, or the table that the key belongs to.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeAlias, get_args

from pydantic import BaseModel, ValidationError

from smartproxy.settings.checks.problems import Problem, got

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pydantic_core import ErrorDetails

    from smartproxy.settings.reading.locations import KeyPath

    #: What pydantic knows of an error besides its type: limits, alternatives, the exception raised.
    _Context: TypeAlias = Mapping[str, object]

#: Keys whose values are never repeated in a message.
_SECRETS = frozenset({"token", "key", "cert"})

#: What pydantic puts between the keys for a discriminated union: which of its alternatives was chosen.
_TAG = re.compile(r"<[a-z]+>")
#: What pydantic puts behind a key of a mapping where the key itself is wrong, and not its value.
_KEY_ITSELF = "[key]"


def problems_of(error: ValidationError, root: type[BaseModel]) -> Iterator[Problem]:
    """The problems that pydantic found in a value for ``root``."""
    for detail in error.errors(include_url=False):
        location = detail["loc"]
        if location[-1:] == (_KEY_ITSELF,) and detail["input"] == location[-2]:
            location = location[:-1]
        path = _without_tags(location)
        if detail["type"] == "extra_forbidden":
            # The last is the key as written, even if it looks like a tag.
            path = (*_without_tags(detail["loc"][:-1]), detail["loc"][-1])
            yield Problem(path, _unknown_key(path, root), is_unknown_key=True)
        elif detail["type"] == "missing":
            yield Problem(path, "is required")
        else:
            yield Problem(path, _message(detail, path))


def _without_tags(location: KeyPath) -> KeyPath:
    return tuple(key for key in location if not _TAG.fullmatch(str(key)))


def _message(detail: ErrorDetails, path: KeyPath) -> str:
    # pydantic's own text is used only for the discriminators in tables.types, which set it.
    word = _MESSAGES.get(detail["type"])
    rule = word(detail.get("ctx", {})) if word else detail["msg"]
    is_secret = bool(path) and path[-1] in _SECRETS
    return rule if is_secret else f"{rule} {got(detail['input'])}"


_MESSAGES: dict[str, Callable[[_Context], str]] = {
    "value_error": lambda context: str(context["error"]),
    "bool_type": lambda _: "must be true or false",
    "int_type": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "finite_number": lambda _: "must be a number",
    "string_type": lambda _: "must be a string",
    "string_too_short": lambda _: "must not be empty",
    "too_short": lambda _: "must not be empty",
    "list_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be a mapping",
    "model_type": lambda _: "must be a mapping",
    "model_attributes_type": lambda _: "must be a mapping",
    # pydantic writes 'a', 'b' or 'c'; configurations use double quotes.
    "literal_error": lambda context: f"must be {context['expected']}".replace("'", '"'),
    "greater_than_equal": lambda context: f"must be at least {context['ge']:g}",
    "less_than_equal": lambda context: f"must be at most {context['le']:g}",
}


def _unknown_key(path: KeyPath, root: type[BaseModel]) -> str:
    key = str(path[-1])
    tables = _tables_at(path[:-1], root)
    known = {name: inner for table in tables for name, inner in _keys_of(table)}
    nearest = _nearest(key, known)
    if nearest is not None:
        return f'unknown key; did you mean "{nearest}"?'
    for name, inner in known.items():
        if any(key == inner_key for table in inner for inner_key, _ in _keys_of(table)):
            return f'unknown key; it belongs in "{name}"'
    return "unknown key"


def _nearest(key: str, known: Iterable[str]) -> str | None:
    by_lower = {name.lower(): name for name in known}
    found = get_close_matches(key.lower().replace("_", ""), by_lower, n=1)
    return by_lower[found[0]] if found else None


def _tables_at(path: KeyPath, root: type[BaseModel]) -> list[type[BaseModel]]:
    tables = [root]
    for key in path:
        if isinstance(key, str):
            tables = [
                inner for table in tables for name, found in _keys_of(table) if name == key for inner in found
            ]
    return tables


def _keys_of(table: type[BaseModel]) -> Iterator[tuple[str, list[type[BaseModel]]]]:
    """The keys of a table, each with the tables that its value may be."""
    for name, field in table.model_fields.items():
        yield field.alias or name, list(_tables_in(field.annotation))


def _tables_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _tables_in(inner)
