"""Finds brackets and quotes that do not match, in a text that a parser has refused.

A parser reports where it gave up, which may be many lines below an opening bracket that is never closed. This scan finds the
mistake itself. It knows strings and comments, and nothing else of a language. The modules
about the mistakes of one language use it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_CLOSES: Final = {"}": "{", "]": "["}
#: Strings, comments and brackets. A quote begins a string only where a value may begin: not within a word, as in ``it's``.
_TOKEN = re.compile(
    r'(?<![\w"])"(?:[^"\\]|\\.)*"|(?<![\w\'])\'[^\']*\'|(?:(?<=\s)|^)#[^\n]*|[][{}]', re.DOTALL | re.MULTILINE
)
#: A quote at the beginning of a value that has no end in its line, and the rest of that line.
_OPEN_QUOTE = re.compile(r"""(?:^|[\[{,=]|[:=-]\s)\s*(?:"(?:[^"\\\n]|\\.)*|'[^'\n]*)$""")


#: Values behind such a word are not repeated in a message.
_SECRET = re.compile(r"token|key\b|cert\b|pass|secret", re.IGNORECASE)


class Mistake(NamedTuple):
    """What was written wrong.

    :ivar line: from 1.
    :ivar message: what to write.
    """

    line: int
    message: str


class Bracket(NamedTuple):
    """A bracket that does not match.

    :ivar is_open: whether it opens and is not closed; else it closes and nothing is open.
    """

    sign: str
    line: int
    is_open: bool


def unmatched(text: str, begin: int = 0) -> Bracket | None:
    """The first closing bracket without an opening one, or else the last opening bracket that is not closed.

    :param begin: where to begin, outside of strings.
    """
    is_open: list[tuple[str, int]] = []
    for found in _TOKEN.finditer(text, begin):
        sign = found[0]
        if sign in "[{":
            is_open.append((sign, found.start()))
        elif sign in _CLOSES:
            if not is_open:
                return Bracket(sign, line_of(text, found.start()), is_open=False)
            opened, at = is_open.pop()
            if opened != _CLOSES[sign]:
                return Bracket(opened, line_of(text, at), is_open=True)
            if not is_open and begin:
                return None
    if not is_open:
        return None
    sign, at = is_open[-1]
    return Bracket(sign, line_of(text, at), is_open=True)


def open_quote(lines: list[str]) -> int | None:
    """The number, from 1, of the first line with a value whose opening quote has no end in that line."""
    for number, line in enumerate(lines, 1):
        if not line.lstrip().startswith("#") and _OPEN_QUOTE.search(_without_strings(line)):
            return number
    return None


def shown(value: str, line: str) -> str:
    """``value`` for a message, or a placeholder where its line has the key of a secret."""
    return "VALUE" if _SECRET.search(line) else value


def line_of(text: str, at: int) -> int:
    """The line, from 1, of a position."""
    return text.count("\n", 0, at) + 1


def _without_strings(line: str) -> str:
    """``line`` with its complete strings replaced by an x, and without its comment."""
    return _TOKEN.sub(
        lambda found: found[0] if found[0] in "[]{}" else "" if found[0][0] == "#" else "x", line
    )
