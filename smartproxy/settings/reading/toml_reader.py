"""Reads TOML 1.0. The standard library parses the value, and refuses duplicate keys.

When a message needs a line, a second pass over the tokens follows the headers of tables, dotted keys, arrays and inline
tables; it can be simple, because the text is known to be valid by then.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from smartproxy.errors import ConfigurationSyntaxError
from smartproxy.settings.reading.locations import TOO_DEEP, Document, Mark, refuse_deep
from smartproxy.settings.reading.toml_mistakes import find_mistake

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(
    r"#[^\n]*"
    r'|"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"' + r"|'[^'\n]*'"
    r"|[][{},.=\n]|[^][{},.=\n#\"'\s]+",
    re.DOTALL,
)
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def read(text: str) -> Document:
    """Parse a TOML text.

    :raises ConfigurationSyntaxError: where it is not TOML, or is nested too deep.
    """
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise _syntax_error(str(problem), text) from None
    except ValueError as problem:
        raise ConfigurationSyntaxError(1, f"not valid TOML: {problem}") from None
    except RecursionError:
        raise ConfigurationSyntaxError(1, TOO_DEEP) from None
    document = Document(value, lambda: marks(text))
    refuse_deep(document)
    return document


def _syntax_error(message: str, text: str) -> ConfigurationSyntaxError:
    place = _PLACE.search(message)
    is_placed = place is not None and place[1] is not None
    line = int(place[1]) if place and is_placed else text.rstrip("\n").count("\n") + 1
    problem = _PLACE.sub("", message)
    mistake = find_mistake(problem, text, line, int(place[2]) if place and is_placed else 1)
    if mistake is not None:
        return ConfigurationSyntaxError(mistake.line, f"not valid TOML: {mistake.message}")
    return ConfigurationSyntaxError(line, f"not valid TOML: {problem}")


def marks(text: str) -> Mark:
    """The lines of a valid TOML text."""
    return _TomlScanner(text).document()


class _TomlScanner:
    """Follows the tokens of a valid text. ``_lexeme`` is the current one, empty at the end, and ``_line`` its line."""

    def __init__(self, text: str) -> None:
        self._tokens = _lines_and_tokens(text)
        self._root = Mark(1)
        self._step()

    def document(self) -> Mark:
        table = self._root
        while self._lexeme:
            if self._lexeme == "\n":
                self._step()
            elif self._lexeme == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._root

    def _header(self) -> Mark:
        """``[a.b]`` or ``[[a.b]]``. A name of a list of tables on the way means the last table of it."""
        line = self._line
        self._step()
        new_item = self._lexeme == "["
        if new_item:
            self._step()
        *outer, last = self._keys()
        here = self._root
        for key in outer:
            here = _last_item(here.child(key, line))
        here = here.child(last, line)
        self._step()
        if new_item:
            self._step()
        return here.item(line) if new_item else _last_item(here)

    def _pair(self, table: Mark) -> None:
        line = self._line
        for key in self._keys():
            table = table.child(key, line)
        self._step()  # the equals sign
        self._value(table)

    def _keys(self) -> list[str]:
        keys = [self._key()]
        while self._lexeme == ".":
            self._step()
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        written = self._lexeme
        self._step()
        if written[0] in "\"'":
            return str(tomllib.loads(f"key = {written}")["key"])
        return written

    def _value(self, mark: Mark) -> None:
        if self._lexeme == "[":
            self._list(mark)
        elif self._lexeme == "{":
            self._table(mark)
        else:
            self._scalar()

    def _scalar(self) -> None:
        """A number with a point and a date with a blank are more than one token."""
        while self._lexeme and self._lexeme not in {"\n", ",", "]", "}"}:
            self._step()

    def _list(self, mark: Mark) -> None:
        self._step()
        while self._lexeme != "]":
            if self._lexeme in {"\n", ","}:
                self._step()
            else:
                self._value(mark.item(self._line))
        self._step()

    def _table(self, mark: Mark) -> None:
        self._step()
        while self._lexeme != "}":
            if self._lexeme in {"\n", ","}:
                self._step()
            else:
                self._pair(mark)
        self._step()

    def _step(self) -> None:
        self._line, self._lexeme = next(self._tokens, (0, ""))


def _last_item(mark: Mark) -> Mark:
    last = len(mark.children) - 1
    return mark.children.get(last, mark)


def _lines_and_tokens(text: str) -> Iterator[tuple[int, str]]:
    line, seen = 1, 0
    for found in _TOKEN.finditer(text):
        line += text.count("\n", seen, found.start())
        seen = found.start()
        if not found[0].startswith("#"):
            yield line, found[0]
