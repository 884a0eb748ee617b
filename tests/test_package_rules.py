"""The rules of the house that a program can hold: sizes, marks, reasons, plugin directories, strict tests."""

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
ROOMS = ("smartproxy", "tests", "benchmarks", "docs", "tap", "twisted")
MOST_LINES = 400
#: Spelt so that this module does not carry one itself.
MARK = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")))
#: An opt-out names its codes, and after them says why.
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
    for room in ROOMS:
        for pattern in ("*.py", "*.tac"):
            yield from (ROOT / room).rglob(pattern)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def names(paths: Iterator[Path] | list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


class HouseTests(SynchronousTestCase):
    def test_the_rooms_are_there(self) -> None:
        """Otherwise the rest would be about nothing."""
        self.assertGreater(len(list(modules())), 100)

    def test_no_module_has_more_than_400_lines(self) -> None:
        self.assertEqual(names([path for path in modules() if len(lines(path)) > MOST_LINES]), [])

    def test_nothing_is_marked_as_unfinished(self) -> None:
        found = [
            f"{path.relative_to(ROOT)}:{number}"
            for path in modules()
            for number, line in enumerate(lines(path), 1)
            if MARK.search(line)
        ]
        self.assertEqual(found, [])

    def test_every_opt_out_of_the_linter_names_its_codes_and_says_why(self) -> None:
        found = [
            f"{path.relative_to(ROOT)}:{number}"
            for path in modules()
            if path != Path(__file__).resolve()
            for number, line in enumerate(lines(path), 1)
            if (opt_out := OPT_OUT.search(line)) and not REASONED.match(opt_out["rest"])
        ]
        self.assertEqual(found, [])

    def test_the_plugin_directories_are_no_packages(self) -> None:
        """With an ``__init__.py``, ours would hide Twisted's own, and everybody else's plugins."""
        self.assertTrue((ROOT / "twisted" / "plugins" / "smartproxy_plugin.py").exists())
        self.assertEqual(names((ROOT / "twisted").rglob("__init__.py")), [])

    def test_every_newsfragment_is_of_a_kind_that_towncrier_knows(self) -> None:
        with (ROOT / "pyproject.toml").open("rb") as file:
            kinds = {kind["directory"] for kind in tomllib.load(file)["tool"]["towncrier"]["type"]}
        fragments = [path.name for path in (ROOT / "newsfragments").iterdir() if path.name != ".gitignore"]
        wrong = [
            name for name in fragments if not (news := NEWS.fullmatch(name)) or news["kind"] not in kinds
        ]
        self.assertEqual(wrong, [])

    def test_every_room_of_the_architecture_page_exists_and_every_package_is_on_it(self) -> None:
        page = (ROOT / "docs" / "architecture.rst").read_text(encoding="utf-8")
        told = set(re.findall(r"^    [|`]-- ([\w.]+)", page, re.MULTILINE))
        package = ROOT / "smartproxy"
        rooms = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
        files = {path.name for path in package.glob("*.py")} - {"_version.py"}
        self.assertEqual(told, rooms | files)


class StrictPytestTests(SynchronousTestCase):
    """pytest fails what trial fails: see ``conftest.py``."""

    def outcomes(self) -> dict[str, str]:
        """By test function: ``passed``, or what else pytest says of it last."""
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
        told = re.findall(r"^(PASSED|FAILED|ERROR) test_leaves\.py::(\S+)", done.stdout, re.MULTILINE)
        # A test that passes and is found unclean afterwards is told of twice, the error last.
        return {test.replace("::", "."): outcome.lower() for outcome, test in told}

    def test_what_is_left_behind_or_lost_fails_the_test_that_did_it(self) -> None:
        outcomes = self.outcomes()
        self.assertEqual(len(outcomes), 10)
        passed = {name for name, outcome in outcomes.items() if outcome == "passed"}
        self.assertEqual({name.rpartition(".")[2] for name in passed}, CLEAN)
