"""Rules of the repository that a program can check: sizes, marks, reasons, plugin directories, strict tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
DIRECTORIES = ("smartproxy", "tests", "benchmarks", "docs", "tap", "twisted")
MOST_LINES = 400
#: Spelt so that this module does not contain one itself.
MARK = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")))
#: An opt-out names its codes, followed by the reason.
OPT_OUT = re.compile(r"#\s*(?:ruff:\s*)?noqa(?P<rest>.*)")
REASONED = re.compile(r":\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*\s+-\s+\S+")
NEWS = re.compile(r"\+?[a-z0-9-]+\.(?P<kind>[a-z]+)\.rst")

LEAVES = """
from twisted.internet import defer, reactor
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase, TestCase


class DeferredTests(TestCase):
    def test_waits(self):
        waiting = defer.Deferred()
        reactor.callLater(0, waiting.callback, None)
        return waiting

    def test_leaves_a_call(self):
        reactor.callLater(60, int)

    def test_loses_an_error(self):
        defer.fail(ValueError("lost"))


class SynchronousTests(SynchronousTestCase):
    def test_is_clean(self):
        self.assertTrue(True)

    def test_leaves_a_call(self):
        reactor.callLater(60, int)

    def test_leaves_a_port(self):
        reactor.listenTCP(0, Factory(), interface="127.0.0.1")

    def test_loses_an_error(self):
        defer.fail(ValueError("lost"))


def test_function_is_clean():
    assert True


def test_function_leaves_a_call():
    reactor.callLater(60, int)


def test_function_loses_an_error():
    defer.fail(ValueError("lost"))
"""
CLEAN = {"test_waits", "test_is_clean", "test_function_is_clean"}


def modules() -> Iterator[Path]:
    for directory in DIRECTORIES:
        for pattern in ("*.py", "*.tac"):
            yield from (ROOT / directory).rglob(pattern)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def names(paths: Iterator[Path] | list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


class PackageRulesTests(SynchronousTestCase):
    def test_directories_are_found(self) -> None:
        """With no module found, every other rule would hold vacuously."""
        self.assertGreater(len(list(modules())), 100)

    def test_no_module_has_more_than_400_lines(self) -> None:
        self.assertEqual(names([path for path in modules() if len(lines(path)) > MOST_LINES]), [])

    def test_no_module_is_marked_as_unfinished(self) -> None:
        found = [
            f"{path.relative_to(ROOT)}:{number}"
            for path in modules()
            for number, line in enumerate(lines(path), 1)
            if MARK.search(line)
        ]
        self.assertEqual(found, [])

    def test_linter_opt_outs_have_codes_and_a_reason(self) -> None:
        found = [
            f"{path.relative_to(ROOT)}:{number}"
            for path in modules()
            if path != Path(__file__).resolve()
            for number, line in enumerate(lines(path), 1)
            if (opt_out := OPT_OUT.search(line)) and not REASONED.match(opt_out["rest"])
        ]
        self.assertEqual(found, [])

    def test_plugin_directories_are_no_packages(self) -> None:
        """With an ``__init__.py``, this directory would hide Twisted's plugins and those of other packages."""
        self.assertTrue((ROOT / "twisted" / "plugins" / "smartproxy_plugin.py").exists())
        self.assertEqual(names((ROOT / "twisted").rglob("__init__.py")), [])

    def test_newsfragments_have_a_kind_known_to_towncrier(self) -> None:
        with (ROOT / "pyproject.toml").open("rb") as file:
            kinds = {kind["directory"] for kind in tomllib.load(file)["tool"]["towncrier"]["type"]}
        fragments = [path.name for path in (ROOT / "newsfragments").iterdir() if path.name != ".gitignore"]
        wrong = [
            name for name in fragments if not (news := NEWS.fullmatch(name)) or news["kind"] not in kinds
        ]
        self.assertEqual(wrong, [])

    def test_architecture_page_lists_exactly_the_packages(self) -> None:
        page = (ROOT / "docs" / "architecture.rst").read_text(encoding="utf-8")
        listed = set(re.findall(r"^    [|`]-- ([\w.]+)", page, re.MULTILINE))
        package = ROOT / "smartproxy"
        packages = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
        files = {path.name for path in package.glob("*.py")} - {"_version.py"}
        self.assertEqual(listed, packages | files)


class StrictPytestTests(SynchronousTestCase):
    """pytest fails every test that trial fails: see ``conftest.py``."""

    def outcomes(self) -> dict[str, str]:
        """By test function, the last outcome that pytest reports: ``passed``, ``failed`` or ``error``."""
        with TemporaryDirectory() as directory:
            copy(ROOT / "tests" / "conftest.py", directory)
            (Path(directory) / "test_leaves.py").write_text(LEAVES, encoding="utf-8")
            environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:twisted", "-rA", "-q"],
                cwd=directory,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        reported = re.findall(r"^(PASSED|FAILED|ERROR) test_leaves\.py::(\S+)", done.stdout, re.MULTILINE)
        # A test that passes and is found unclean afterwards is reported twice, the error last.
        return {test.replace("::", "."): outcome.lower() for outcome, test in reported}

    def test_leftovers_and_lost_errors_fail_the_test_that_left_them(self) -> None:
        outcomes = self.outcomes()
        self.assertEqual(len(outcomes), 10)
        passed = {name for name, outcome in outcomes.items() if outcome == "passed"}
        self.assertEqual({name.rpartition(".")[2] for name in passed}, CLEAN)
