"""Problems of a configuration, and the lines that report them.

A :class:`Problem` is a key path and a message. :func:`line_of` makes the line that users see::

    proxy.yaml:12: routes[1].action.targets[0].port: must be 1..65535 or "preserve" (got 70000)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel

from smartproxy.settings.reading.locations import one_line

if TYPE_CHECKING:
    from smartproxy.settings.reading.locations import KeyPath, Source

#: Characters of a value that a message quotes: the whole line should fit a terminal.
_LONGEST_QUOTE = 60


class Problem(NamedTuple):
    """One problem.

    :ivar path: the key to change.
    :ivar message: what is wrong, or what the value must be.
    :ivar is_unknown_key: whether the problem is that no such key exists.
    :ivar at_value: whether the line to report is that where the value begins, and not that of its key.
    """

    path: KeyPath
    message: str
    is_unknown_key: bool = False
    at_value: bool = False


def line_of(problem: Problem, source: Source | None) -> str:
    """The line that reports ``problem``."""
    if source is None:
        return one_line(_said(problem.path, problem.message))
    source, path = source.locate(problem.path)
    prefix = source.prefix(path, at_value=problem.at_value)
    return one_line(prefix + _said(path, source.hidden(problem.message, path)))


def _said(path: KeyPath, message: str) -> str:
    return f"{dotted(path)}: {message}" if path else message


def lines_of(problems: Iterable[Problem], source: Source) -> list[str]:
    """The lines that report ``problems``, in the order of the file."""
    return [
        line_of(p, source) for p in sorted(problems, key=lambda p: source.order(p.path, at_value=p.at_value))
    ]


def dotted(path: KeyPath) -> str:
    """``routes[1].action.targets[0].port``."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def got(value: object) -> str:
    """``(got 70000)``: the value in the configuration, shortened, on one line."""
    if isinstance(value, BaseModel):
        return f"(got a {type(value).__name__})"
    if isinstance(value, Mapping):
        return "(got a mapping)"
    if isinstance(value, list | tuple):
        return "(got a list)"
    text = json.dumps(value, ensure_ascii=False, default=repr)
    if not text.isprintable():
        text = json.dumps(value, default=repr)
    return f"(got {text})" if len(text) <= _LONGEST_QUOTE else f"(got {text[:_LONGEST_QUOTE]}...)"
