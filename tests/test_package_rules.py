"""Rules of the repository and of its packages that a program can check.

Sizes, marks, reasons of opt-outs, plugin directories and strict tests; ``wire`` is pure, and every exception class is in
one tree. The checks of packages are also run over code that breaks their rule, because a check that cannot fail protects
nothing.
"""

from __future__ import annotations

import ast
import gc
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

import smartproxy
from smartproxy import errors

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


WIRE = "smartproxy.wire"

#: What a module of ``wire`` may import, and which names of it (``None``: all). None of these reads a clock, a file, a
#: socket, the environment or a source of randomness; a module that is missing here has not been needed so far.
PURE: dict[str, frozenset[str] | None] = {
    "__future__": None,
    "collections.abc": None,
    "enum": None,
    "http": frozenset({"HTTPStatus"}),
    "re": None,
    "socket": frozenset({"AF_INET", "AF_INET6", "inet_ntop", "inet_pton"}),
    "struct": None,
    "types": None,
    "typing": None,
}
#: Builtins that reach outside, or import what nobody sees.
IMPURE_BUILTINS = frozenset({"__import__", "breakpoint", "eval", "exec", "input", "open", "print"})


def impurities(source: str, module: str) -> list[str]:
    """What ``source`` uses that a module of ``wire`` must not, one ``line: what`` each."""
    nodes = ast.walk(ast.parse(source))
    return [f"{node.lineno}: {name}" for node in nodes for name in _forbidden(node, module)]


def _forbidden(node: ast.AST, module: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if not _may_import(alias.name, None))
    elif isinstance(node, ast.ImportFrom):
        origin = node.module or ""
        if node.level:
            parents = module.split(".")[: -node.level]
            origin = ".".join([*parents, origin] if origin else parents)
        yield from (f"{origin}.{alias.name}" for alias in node.names if not _may_import(origin, alias.name))
    elif isinstance(node, ast.Name) and node.id in IMPURE_BUILTINS:
        yield node.id


def _may_import(origin: str, name: str | None) -> bool:
    if origin == WIRE or origin.startswith(f"{WIRE}."):
        return True
    names = PURE.get(origin, frozenset())
    return names is None or name in names


class PureWireTests(SynchronousTestCase):
    def test_wire_imports_only_pure_modules_even_for_types(self) -> None:
        paths = sorted((ROOT / "smartproxy" / "wire").rglob("*.py"))
        self.assertGreater(len(paths), 10)
        found = [
            f"{path.name}:{impurity}"
            for path in paths
            for impurity in impurities(path.read_text(encoding="utf-8"), f"{WIRE}.{path.stem}")
        ]
        self.assertEqual(found, [])

    def test_all_that_is_allowed_is_in_the_standard_library(self) -> None:
        self.assertLessEqual({name.partition(".")[0] for name in PURE}, sys.stdlib_module_names)

    def test_whatever_breaks_the_rule_is_found(self) -> None:
        for source, named in [
            ("import twisted.internet.defer", "1: twisted.internet.defer"),
            ("from idna import encode", "1: idna.encode"),
            ("import time", "1: time"),
            ("from time import monotonic", "1: time.monotonic"),
            ("import struct, os", "1: os"),
            ("import socket", "1: socket"),
            ("from socket import inet_pton, create_connection", "1: socket.create_connection"),
            ("import http.client", "1: http.client"),
            ("def f():\n    import random", "2: random"),
            ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from asyncio import Task", "3: asyncio.Task"),
            ("from smartproxy import errors", "1: smartproxy.errors"),
            ("from smartproxy.model.address import Endpoint", "1: smartproxy.model.address.Endpoint"),
            ("from ..model import address", "1: smartproxy.model.address"),
            ("print()", "1: print"),
            ("__import__('select')", "1: __import__"),
        ]:  # fmt: skip
            self.assertEqual(impurities(source, f"{WIRE}.broken"), [named], source)
        for source in (
            "from . import verdict",
            "from .verdict import Done",
            "from smartproxy.wire import host",
        ):
            self.assertEqual(impurities(source, f"{WIRE}.fine"), [], source)


class ImportContractTests(SynchronousTestCase):
    """The contract of import-linter also sees what an import brings with it, which the test above does not."""

    if find_spec("importlinter") is None:
        skip = "needs import-linter, which the extra [lint] installs"

    def lint(self, *, added: str = "") -> str:
        """What import-linter says of a copy of the package with a line ``added`` to a module of ``wire``."""
        holder = TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        directory = Path(holder.name)
        copytree(ROOT / "smartproxy", directory / "smartproxy", ignore=ignore_patterns("__pycache__"))
        copy(ROOT / "setup.cfg", directory)
        with (directory / "smartproxy" / "wire" / "verdict.py").open("a", encoding="utf-8") as module:
            module.write(added)
        command = "from importlinter.cli import lint_imports_command as main; main()"
        done = subprocess.run(
            [sys.executable, "-c", command, "--no-cache", "--contract", "pure-wire"],
            cwd=directory, capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.assertEqual(done.returncode, 1 if added else 0, done.stdout + done.stderr)
        return done.stdout

    def test_an_import_of_twisted_breaks_the_contract(self) -> None:
        self.assertIn("1 kept, 0 broken", self.lint())
        said = self.lint(added="\nfrom twisted.internet import defer\n")
        self.assertIn("smartproxy.wire.verdict -> twisted", said)


def exceptions() -> set[type[BaseException]]:
    """Every exception class that is defined in the package, nested ones included."""
    for module in pkgutil.walk_packages(smartproxy.__path__, "smartproxy."):
        import_module(module.name)
    return {each for each in _below(BaseException) if f"{each.__module__}.".startswith("smartproxy.")}


def _below(base: type[BaseException]) -> Iterator[type[BaseException]]:
    for each in base.__subclasses__():
        yield each
        yield from _below(each)


def strays(classes: set[type[BaseException]]) -> list[str]:
    """The exception classes outside of the tree, but for those that never leave a parser of ``wire``."""
    return sorted(
        f"{each.__module__}.{each.__qualname__}"
        for each in classes
        if each.__module__ != errors.__name__
        and not (each.__module__.startswith(f"{WIRE}.") and each.__name__.startswith("_"))
    )


class ExceptionTreeTests(SynchronousTestCase):
    def test_every_exception_class_is_defined_in_errors(self) -> None:
        """So that whoever wants to know what can go wrong reads one module."""
        found = exceptions()
        self.assertIn(errors.PeerClosed, found)
        self.assertEqual(strays(found), [])

    def test_errors_is_one_tree(self) -> None:
        for each in exceptions():
            if each.__module__ == errors.__name__:
                self.assertTrue(issubclass(each, errors.SmartProxyError), each)

    def test_the_head_of_errors_lists_every_class(self) -> None:
        listed = errors.__doc__ or ""
        for each in exceptions():
            if each.__module__ == errors.__name__:
                self.assertRegex(listed, rf"\b{each.__name__}\b")

    def test_a_class_outside_of_the_tree_is_found(self) -> None:
        self.addCleanup(gc.collect)  # __subclasses__ forgets a class when it has been collected
        for module, name, expected in [
            ("smartproxy.net.port", "Stray", ["smartproxy.net.port.Stray"]),
            ("smartproxy.net.port", "_Stray", ["smartproxy.net.port._Stray"]),
            ("smartproxy.wire.host", "Stray", ["smartproxy.wire.host.Stray"]),
            ("smartproxy.wire.host", "_Stray", []),
        ]:
            made = type(name, (ValueError,), {"__module__": module})
            self.assertIn(made, exceptions())
            self.assertEqual(strays({made}), expected)
