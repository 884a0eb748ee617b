"""pydantic's validation errors as problems in the words of this package."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.checks.suggestions import is_pair_without_blank, suggestion
from smartproxy.settings.checks.unknown_keys import unknown_key
from smartproxy.settings.reading.variables import SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    from smartproxy.settings.reading.locations import KeyPath

    #: What pydantic knows of an error besides its type: limits, alternatives, the exception raised.
    _Context: TypeAlias = Mapping[str, object]

#: What pydantic puts between the keys for a discriminated union: which of its alternatives was chosen.
_TAG = re.compile(r"<[a-z]+>")
#: What pydantic puts behind a key of a mapping where the key itself is wrong, and not its value.
_KEY_ITSELF = "[key]"


def problems_of(error: ValidationError, root: type[BaseModel]) -> Iterator[Problem]:
    """The problems that pydantic found in a value for ``root``."""
    missing: list[KeyPath] = []
    meant: set[KeyPath] = set()
    for detail in error.errors(include_url=False):
        location = detail["loc"]
        if location[-1:] == (_KEY_ITSELF,) and detail["input"] == location[-2]:
            location = location[:-1]
        path = _without_tags(location)
        if detail["type"] == "extra_forbidden":
            # The last is the key as written, even if it looks like a tag.
            path = (*_without_tags(detail["loc"][:-1]), detail["loc"][-1])
            unknown = unknown_key(path, root)
            if unknown.meant is not None:
                meant.add((*path[:-1], unknown.meant))
            yield Problem(path, unknown.message, is_unknown_key=True)
        elif detail["type"] == "missing":
            missing.append(path)
        else:
            yield Problem(path, _message(detail, path), at_value=is_pair_without_blank(detail["input"]))
    # A key that is there in another spelling is not reported twice.
    yield from (Problem(path, "is required") for path in missing if path not in meant)


def paths_of(error: ValidationError) -> list[KeyPath]:
    """The paths of the values that pydantic refused."""
    return [_without_tags(detail["loc"]) for detail in error.errors(include_url=False, include_context=False)]


def _without_tags(location: KeyPath) -> KeyPath:
    return tuple(key for key in location if not _TAG.fullmatch(str(key)))


def _message(detail: ErrorDetails, path: KeyPath) -> str:
    # pydantic's own text is used only for the discriminators in tables.types, which set it.
    word = _MESSAGES.get(detail["type"])
    rule = word(detail.get("ctx", {})) if word else detail["msg"]
    if path and path[-1] in SECRETS:
        return rule
    hint = suggestion(detail, path)
    return f"{rule}; {hint} {got(detail['input'])}" if hint else f"{rule} {got(detail['input'])}"


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
