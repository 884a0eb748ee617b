"""The table of log lines in ``docs/operations.rst`` against the log calls of the package."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
#: Levels of ``twisted.logger``. An operator has to act on the second group, so every line of it is documented.
NOTES, PROBLEMS = frozenset({"debug", "info"}), frozenset({"warn", "error", "critical"})
#: Logs a traceback, and is a bug wherever it appears: one row of the table covers all of them.
FAILURE = "failure"


def log_calls() -> Iterator[tuple[str, str]]:
    """Level and format of every call to a logger in the package."""
    for path in sorted((ROOT / "smartproxy").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                logger = node.func.value
                name = getattr(logger, "id", getattr(logger, "attr", ""))
                if name.lstrip("_") == "log" and node.func.attr in NOTES | PROBLEMS | {FAILURE}:
                    assert isinstance(node.args[0], ast.Constant), (
                        f"{path}:{node.lineno}: the format is computed"
                    )
                    yield node.func.attr, node.args[0].value


def pattern(log_format: str) -> re.Pattern[str]:
    """Matches what ``log_format`` may become; a field may be empty."""
    return re.compile(".*".join(map(re.escape, re.split(r"\{[^}]*\}", log_format))))


def documented() -> list[str]:
    """The first column of the table in the section "The log"."""
    page = (ROOT / "docs" / "operations.rst").read_text(encoding="utf-8")
    section = page.partition("\nThe log\n-------\n")[2].partition("\n---")[0]
    return re.findall(r"^``(.+?)`` ", section, re.MULTILINE)


class LogTableTests(SynchronousTestCase):
    def test_every_documented_line_is_logged(self) -> None:
        """Operators search the log, and write alerts, for what the table says."""
        formats = [pattern(log_format) for _, log_format in log_calls()]
        lines = documented()
        self.assertGreater(len(lines), 20)
        self.assertEqual([line for line in lines if not any(each.fullmatch(line) for each in formats)], [])

    def test_every_warning_and_error_is_documented(self) -> None:
        lines = documented()
        missing = [
            log_format
            for level, log_format in log_calls()
            if level in PROBLEMS and not any(pattern(log_format).fullmatch(line) for line in lines)
        ]
        self.assertEqual(missing, [])
