"""JSON (RFC 8259), strictly: no key twice, no NaN, no infinity.

The standard library reads the value. Where a line is needed, one more pass over the tokens finds it; it
may be simple, because the text is known to be valid by then.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from smartproxy.errors import ConfigurationSyntaxError
from smartproxy.settings.reading.locations import Document, Mark

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{},:]|[^][{},:"\s]+')


def read(text: str) -> Document:
    """The value of a JSON text.

    :raises ConfigurationSyntaxError: where it is no JSON, or has a key twice in one object.
    """
    repeats = 0

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeats
        made = dict(pairs)
        repeats += len(pairs) - len(made)
        return made

    try:
        value = json.loads(text, object_pairs_hook=table, parse_constant=_refuse)
    except json.JSONDecodeError as problem:
        raise ConfigurationSyntaxError(
            problem.lineno, f"not valid JSON: {problem.msg} (column {problem.colno})"
        ) from None
    except (ValueError, RecursionError) as problem:
        raise ConfigurationSyntaxError(1, f"not valid JSON: {problem}") from None
    if repeats:
        marks(text)  # finds the line of the first, and raises
    return Document(value, lambda: marks(text))


def marks(text: str) -> Mark:
    """The lines of a JSON text that is known to be valid.

    :raises ConfigurationSyntaxError: where a key stands twice in one object.
    """
    return _JsonScanner(text).value()


class _JsonScanner:
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
            child.line = line
            mark.children[key] = child
            self._step()
            if self._lexeme == ",":
                self._step()

    def _key(self, mark: Mark) -> str:
        key = str(json.loads(self._lexeme))
        if key in mark.children:
            first = mark.children[key].line
            raise ConfigurationSyntaxError(
                self._line, f'the key "{key}" stands here twice, first in line {first}'
            )
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


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number there")
