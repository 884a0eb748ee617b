"""From an error of the YAML parser to the mistake that was made: its line, and what to write.

The parser reports in its own terms where it could not go on. ``- *.example.com`` is to it an alias with a bad name, and
``name:web`` the first line of a string that the next line continues. People make few different mistakes; each has a
function here that recognises it in the lines at and above the error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.settings.reading.mistakes import Mistake, open_quote, shown, unmatched

if TYPE_CHECKING:
    from collections.abc import Callable

    import yaml

#: Characters that cannot begin a value without quotes, as the parser would take them for syntax.
_INDICATORS: Final = "*&!%@`"
_TAB = re.compile(r" *\t\s*\S")
_BLOCK = re.compile(r"[|>][-+0-9]*\s*$")
_KEY: Final = r"\s*(?:- +)*(?P<key>[A-Za-z_][\w.-]*)"
_NO_BLANK = re.compile(rf"{_KEY}:(?!//)(?P<value>[^\s:].*)")
_PAIR = re.compile(rf"{_KEY}\s*:(?:\s|$)")
_NO_DASH_BLANK = re.compile(r"\s*-(?P<key>[A-Za-z_]\w*)\s*:")
_EQUALS = re.compile(rf"{_KEY}\s*=(?!=)\s*\S")
_HEADER = re.compile(r"\s*\[{1,2}[A-Za-z_][\w.]*\]{1,2}\s*$")
_ENVIRONMENT = re.compile(r"\$\{[^}\n]*\}?")
_ONLY_WORDS = re.compile(r"\s*(?:- +)*(?P<key>[A-Za-z_][\w-]*)\b(?!\s*:)")

NO_BLANK: Final = 'no blank after the colon: write "{key}: {value}"'
_NO_TABS: Final = "tabs cannot indent; use blanks"
_NO_COLON: Final = 'no colon after "{key}": write "{key}: VALUE"'


class _Error(NamedTuple):
    """An error of the parser. Lines are counted from 0; ``context`` is what it was reading, and ``begin`` its first line."""

    lines: list[str]
    problem: str
    line: int
    column: int
    context: str
    begin: int
    text: str
    begin_at: int

    @property
    def here(self) -> str:
        return self.lines[self.line] if self.line < len(self.lines) else ""


def find_mistake(text: str, error: yaml.MarkedYAMLError) -> Mistake | None:
    """The mistake behind ``error``; ``None`` where it is none of those that are known."""
    mark = error.problem_mark or error.context_mark
    if mark is None or "nesting depth" in (error.problem or ""):
        return None
    begin = error.context_mark or mark
    lines = re.split(r"\r\n|\r|\n", text)
    found = _Error(
        lines,
        error.problem or "",
        mark.line,
        mark.column,
        error.context or "",
        begin.line,
        "\n".join(lines),
        sum(len(line) + 1 for line in lines[: begin.line]) + begin.column,
    )
    mistake = next(filter(None, (recognise(found) for recognise in _RECOGNISED)), None)
    # What is missing at the end is reported behind the last line.
    return mistake and mistake._replace(line=min(mistake.line, len(text.splitlines())))


def mistake_in_string(text: str) -> Mistake | None:
    """The mistake in the first line of a document that is a single string, as ``routes = []`` is."""
    lines = re.split(r"\r\n|\r|\n", text)
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            return _in_line(number, line)
    return None


def _tab(error: _Error) -> Mistake | None:
    return Mistake(error.line + 1, _NO_TABS) if _TAB.match(error.here) else None


def _tab_above(error: _Error) -> Mistake | None:
    """Where nothing else was recognised: a tab may also stand in a line above, where the parser accepted it."""
    above = error.lines[error.begin : error.line]
    if any(_BLOCK.search(line) for line in above):
        return None  # the text of a block may have tabs
    for number, line in enumerate(above, error.begin):
        if _TAB.match(line):
            return Mistake(number + 1, _NO_TABS)
    return None


def _indicator(error: _Error) -> Mistake | None:
    line, column = (
        (error.begin, error.column - 1) if "scanning an a" in error.context else (error.line, error.column)
    )
    written = error.lines[line][column : column + 1] if line < len(error.lines) and column >= 0 else ""
    if "undefined tag" in error.problem or "tag" in error.context:
        return Mistake(line + 1, "quote a value that begins with !")
    is_start = "cannot start any token" in error.problem or "scanning an a" in error.context
    return (
        Mistake(line + 1, f"quote a value that begins with {written}")
        if is_start and written in _INDICATORS
        else None
    )


def _quote(error: _Error) -> Mistake | None:
    if "unknown escape" in error.problem:
        return Mistake(error.line + 1, r"write \\ for a backslash within double quotes, or use single quotes")
    if "quoted scalar" in error.context:
        return Mistake(error.begin + 1, "the quote that begins here is not closed")
    line = open_quote(error.lines[: error.line + 1])
    if line is not None:
        return Mistake(line, "the quote that begins here is not closed")
    before = error.here[: error.column].rstrip()[-1:]
    if (
        error.problem.startswith("did not find expected")
        and before in {"'", '"'}
        and error.here[error.column :]
    ):
        return Mistake(
            error.line + 1,
            f"text behind a closing quote; within a value write {before * 2} for {before}"
            if before == "'"
            else 'text behind a closing quote; within a value write \\" for "',
        )
    return None


def _bracket(error: _Error) -> Mistake | None:
    if "flow" in error.context:
        region = "\n".join(
            [error.text[error.begin_at :].split("\n")[0], *error.lines[error.begin + 1 : error.line + 1]]
        )
        if variable := _ENVIRONMENT.search(region):
            return Mistake(
                error.line + 1,
                f'quote a value with ${{...}} within {{ }} or [ ]: write "{variable[0].rstrip("}")}}}"',
            )
        found = unmatched(error.text, 0 if "flow node" in error.context else error.begin_at)
        if found is not None and found.is_open:
            return Mistake(found.line, f"{found.sign} is not closed")
        return Mistake(
            error.line + 1, f"a comma is missing before column {error.column + 1}, or a value needs quotes"
        )
    closing = error.here[error.column : error.column + 1]
    if closing in {"]", "}"}:
        return Mistake(error.line + 1, f"{closing} closes nothing")
    return None


def _no_blank(error: _Error) -> Mistake | None:
    """A line that lacks the blank after its colon, has no colon or an equals sign: the next line seems to continue it."""
    if not (
        "mapping values" in error.problem
        or "expected ':'" in error.problem
        or "document start" in error.problem
    ):
        return None
    if "document start" in error.problem:
        return mistake_in_string(error.text)
    first = error.begin if "simple key" in error.context else max(0, error.line - 3)
    for number in range(error.line, first - 1, -1):
        line = error.lines[number] if number < len(error.lines) else ""
        if number < error.line and _PAIR.match(line):
            break
        if found := _in_line(number + 1, line) if number < error.line or not _PAIR.match(line) else None:
            return found
    return None


def _in_line(number: int, line: str) -> Mistake | None:
    if _EQUALS.match(line) or _HEADER.match(line):
        return Mistake(number, 'YAML writes "key: value"; "key = value" and [table] are TOML')
    if found := _NO_BLANK.match(line):
        return Mistake(number, NO_BLANK.format(key=found["key"], value=shown(found["value"].strip(), line)))
    if found := _NO_DASH_BLANK.match(line):
        return Mistake(number, f'no blank after the -: write "- {found["key"]}: ..."')
    found = _ONLY_WORDS.match(line)
    return Mistake(number, _NO_COLON.format(key=found["key"])) if found else None


def _indentation(error: _Error) -> Mistake | None:
    number = error.line + 1
    if "'-' indicator" in error.problem:
        return Mistake(
            number,
            f"must be indented like the keys of the list item above, whose list begins in line {error.begin + 1}",
        )
    if "expected key" in error.problem and "block mapping" in error.context:
        return Mistake(
            number,
            f"is not indented like the other keys of its mapping, which begins in line {error.begin + 1}",
        )
    if "mapping values" not in error.problem:
        return None
    pair = _PAIR.match(error.here)
    if pair is not None and error.column > pair.end("key"):
        return Mistake(number, 'quote a value that contains ": "')
    return Mistake(number, "is indented below a key that has a value already")


_RECOGNISED: Final[tuple[Callable[[_Error], Mistake | None], ...]] = (
    _tab, _indicator, _bracket, _quote, _no_blank, _tab_above, _indentation,
)  # fmt: skip
