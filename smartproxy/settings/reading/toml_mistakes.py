"""From an error of the TOML parser to the mistake that was made: its line, and what to write."""

from __future__ import annotations

import re

from smartproxy.settings.reading.mistakes import Mistake, open_quote, shown, unmatched

_YAML_PAIR = re.compile(r"[\s{,-]*([A-Za-z_][\w-]*)\s*:")
_LITERALS = {"True": "true", "False": "false", "yes": "true", "no": "false"}


def find_mistake(problem: str, text: str, line: int, column: int) -> Mistake | None:
    """The mistake behind an error; ``None`` where it is none of those that are known.

    :param problem: the message of the parser, without the place.
    :param line: where the parser gave up, from 1.
    :param column: likewise.
    """
    lines = text.split("\n")
    here = lines[line - 1] if line <= len(lines) else ""
    rest = here[column - 1 :]
    if problem.startswith("Expected '='"):
        return Mistake(
            line,
            "TOML writes key = value, not key: value"
            if rest.startswith(":")
            else "= is missing after the key",
        )
    if problem.startswith("Illegal character '\\n'"):
        return Mistake(open_quote(lines[:line]) or line, "the quote in this line is not closed")
    if "'\\'" in problem:
        return Mistake(line, "write \\\\ for a backslash within double quotes, or use single quotes")
    if problem.startswith(("Invalid initial character", "Invalid statement")):
        return _no_key(line, rest, here)
    return _by_brackets(problem, text, line) or (
        _value(line, rest, here) if problem.startswith("Invalid value") else None
    )


def _by_brackets(problem: str, text: str, line: int) -> Mistake | None:
    bracket = unmatched(text)
    if bracket is not None and bracket.is_open:
        return Mistake(bracket.line, f"{bracket.sign} is not closed")
    if bracket is not None:
        return Mistake(bracket.line, f"{bracket.sign} closes nothing")
    if problem.startswith("Unclosed"):
        return Mistake(line, "a comma is missing")
    if problem.startswith("Expected newline"):
        return Mistake(line, "one key in a line, and no text behind its value")
    return None


def _no_key(line: int, rest: str, here: str) -> Mistake | None:
    if not rest.strip() and "{" in here:
        return Mistake(line, "a table in { } must end in its line; a [table] of its own may have several")
    if rest.startswith("}"):
        return Mistake(line, "the comma before } is one too many")
    if rest.startswith("{"):
        return Mistake(line, "TOML has no braces around the whole; is this JSON?")
    if pair := _YAML_PAIR.match(rest):
        return Mistake(line, f"TOML writes {pair[1]} = value, and begins an item of a list with [[routes]]")
    return None


def _value(line: int, rest: str, here: str) -> Mistake:
    word = re.split(r"[\s,\]}#]", rest, maxsplit=1)[0]
    if not word:
        return Mistake(line, "the key has no value")
    return Mistake(
        line,
        f"write {_LITERALS[word]}"
        if word in _LITERALS
        else f'strings are in quotes: write "{shown(word, here)}"',
    )
