"""Files that a configuration includes."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings
from tests.settings.formats import folder

A = "- {name: a, match: {ports: 81}, action: {type: block}}\n"
B = "# more\nroutes:\n- name: b\n  match: {ports: 82}\n  action: {type: block}\n"
C = '[[routes]]\nname = "c"\nmatch = {ports = 83}\naction = {type = "block"}\n'
OWN = "routes:\n- {name: own, match: {ports: 80}, action: {type: block}}\n"


class IncludeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = folder(self)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def load(self, text: str) -> list[str]:
        return [route.name for route in Settings.load(self.write("main.yaml", text)).routes]

    def refused(self, text: str) -> list[str]:
        path = self.write("main.yaml", text)
        problems = self.assertRaises(ConfigurationError, Settings.load, path).problems
        return [problem.replace(f"{self.folder}/", "") for problem in problems]

    def test_routes_follow_those_of_the_file_in_every_format(self) -> None:
        self.write("a.yaml", A)
        self.write("b.yaml", B)
        self.write("c.toml", C)
        self.write("d.json", '[{"name": "d", "match": {"ports": 84}, "action": {"type": "block"}}]')
        self.assertEqual(
            self.load(OWN + "include: [a.yaml, b.yaml, c.toml, d.json]\n"), ["own", "a", "b", "c", "d"]
        )
        self.assertEqual(self.load("include: a.yaml\n"), ["a"])

    def test_pattern_includes_every_file_in_the_order_of_names(self) -> None:
        self.write("conf.d/2.yaml", A)
        self.write("conf.d/10.yaml", B)
        self.write("conf.d/.hidden.yaml", "- nonsense")
        self.assertEqual(self.load('include: ["conf.d/*.yaml", "none/*.yaml"]\n'), ["b", "a"])

    def test_malformed_pattern_is_refused_with_line_and_key(self) -> None:
        """``**`` for folders of any depth is easily written with the ending behind it; it ended in a traceback."""
        self.assertEqual(
            self.refused(OWN + 'include:\n- "**.yaml"\n'),
            ["main.yaml:4: include[0]: **.yaml: ** must be a whole folder, as in conf.d/**/*.yaml"],
        )
        self.write("conf.d/a.yaml", A)
        self.assertEqual(self.load('include: "**/a.yaml"\n'), ["a"])

    def test_included_file_includes_relative_to_itself(self) -> None:
        self.write("conf.d/first.yaml", "include: second.yaml\n" + B)
        self.write("conf.d/second.yaml", A)
        self.assertEqual(self.load("include: conf.d/first.yaml"), ["b", "a"])

    def test_problem_names_the_included_file_its_line_and_key(self) -> None:
        self.write("a.yaml", A.replace("81", "0"))
        self.write("b.yaml", B.replace("82", "80").replace("type: block", "tipe: block"))
        self.write("c.yaml", B.replace("name: b", "name: own").replace("82", "80"))
        self.assertEqual(
            self.refused(OWN + "include: [a.yaml, b.yaml, c.yaml]\n"),
            [
                'a.yaml:1: routes[0].match.ports: must be a port 1..65535, or a range like "8000-8010" (got 0)',
                'b.yaml:5: routes[0].action.tipe: unknown key; did you mean "type"?',
                'c.yaml:3: routes[0].name: is the name of an earlier route (got "own")',
                'c.yaml:4: routes[0].match: is never reached: every connection that it matches goes to "own"',
            ],
        )

    def test_syntax_error_names_the_included_file(self) -> None:
        self.write("a.yaml", "- name: a\n  match: {ports: 80\n")
        self.assertEqual(self.refused("include: a.yaml"), ["a.yaml:2: not valid YAML: { is not closed"])

    def test_variables_are_replaced_in_included_files(self) -> None:
        self.write("a.yaml", A.replace("81", '"${UNSET_PORT:-81}"'))
        self.assertEqual(self.load("include: a.yaml"), ["a"])
        self.write("a.yaml", A.replace("name: a", 'name: "${UNSET_NAME}"'))
        why = "${UNSET_NAME} is not set in the environment; ${UNSET_NAME:-VALUE} has a default"
        self.assertEqual(self.refused("include: a.yaml"), [f"a.yaml:1: [0].name: {why}"])

    def test_missing_file_cycle_and_repetition_are_refused(self) -> None:
        self.assertEqual(
            self.refused(OWN + "include:\n- none.yaml\n"),
            ["main.yaml:4: include[0]: none.yaml: cannot be read: No such file or directory"],
        )
        self.write("a.yaml", "include: b.yaml\n")
        self.write("b.yaml", "routes: []\ninclude: [a.yaml]\n")
        self.assertEqual(
            self.refused("include: a.yaml"),
            ["b.yaml:2: include[0]: a.yaml: includes itself: a.yaml -> b.yaml -> a.yaml"],
        )
        self.write("b.yaml", B)
        self.assertEqual(
            self.refused("include: [b.yaml, ./b.yaml]"),
            ["main.yaml:1: include[1]: b.yaml: is included twice"],
        )

    def test_other_keys_in_an_included_file_are_refused(self) -> None:
        self.write("a.yaml", "x-a: 1\n" + B + "admin: true\n")
        self.assertEqual(
            self.refused("include: a.yaml"),
            ["a.yaml:7: admin: has no place in an included file, which has routes only"],
        )
        self.write("a.yaml", "just a string\n")
        self.assertIn("a.yaml:1: ", self.refused("include: a.yaml")[0])
        self.assertEqual(
            self.refused("include: 5\n"), ["main.yaml:1: include: must be a file, or a list of files"]
        )

    def test_again_reads_them_again_and_a_missing_one_is_refused(self) -> None:
        included = self.write("a.yaml", A)
        settings = Settings.load(self.write("main.yaml", "include: a.yaml"))
        included.write_text(A.replace("name: a", "name: b"))
        self.assertEqual(settings.again().routes[0].name, "b")
        included.unlink()
        self.assertRaises(ConfigurationError, settings.again)

    def test_include_without_a_file_is_refused(self) -> None:
        made = Settings.model_validate({"routes": [], "include": ["a.yaml"]})
        self.assertIn("include: is read with a file only; give the routes themselves", made.check())


class FormatTests(SynchronousTestCase):
    def test_format_is_that_which_is_named(self) -> None:
        path = folder(self) / "proxy.conf"
        path.write_text(C)
        settings = Settings.load(path, "toml")
        self.assertEqual([settings.routes[0].name, settings.again().routes[0].name], ["c", "c"])
        error = self.assertRaises(ConfigurationError, Settings.load, path, "ini")
        self.assertEqual(error.problems, [f"{path}: the format must be one of yaml, json, toml (got ini)"])

    def test_standard_input_is_read_and_cannot_be_reloaded(self) -> None:
        with patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(OWN.encode()))):
            settings = Settings.load("-")
        self.assertEqual(settings.summary(), "<stdin>: ok (1 routes, ports 80)")
        error = self.assertRaises(ConfigurationError, settings.again)
        self.assertIn("was not loaded from a file", error.problems[0])
        with patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[[routes]]\nname = 1\n"))):
            error = self.assertRaises(ConfigurationError, Settings.load, "-", "toml")
        self.assertTrue(all(problem.startswith("<stdin>:") for problem in error.problems), error.problems)
