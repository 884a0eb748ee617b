"""From an error of the JSON parser to the mistake that was made: its line, and what to write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from smartproxy.settings.reading.mistakes import Mistake, line_of, shown, unmatched

if TYPE_CHECKING:
    import json
    from collections.abc import Callable

_COMMENT = re.compile(r"//|/\*|#")
_WORD = re.compile(r"[^\s,:\]}\"']+")
_LITERALS = {"True": "true", "False": "false", "None": "null", "yes": "true", "no": "false"}


def find_mistake(error: json.JSONDecodeError) -> Mistake | None:
    """The mistake behind ``error``; ``None`` where it is none of those that are known."""
    text, at = error.doc, error.pos
    message = _at(error.msg, text, at)
    if message:
        return Mistake(error.lineno, message)
    before = text[:at].rstrip()
    if before.endswith(",") and text[at : at + 1] in {"}", "]"}:
        return Mistake(line_of(text, len(before)), f"the comma before {text[at]} is one too many")
    if error.msg.startswith("Illegal trailing comma"):  # since Python 3.13
        return Mistake(error.lineno, "the comma at the end is one too many")
    if error.msg.startswith("Expecting ',' delimiter"):
        return _no_delimiter(text, at, len(before))
    if error.msg.startswith("Expecting"):
        bracket = unmatched(text)
        if bracket is not None and bracket.is_open and at >= len(text.rstrip()):
            return Mistake(bracket.line, f"{bracket.sign} is not closed")
    return None


def _at(problem: str, text: str, at: int) -> str:
    """The mistake that the character shows at which the parser gave up; or nothing."""
    here = text[at : at + 2]
    if _COMMENT.match(here):
        return "JSON has no comments; YAML and TOML have"
    for beginning, message in _MESSAGES:
        if problem.startswith(beginning):
            return message(here)
    if here.startswith("'"):
        return "strings are in double quotes"
    word = _WORD.match(text, at)
    return _unquoted(problem, word[0], text[text.rfind("\n", 0, at) + 1 : at]) if word else ""


#: By the beginning of the parser's message: what to write, given the characters there.
_MESSAGES: Final[tuple[tuple[str | tuple[str, ...], Callable[[str], str]], ...]] = (
    (
        ("Invalid control character", "Unterminated string"),
        lambda here: (
            r"write \t for a tab within a string"
            if here[:1] == "\t"
            else "the string that begins in this line is not closed"
        ),
    ),
    ("Invalid \\", lambda _: r"write \\ for a backslash within a string"),
    (
        "Extra data",
        lambda here: (
            f"{here[:1]} closes nothing" if here[:1] in {"}", "]"} else "text behind the end of the value"
        ),
    ),
    (
        "Expecting ':'",
        lambda here: (
            'JSON writes "key": value, not "key" = value'
            if here[:1] == "="
            else "a colon is missing after the key"
        ),
    ),
)


def _unquoted(problem: str, word: str, before: str) -> str:
    if word[0] in "{[":
        return ""
    if problem.startswith("Expecting property name"):
        return f'keys are in double quotes: write "{word}"'
    if not problem.startswith("Expecting value"):
        return ""
    is_literal = word in _LITERALS
    return (
        f"write {_LITERALS[word]}"
        if is_literal
        else f'strings are in double quotes: write "{shown(word, before)}"'
    )


def _no_delimiter(text: str, at: int, before: int) -> Mistake:
    """A comma is missing behind what stands before, or a bracket further up is not closed."""
    bracket = unmatched(text)
    if bracket is not None and bracket.is_open and text[at : at + 1] in {"", "}", "]"}:
        return Mistake(bracket.line, f"{bracket.sign} is not closed")
    return Mistake(line_of(text, before), "a comma is missing at the end of this value")
