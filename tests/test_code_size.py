"""Rules about names and sizes that a program can check."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from statistics import median

from twisted.trial.unittest import SynchronousTestCase

PACKAGE = Path(__file__).resolve().parent.parent / "smartproxy"
MAX_FUNCTION_LINES = 50
MAX_MEDIAN_LINES = 8
TWO_FIELDS = re.compile(r":(?:ivar|param) .*:(?:ivar|param) ")


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def functions():
    """The number of lines and the place of every function and method."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.end_lineno - node.lineno + 1, f"{path.relative_to(PACKAGE)}:{node.name}"


class SizeTests(SynchronousTestCase):
    def test_no_function_is_too_long(self):
        self.assertEqual([place for lines, place in functions() if lines > MAX_FUNCTION_LINES], [])

    def test_the_median_function_is_short(self):
        self.assertLess(median(lines for lines, _ in functions()), MAX_MEDIAN_LINES)


class NameTests(SynchronousTestCase):
    def test_every_class_has_a_name_of_its_own(self):
        """A private name counts as the same name: a reader who searches for it finds both."""
        names = Counter(
            node.name.lstrip("_")
            for path in modules()
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ClassDef)
        )
        self.assertEqual([name for name, count in names.items() if count > 1], [])

    def test_a_line_documents_one_attribute(self):
        lines = ((path, line) for path in modules() for line in path.read_text(encoding="utf-8").splitlines())
        self.assertEqual([f"{path.name}: {line}" for path, line in lines if TWO_FIELDS.search(line)], [])
