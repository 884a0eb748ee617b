"""The documentation and the public names: the reference lists each, and programs import no others."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

import smartproxy
from smartproxy import testing

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REFERENCE = (DOCS / "api.rst").read_text(encoding="utf-8")
PUBLIC = {"smartproxy", "smartproxy.testing"}
#: An indented block after ``.. code-block:: python`` or after a paragraph that ends in ``::``.
BLOCK = re.compile(r"(?:^\.\. code-block:: python|::)\n\n((?:    .*\n|\n)+)", re.MULTILINE)
IMPORT = re.compile(r"^\s*(?:from|import) smartproxy\b", re.MULTILINE)


def programs() -> Iterator[tuple[str, str]]:
    """Everything in the documentation and in ``tap/`` that imports smartproxy: where it is, and its text."""
    built = DOCS / "_build"
    for page in (ROOT / "README.rst", *(page for page in DOCS.rglob("*.rst") if built not in page.parents)):
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            if IMPORT.search(block):
                yield page.name, dedent(block)
    for program in sorted((ROOT / "tap").glob("*.tac")):
        yield program.name, program.read_text(encoding="utf-8")


def imported(source: str) -> Iterator[tuple[str, str]]:
    """Module and name of each import from smartproxy; the name of a module imported as a whole is empty."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "smartproxy":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (
                (alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "smartproxy"
            )


def referenced() -> dict[str, list[str]]:
    """The names with an entry of their own in the reference, by module; private ones are written with theirs."""
    found: dict[str, list[str]] = {}
    module = ""
    for line in REFERENCE.splitlines():
        if current := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = current[1]
        elif entry := re.match(r"\.\. (?:auto\w+|data):: (\w+)(?![\w.])", line):
            found.setdefault(module, []).append(entry[1])
    return found


class ApiReferenceTests(SynchronousTestCase):
    def test_every_public_name_has_one_entry(self) -> None:
        entries = {module: sorted(names) for module, names in referenced().items()}
        public = {"smartproxy": sorted(smartproxy.__all__), "smartproxy.testing": sorted(testing.__all__)}
        self.assertEqual(entries, public)


class DocumentedImportTests(SynchronousTestCase):
    def test_programs_import_public_names_only(self) -> None:
        found = [(place, *names) for place, source in programs() for names in imported(source)]
        self.assertGreater(len(found), 20)
        private = [
            entry
            for entry in found
            if entry[1] not in PUBLIC or (entry[2] and entry[2] not in import_module(entry[1]).__all__)
        ]
        self.assertEqual(private, [])

    def test_every_import_is_in_a_program_that_is_read(self) -> None:
        """An import outside of the blocks that the other test reads would go unnoticed."""
        for page in (ROOT / "README.rst", *DOCS.glob("*.rst")):
            text = page.read_text(encoding="utf-8")
            inside = sum(len(IMPORT.findall(block)) for block in BLOCK.findall(text))
            self.assertEqual(inside, len(IMPORT.findall(text)), page.name)
