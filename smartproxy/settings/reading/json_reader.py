"""Reads JSON (RFC 8259) strictly: no duplicate keys, no NaN, no infinity.

The standard library parses the value. When a message needs a line, a second pass over the tokens finds it; it can be simple,
because the text is known to be valid by then.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, NoReturn

from smartproxy.errors import ConfigurationSyntaxError
from smartproxy.settings.reading.json_mistakes import find_mistake
from smartproxy.settings.reading.locations import TOO_DEEP, Document, Mark, refuse_deep

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{},:]|[^][{},:"\s]+')


def read(text: str) -> Document:
    """Parse a JSON text.

    :raises ConfigurationSyntaxError: where it is not JSON, is nested too deep, or an object has a duplicate key.
    """
    duplicates = 0

    def table(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal duplicates
        made = dict(pairs)
        duplicates += len(pairs) - len(made)
        return made

    try:
        value = json.loads(text, object_pairs_hook=table, parse_float=_finite, parse_constant=_refuse)
    except json.JSONDecodeError as problem:
        mistake = find_mistake(problem)
        if mistake is not None:
            raise ConfigurationSyntaxError(mistake.line, f"not valid JSON: {mistake.message}") from None
        raise ConfigurationSyntaxError(
            problem.lineno, f"not valid JSON: {problem.msg} (column {problem.colno})"
        ) from None
    except ValueError as problem:
        raise ConfigurationSyntaxError(1, f"not valid JSON: {problem}") from None
    except RecursionError:
        raise ConfigurationSyntaxError(1, TOO_DEEP) from None
    document = Document(value, lambda: marks(text))
    refuse_deep(document)
    if duplicates:
        marks(text)  # raises with the line of the first one
    return document


def marks(text: str) -> Mark:
    """The lines of a valid JSON text.

    :raises ConfigurationSyntaxError: where an object has a duplicate key.
    """
    return _JsonScanner(text).value()


class _JsonScanner:
    """Follows the tokens of a valid text. ``_lexeme`` is the current one, ``_line`` its line."""

    def __init__(self, text: str) -> None:
        self._tokens = _lines_and_tokens(text)
        self._line, self._lexeme = next(self._tokens)

    def value(self) -> Mark:
        mark = Mark(self._line)
        if self._lexeme == "{":
            self._inside(mark, "}")
        elif self._lexeme == "[":
            self._inside(mark, "]")
        return mark

    def _inside(self, mark: Mark, end: str) -> None:
        self._step()
        while self._lexeme != end:
            line, key = self._line, self._key(mark) if end == "}" else len(mark.children)
            child = self.value()
            child.line = line  # that of the key, which may be above that of the value
            mark.children[key] = child
            self._step()
            if self._lexeme == ",":
                self._step()

    def _key(self, mark: Mark) -> str:
        key = str(json.loads(self._lexeme))
        if key in mark.children:
            first = mark.children[key].line
            raise ConfigurationSyntaxError(self._line, f'duplicate key "{key}", first in line {first}')
        self._step()  # to the colon
        self._step()  # to the value
        return key

    def _step(self) -> None:
        self._line, self._lexeme = next(self._tokens)


def _lines_and_tokens(text: str) -> Iterator[tuple[int, str]]:
    line, seen = 1, 0
    for found in _TOKEN.finditer(text):
        line += text.count("\n", seen, found.start())
        seen = found.start()
        yield line, found[0]


def _finite(number: str) -> float:
    """The standard library reads a number over 1.8e308 as infinity."""
    value = float(number)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number in JSON")
