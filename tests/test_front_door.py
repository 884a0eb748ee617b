"""Root documents, packaging metadata and release tooling agree with each other and with the code."""

from __future__ import annotations

import ast
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from importlib import import_module
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("CONTRIBUTING.rst", "SECURITY.rst", "CODE_OF_CONDUCT.rst", "NEWS.rst")
#: setuptools puts these into every sdist without being told.
ALWAYS_IN_SDIST = {"README.rst", "LICENSE", "setup.cfg", "pyproject.toml"}
#: Pinned to an exact version by another requirement, which is the one to name.
PINNED_BY = {"pydantic_core": "pydantic"}
NO_DOCS = "needs the docs extra, which the lowest job does not install"


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def setup() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def entries(value: str) -> list[str]:
    return [line.strip() for line in value.splitlines() if line.strip()]


def requirements() -> dict[str, list[str]]:
    """Requirement lines by table: ``install`` and the name of each extra."""
    extras = setup()["options.extras_require"]
    return {
        "install": entries(setup()["options"]["install_requires"]),
        **{name: entries(extras[name]) for name in extras},
    }


def name_of(requirement: str) -> str:
    """The distribution's name in its canonical form (PEP 503)."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None, requirement
    return canonical(found[0])


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class DocumentTests(SynchronousTestCase):
    def test_the_sdist_contains_every_root_document(self) -> None:
        included = {name for line in entries(text("MANIFEST.in")) for name in line.split()[1:]}
        here = {path.name for path in ROOT.glob("*.rst")}
        self.assertEqual(set(DOCUMENTS) - here, set())
        self.assertEqual(here - included - ALWAYS_IN_SDIST, set())

    def test_the_documentation_includes_every_root_document(self) -> None:
        """Otherwise a page exists that readers of the built documentation never see."""
        pages = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.rst")}
        index = set(entries(pages["index"]))
        for document in DOCUMENTS:
            (page,) = [name for name, source in pages.items() if f".. include:: ../{document}" in source]
            self.assertIn(page, index)

    def test_paths_named_in_root_documents_exist(self) -> None:
        for document in (*DOCUMENTS, "README.rst"):
            for path in re.findall(r"``((?:docs|tests|smartproxy|newsfragments)/[\w./-]*)``", text(document)):
                self.assertTrue((ROOT / path).exists(), f"{document}: {path}")

    def test_make_targets_named_in_documents_exist_with_their_help(self) -> None:
        """``make help`` prints a target only if a comment explains it."""
        explained = set(re.findall(r"^([a-z]+):.* ## ", text("Makefile"), re.MULTILINE))
        named = {
            (path.name, target)
            for path in (*ROOT.glob("*.rst"), *(ROOT / "docs").glob("*.rst"))
            for target in re.findall(
                r"(?:``|^    )make ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE
            )
        }
        self.assertEqual({pair for pair in named if pair[1] not in explained}, set())
        loop = {"help", "unit", "format", "lint", "test", "docs", "lowest", "bench"}
        self.assertEqual(loop - {target for page, target in named if page == "CONTRIBUTING.rst"}, set())

    def test_the_readme_states_the_ratios_of_its_table(self) -> None:
        """A new benchmark run changes the table; the sentences above it must follow."""
        prose, _, table = text("README.rst").partition(".. benchmark-table-begin")
        rows = {
            "A connection, limits": r"short plain connection costs smartproxy ([\d.]+) times",
            "A connection with a TLS handshake": r"full TLS handshake ([\d.]+) times",
            "Bulk TCP, splice": r"a gigabyte\s+costs ([\d.]+) times",
            "TLS 1.3 terminated, bulk": r"and ([\d.]+) times with TLS termination",
        }
        for row, sentence in rows.items():
            measured = re.search(rf"^{re.escape(row)}.*? ([\d.]+) x haproxy ", table, re.MULTILINE)
            stated = re.search(sentence, prose)
            assert measured is not None, row
            assert stated is not None, row
            digits = len(stated[1].partition(".")[2])
            self.assertEqual(float(stated[1]), round(float(measured[1]), digits), row)

    def test_packages_called_public_list_their_names(self) -> None:
        public = re.search(
            r"^Python +(.*?)^configuration", text("docs/versioning.rst"), re.MULTILINE | re.DOTALL
        )
        assert public is not None
        packages = re.findall(r"``(smartproxy[\w.]*)``", public[1])
        self.assertIn("smartproxy", packages)
        for package in packages:
            self.assertTrue(import_module(package).__all__, package)

    @skipIf(find_spec("docutils") is None, NO_DOCS)
    def test_the_readme_renders_without_a_warning(self) -> None:
        """It is the long description; a package index shows broken markup as plain text."""
        from docutils.core import publish_string  # noqa: PLC0415 - comes with the docs extra

        settings = {"halt_level": 2, "report_level": 2, "file_insertion_enabled": False, "raw_enabled": False}
        self.assertTrue(publish_string(text("README.rst"), writer="html5", settings_overrides=settings))


class NewsTests(SynchronousTestCase):
    def setUp(self) -> None:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.directory = Path(made.name)
        for name in ("pyproject.toml", "NEWS.rst"):
            shutil.copy(ROOT / name, self.directory)
        shutil.copytree(ROOT / "newsfragments", self.directory / "newsfragments")
        (self.directory / "newsfragments" / "+added-by-the-test.bugfix.rst").write_text("A fault is fixed.\n")

    def build(self, *options: str) -> str:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "towncrier",
                "build",
                "--version",
                "9.9.9",
                "--date",
                "2000-01-01",
                *options,
            ],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    @skipIf(find_spec("towncrier") is None, NO_DOCS)
    def test_a_draft_shows_every_fragment_and_writes_nothing(self) -> None:
        before = (self.directory / "NEWS.rst").read_text()
        draft = self.build("--draft")
        for fragment in (self.directory / "newsfragments").glob("*.rst"):
            self.assertIn(fragment.read_text().splitlines()[0], draft)
        self.assertEqual((self.directory / "NEWS.rst").read_text(), before)

    @skipIf(find_spec("towncrier") is None, NO_DOCS)
    def test_a_release_adds_a_section_below_the_header_of_the_news(self) -> None:
        header = (self.directory / "NEWS.rst").read_text().rstrip()
        self.build("--yes")
        news = (self.directory / "NEWS.rst").read_text()
        self.assertTrue(news.startswith(header))
        title = "smartproxy 9.9.9 (2000-01-01)"
        self.assertIn(f"\n{title}\n{'-' * len(title)}\n", news)
        fixes = news.partition("\nBug fixes\n~~~~~~~~~\n")[2].partition("~~~")[0]
        self.assertIn("\n- A fault is fixed.\n", fixes)
        self.assertEqual(list((self.directory / "newsfragments").glob("*.rst")), [])


class MetadataTests(SynchronousTestCase):
    def test_classifiers_list_every_python_from_the_lowest_on(self) -> None:
        classifiers = entries(setup()["metadata"]["classifiers"])
        pattern = re.compile(r"Programming Language :: Python :: 3\.(\d+)")
        minors = [int(found[1]) for line in classifiers if (found := pattern.fullmatch(line))]
        lowest = minors[0]
        self.assertEqual(minors, list(range(lowest, lowest + len(minors))))
        self.assertEqual(setup()["options"]["python_requires"], f">=3.{lowest}")
        self.assertEqual(
            tomllib.loads(text("pyproject.toml"))["tool"]["ruff"]["target-version"], f"py3{lowest}"
        )
        searched = {int(minor) for minor in re.findall(r"python3\.(\d+)", text("Makefile"))}
        self.assertEqual(searched, set(minors))

    def test_the_licence_is_an_spdx_expression(self) -> None:
        """``license`` would become the free text of the old ``License`` field."""
        metadata = setup()["metadata"]
        self.assertNotIn("license", metadata)
        self.assertTrue(text("LICENSE").startswith(f"{metadata['license_expression']} License"))

    def test_every_import_belongs_to_a_direct_dependency(self) -> None:
        """A package that another dependency happens to install may disappear with its next version."""
        direct = {name_of(requirement) for requirement in requirements()["install"]}
        modules = imported_modules() - set(sys.stdlib_module_names) - {"smartproxy"}
        missing = {module for module in modules if not direct & distributions_of(module)}
        self.assertEqual(missing, set())

    def test_an_upper_bound_has_a_reason_in_the_comment_above_it(self) -> None:
        lines = text("setup.cfg").splitlines()
        bounded = {line for table in requirements().values() for line in table if re.search("<|==|~=", line)}
        self.assertTrue(bounded)
        for requirement in bounded:
            above = lines[lines.index(f"    {requirement}") - 1]
            self.assertTrue(above.lstrip().startswith("#"), requirement)


class LowestVersionTests(SynchronousTestCase):
    script = ROOT / ".ci" / "lowest.py"

    def test_constraints_name_every_dependency_with_its_lower_bound(self) -> None:
        done = subprocess.run(
            [sys.executable, self.script, "test"], capture_output=True, text=True, check=True, cwd="/"
        )
        wanted = requirements()["install"] + requirements()["test"]
        expected = [re.sub(r"\s*>=\s*([\w.]+).*", r"==\1", requirement) for requirement in wanted]
        self.assertEqual(done.stdout.splitlines(), expected)

    def test_a_dependency_without_a_lower_bound_is_an_error(self) -> None:
        constraints = runpy.run_path(str(self.script))["constraints"]
        self.assertEqual(list(constraints(["rich >= 13, < 99"])), ["rich==13"])
        for unbounded in ("rich", "rich < 99"):
            self.assertIn(unbounded, str(self.assertRaises(SystemExit, list, constraints([unbounded]))))


def distributions_of(module: str) -> set[str]:
    """Canonical names of the distributions that provide a module, or that pin its exact version."""
    if module in PINNED_BY:
        return {PINNED_BY[module]}
    return {canonical(name) for name in packages_distributions().get(module, [])}


def imported_modules() -> set[str]:
    """Top-level names of everything that the package imports, wherever in a module."""
    found: set[str] = set()
    for path in (ROOT / "smartproxy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
    return found
