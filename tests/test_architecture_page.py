"""``docs/architecture.rst`` and the page on a connection's life, compared with the code that they describe."""

from __future__ import annotations

import ast
import re
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "smartproxy"
DOCS = ROOT / "docs"
ARCHITECTURE = (DOCS / "architecture.rst").read_text(encoding="utf-8")
LIFE = (DOCS / "life-of-a-connection.rst").read_text(encoding="utf-8")
#: A path as the pages write it: a directory with its final slash, or a file with its suffix.
PATH = re.compile(r"[\w.-]+/(?:[\w.-]+/)*(?:[\w.-]+\.\w+)?|[\w.-]+\.(?:py|cfg|toml|rst|yaml|tac)")
CLASS = re.compile(r"_?[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*")
#: Written ``Class.attribute``.
MEMBER = re.compile(rf"({CLASS.pattern})\.(\w+)")
#: Classes of others that the pages name without their module.
FOREIGN = {"IService": "twisted.application.service"}
#: Written like a class: an HTTP header.
NO_CLASSES = {"Host"}
#: Calls of ``carry`` that are no steps of the path: questions, and what the path does for itself.
NO_STEPS = {"look_inside.is_due", "timeouts.watch", "clock", "_probe"}
#: Directories of tests that mirror no package: the whole path in memory, real peers, pytest-twisted, fuzzing.
WHOLE = {"sessions", "live", "embedded", "fuzz"}


def literals(page: str) -> list[str]:
    return re.findall(r"``([^`]+)``", page)


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in PACKAGE.rglob("*.py"):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def members() -> dict[str, set[str]]:
    """Every class of the package, with the names that it or its methods define."""
    return {
        node.name: {
            *(item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)),
            *(item.attr for item in ast.walk(node) if isinstance(item, ast.Attribute)),
            *(item.id for item in ast.walk(node) if isinstance(item, ast.Name)),
        }
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }


def exists(path: str) -> bool:
    return any((base / path).exists() for base in (ROOT, PACKAGE))


def layers() -> list[str]:
    """The packages and modules directly in smartproxy, in the order of the import contract."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    contract = setup["importlinter:contract:order"]
    unlayered = [name for name in contract["exhaustive_ignores"].split() if name != "_version"]
    return [*re.split(r"[\s|:]+", contract["layers"].strip()), *unlayered]


def described() -> list[str]:
    """The names in the page's tree of smartproxy, without ``__init__.py``."""
    tree = re.findall(r"^    [|`]-- ([\w.]+)", ARCHITECTURE, re.MULTILINE)
    assert tree[0] == "__init__.py"
    return tree[1:]


def steps() -> list[str]:
    """What ``ConnectionPath.carry`` calls, by first call; what handles refusals and failures is left out."""
    session = ast.parse((PACKAGE / "session.py").read_text(encoding="utf-8"))
    (carry,) = (
        node for node in ast.walk(session) if isinstance(node, ast.AsyncFunctionDef) and node.name == "carry"
    )
    handled = {node for handler in ast.walk(carry) if isinstance(handler, ast.ExceptHandler)
               for node in ast.walk(handler)}  # fmt: skip
    calls = [node for node in ast.walk(carry) if isinstance(node, ast.Call) and node not in handled]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    called = [ast.unparse(call.func) for call in calls]
    own = [name.removeprefix("self.") for name in called if name.startswith("self.")]
    own = ["registry.close" if name == "_close" else name for name in own]
    return [name for name in dict.fromkeys(own) if name not in NO_STEPS]


def imports(module: str, name: str = "") -> dict[str, list[int]]:
    """The modules that import ``module``, or ``name`` from it, each with the columns of these imports."""
    found: dict[str, list[int]] = {}
    for path, tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or node.module != module:
                continue
            if not name or name in {alias.name for alias in node.names}:
                found.setdefault(path.relative_to(PACKAGE).as_posix(), []).append(node.col_offset)
    return found


def modules_of_tests() -> Iterator[Path]:
    for path in (ROOT / "tests").rglob("test_*.py"):
        yield path.relative_to(ROOT / "tests")


class ArchitecturePageTests(SynchronousTestCase):
    def test_every_path_exists(self) -> None:
        paths = [name for name in literals(ARCHITECTURE) if PATH.fullmatch(name)]
        self.assertGreater(len(paths), 15)
        self.assertEqual([path for path in paths if not exists(path)], [])

    def test_every_path_in_the_trees_exists(self) -> None:
        trees = re.findall(r"^    (?!.*::).*$", ARCHITECTURE.partition("Dependency order")[0], re.MULTILINE)
        named = [
            name for line in trees for name in re.findall(r"(?<![\w./-])[\w.-]+/[\w./-]*|[\w.-]+\.py\b", line)
        ]
        nested = (
            "",
            "smartproxy",
            "smartproxy/http",
            "smartproxy/serving",
            "smartproxy/tls",
            "smartproxy/upstream",
            "tests",
        )
        missing = [name for name in named if not any((ROOT / base / name).exists() for base in nested)]
        self.assertGreater(len(named), 25)
        # Said to be absent.
        self.assertEqual(missing, ["__init__.py"] if missing else [])

    def test_every_class_and_member_exists(self) -> None:
        there = members()
        missing = []
        for name in (*literals(ARCHITECTURE), *literals(LIFE)):
            if member := MEMBER.fullmatch(name):
                found = member[2] in there.get(member[1], ())
            elif name in FOREIGN:
                found = hasattr(import_module(FOREIGN[name]), name)
            else:
                found = name in there or name in NO_CLASSES or CLASS.fullmatch(name) is None
            missing += [] if found else [name]
        self.assertEqual(missing, [])

    def test_every_dotted_name_can_be_imported(self) -> None:
        dotted = [
            name for name in literals(ARCHITECTURE) if re.fullmatch(r"(smartproxy|twisted)(\.\w+)+", name)
        ]
        self.assertGreater(len(dotted), 2)
        for name in dotted:
            module, _, attribute = name.rpartition(".")
            if not hasattr(import_module(module), attribute):
                import_module(name)

    def test_packages_are_listed_in_the_order_of_the_import_contract(self) -> None:
        self.assertEqual([name.removesuffix(".py") for name in described()], layers())

    def test_every_listed_package_exists_as_it_is_written(self) -> None:
        for name in described():
            self.assertTrue(
                (PACKAGE / name / "__init__.py" if "." not in name else PACKAGE / name).exists(), name
            )

    def test_steps_are_in_the_order_of_the_calls_in_carry(self) -> None:
        listed = ARCHITECTURE.partition(".. phases-begin")[2].partition(".. phases-end")[0]
        self.assertEqual(re.findall(r"^\d+\. ``([\w.]+)``", listed, re.MULTILINE), steps())

    def test_only_the_channel_uses_the_bindings_beneath_pyopenssl(self) -> None:
        self.assertEqual(set(imports("OpenSSL._util")), {"tls/channel.py"})

    def test_no_module_imports_the_reactor_at_module_level(self) -> None:
        """Importing it installs a reactor. The modules that the page names do so inside of a function."""
        found = imports("twisted.internet", "reactor")
        self.assertEqual(set(found), {"cli/foreground.py", "proxy/service.py", "tap.py", "workers/worker.py"})
        self.assertNotIn(0, [column for columns in found.values() for column in columns])

    def test_tests_have_one_directory_per_package(self) -> None:
        packages = {name for name in layers() if (PACKAGE / name).is_dir()}
        directories = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
        self.assertEqual(directories - WHOLE, packages)

    def test_a_test_named_after_a_module_is_in_its_package(self) -> None:
        packages: dict[str, set[str]] = {}
        for path in PACKAGE.glob("*/**/*.py"):
            packages.setdefault(path.stem, set()).add(path.relative_to(PACKAGE).parts[0])
        misplaced = [
            str(test)
            for test in modules_of_tests()
            if len(test.parts) > 1 and test.parts[0] not in WHOLE
            and test.parts[0] not in packages.get(test.stem.removeprefix("test_"), {test.parts[0]})
        ]  # fmt: skip
        self.assertEqual(misplaced, [])


class LifeOfAConnectionPageTests(SynchronousTestCase):
    def test_steps_are_in_the_order_of_the_calls_in_carry(self) -> None:
        self.assertEqual(re.findall(r"^\*\*[^*]+\*\* \(``([\w.]+)``\)", LIFE, re.MULTILINE), steps())

    def test_every_path_exists(self) -> None:
        self.assertEqual([name for name in literals(LIFE) if PATH.fullmatch(name) and not exists(name)], [])


class DecisionPageTests(SynchronousTestCase):
    def test_every_path_exists(self) -> None:
        named = {
            name
            for page in (DOCS / "decisions").glob("0*.rst")
            for name in literals(page.read_text(encoding="utf-8"))
            if PATH.fullmatch(name)
        }
        self.assertGreater(len(named), 3)
        self.assertEqual([name for name in named if not exists(name)], [])
