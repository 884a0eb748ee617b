"""The names that an embedder may use."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import get_args, get_type_hints

from twisted.trial.unittest import SynchronousTestCase

import smartproxy
from smartproxy import Accepted, Announced, Connection, Detected, ProxyHeader, Routed
from tests.builds import only_pure


def _names(kind):
    """The names that the module of ``kind`` imports for type checking only."""
    tree = ast.parse(Path(import_module(kind.__module__).__file__).read_text(encoding="utf-8"))
    return {
        alias.name: getattr(import_module(node.module), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("smartproxy.")
        for alias in node.names
    }


def _properties(kind):
    return [(name, value) for name, value in vars(kind).items() if isinstance(value, property)]


def _classes_in(kind):
    """The classes of this package in a type."""
    if isinstance(kind, type) and kind.__module__.startswith("smartproxy."):
        yield kind
    for inner in get_args(kind):
        yield from _classes_in(inner)


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

    @only_pure
    def test_types_of_facts_and_of_a_connection_are_public(self):
        """A program that annotates what it takes out of them imports public names only. A route is known by its name."""
        hints = [get_type_hints(prop.fget, None, _names(Connection)) for _, prop in _properties(Connection)]
        facts = (Routed, Detected, Announced, Accepted, ProxyHeader)
        hints += [get_type_hints(each, None, _names(each)) for each in facts]
        found = {inner for hint in hints for kind in hint.values() for inner in _classes_in(kind)}
        private = {kind.__name__ for kind in found if kind.__name__ not in smartproxy.__all__}
        self.assertEqual(private, {"RoutePlan"})

    @only_pure
    def test_every_public_name_has_a_docstring(self):
        for name in set(smartproxy.__all__) - {"__version__"}:
            self.assertTrue(getattr(smartproxy, name).__doc__, name)
