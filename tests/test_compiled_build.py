"""The table of compiled modules in ``setup.py``, and what a module in it must not do (``docs/packaging.rst``).

Whether the compiled modules work is tested by running the other tests over a compiled build.
"""

from __future__ import annotations

import ast
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smartproxy._version import BUILD

ROOT = Path(__file__).resolve().parent.parent
#: Without end, where a compiled generator expression is a list.
ENDLESS = {"count", "cycle", "repeat"}
#: May be called twice: mypyc 2.4 evaluates the bounds of a slice a second time where it has no function for the type.
PURE = {"find", "len", "max", "min", "start"}


def table():
    """``COMPILED`` of ``setup.py``, which cannot be imported: it would build."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMPILED"
    )
    return ast.literal_eval(value)


def compiled():
    for package, names in table().items():
        for name in names.split():
            yield ROOT / "smartproxy" / package / f"{name}.py"


class CompiledBuildTests(SynchronousTestCase):
    def found(self, is_wrong):
        """The lines of compiled modules with what is not allowed there."""
        return [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for path in compiled()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if is_wrong(node)
        ]

    def test_every_module_of_the_table_exists_and_is_listed_once(self):
        paths = list(compiled())
        self.assertGreater(len(paths), 50)
        self.assertEqual([path for path in paths if not path.exists()], [])
        self.assertEqual(len(set(paths)), len(paths))

    def test_all_modules_of_the_table_are_compiled_or_none(self):
        """One that was compiled from another source would run in the place of this one."""
        suffixes = tuple(EXTENSION_SUFFIXES)
        names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in compiled()]
        origins = {name: find_spec(name).origin.endswith(suffixes) for name in names}
        self.assertEqual(set(origins.values()), {BUILD == "compiled"})

    def test_no_class_of_theirs_is_decorated(self):
        """It would be an ordinary class, with its attributes in a dict: ``classImplements`` does what ``implementer`` does."""
        self.assertEqual(self.found(lambda node: isinstance(node, ast.ClassDef) and node.decorator_list), [])

    def test_no_generator_expression_of_theirs_is_endless(self):
        def is_endless(node):
            return isinstance(node, ast.GeneratorExp) and any(
                isinstance(each.iter, ast.Call) and ast.unparse(each.iter.func).split(".")[-1] in ENDLESS
                for each in node.generators
            )

        self.assertEqual(self.found(is_endless), [])

    def test_no_bound_of_a_slice_of_theirs_has_an_effect(self):
        """A call that sends bytes would send them twice."""

        def has_effect(node):
            return isinstance(node, ast.Slice) and any(
                isinstance(each, ast.Call) and ast.unparse(each.func).split(".")[-1] not in PURE
                for each in ast.walk(node)
            )

        self.assertEqual(self.found(has_effect), [])
