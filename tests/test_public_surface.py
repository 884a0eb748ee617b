"""The names that an embedder may use."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import smartproxy


class PublicNameTests(SynchronousTestCase):
    def test_every_public_name_can_be_imported(self):
        for name in smartproxy.__all__:
            self.assertIsNotNone(getattr(smartproxy, name), name)

    def test_the_type_checker_is_told_of_the_same_names(self):
        """The imports under TYPE_CHECKING, the lazy ones and ``__all__`` agree, module by module."""
        tree = ast.parse(Path(smartproxy.__file__).read_text(encoding="utf-8"))
        (guarded,) = [
            node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
        ]
        checked = {
            alias.name: node.module
            for node in guarded.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        self.assertEqual(checked, smartproxy._PLACES)
        self.assertEqual({*checked, "__version__"}, set(smartproxy.__all__))

    def test_a_public_name_is_what_its_module_calls_it(self):
        for name, module in smartproxy._PLACES.items():
            self.assertIs(getattr(smartproxy, name), getattr(import_module(module), name))

    def test_every_public_name_has_a_docstring(self):
        for name in set(smartproxy.__all__) - {"__version__"}:
            self.assertTrue(getattr(smartproxy, name).__doc__, name)
