"""Texts that no one writes by hand: too deep, with numbers too large, or with characters that no terminal can show.

They come from a program that writes configurations, and through ``Settings.parse`` from anyone. Each of these was found
by fuzzing (``tests/fuzz``) and has once raised something else than ``ConfigurationError``, or has broken a log line.
"""

from __future__ import annotations

import json
import math

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError, ConfigurationSyntaxError
from smartproxy.settings.reading import json_reader, toml_reader, yaml_reader
from smartproxy.settings.settings import Settings

#: Containers within each other, innermost value included; the outermost mapping is one of them.
DEEP = {
    "json": (
        lambda depth: '{"a":\n' + "[" * (depth - 2) + "1" + "]" * (depth - 2) + "}",
        lambda depth: '{"a":\n' * (depth - 1) + "1" + "}" * (depth - 1),
    ),
    "toml": (
        lambda depth: "b = 1\na = " + "[" * (depth - 2) + "1" + "]" * (depth - 2),
        lambda depth: "b = 1\na = " + "{a = " * (depth - 2) + "1" + "}" * (depth - 2),
        lambda depth: "b = 1\na" + ".a" * (depth - 2) + " = 1",
        lambda depth: "b = 1\n[a" + ".a" * (depth - 3) + "]\na = 1",
    ),
    "yaml": (lambda depth: "b: 1\na: " + "[" * (depth - 2) + "1" + "]" * (depth - 2),),
}
READERS = {"json": json_reader, "toml": toml_reader, "yaml": yaml_reader}


def problems_of(text, format_):
    try:
        Settings.parse(text, format_, "f")
    except ConfigurationError as error:
        return error.problems
    raise AssertionError(f"accepted: {text!r}")


class DepthTests(SynchronousTestCase):
    def test_64_levels_are_read_in_every_format(self):
        for format_, writers in DEEP.items():
            for write in writers:
                READERS[format_].read(write(64)).marks()

    def test_65_levels_are_refused_in_every_format(self):
        """One limit for the three, far from Python's own, which depends on the caller."""
        for format_, writers in DEEP.items():
            for write in writers:
                error = self.assertRaises(ConfigurationSyntaxError, READERS[format_].read, write(65))
                self.assertEqual(error.message, "nested deeper than 64 levels", write(65))

    def test_the_line_of_what_is_too_deep_is_reported(self):
        for format_, index, line in (("json", 1, 64), ("toml", 0, 2), ("toml", 2, 2), ("toml", 3, 3)):
            self.assertEqual(
                problems_of(DEEP[format_][index](65), format_), [f"f:{line}: nested deeper than 64 levels"]
            )

    def test_any_depth_is_a_configuration_error(self):
        """Up to some depth the standard library reads what a recursive walk over its result could not."""
        for format_, writers in DEEP.items():
            for write in writers:
                for depth in (100, 300, 500, 700, 900, 5_000):
                    (problem,) = problems_of(write(depth), format_)
                    self.assertIn("nest", problem)

    def test_depth_through_aliases_is_limited(self):
        """Each of these lists is shallow, and has the one before at its bottom."""
        links = "".join(f"k{n + 1}: &a{n + 1} {'[' * 40}*a{n}{']' * 40}\n" for n in range(15))
        for first in ("k0: &a0 1\n", "<<: {k0: &a0 {a: 1}}\n"):
            (problem,) = problems_of(first + links, "yaml")
            self.assertRegex(problem, "^f:[0-9]+: nested deeper than 64 levels$")

    def test_brackets_without_end_are_a_configuration_error(self):
        for format_, text in (("json", "[" * 200_000), ("toml", "a = " + "[" * 200_000)):
            self.assertEqual(problems_of(text, format_), ["f:1: nested deeper than 64 levels"])

    def test_a_deep_duplicate_key_is_a_configuration_error(self):
        text = '{"a":' * 500 + '{"b": 1, "b": 2}' + "}" * 500
        self.assertEqual(problems_of(text, "json"), ["f:1: nested deeper than 64 levels"])


class NumberTests(SynchronousTestCase):
    def test_a_number_too_large_is_not_infinity(self):
        for text in ('{"a": 1e400}', '{"a": [-1e999]}', f'{{"a": {"9" * 400}.0}}'):
            error = self.assertRaises(ConfigurationSyntaxError, json_reader.read, text)
            self.assertEqual(error.message, "not valid JSON: a number is too large")

    def test_yaml_reads_a_number_too_large_as_a_string(self):
        """As an integer of too many digits: what it is meant for refuses it, and shows it as written."""
        self.assertEqual(yaml_reader.read("[1e400, -1e999, 1e308]").value, ["1e400", "-1e999", 1e308])
        self.assertTrue(math.isinf(toml_reader.read("a = inf").value["a"]), "which TOML has")


class CharacterTests(SynchronousTestCase):
    def test_a_surrogate_in_yaml_is_a_configuration_error(self):
        for text in ("a: 1\nb: \ud800", "a: 1\n\udcff: 1", "# a\n# \udfff"):
            self.assertEqual(
                problems_of(text, "yaml"), ["f:2: not valid YAML: surrogates are not characters"], text
            )

    def test_keys_in_messages_are_escaped(self):
        """A line break would forge a line of the log, and a surrogate cannot be printed."""
        for text, format_, problem in [
            ('{"a\\nb": 1, "a\\nb": 2}', "json", 'f:1: duplicate key "a\\nb", first in line 1'),
            ('{"\\ud800": 1, "\\ud800": 2}', "json", 'f:1: duplicate key "\\ud800", first in line 1'),
            ('"a\\e[2J": 1\n"a\\e[2J": 2', "yaml", 'f:2: duplicate key "a\\x1b[2J", first in line 1'),
            (
                "a: !<x%0Ay> 1",
                "yaml",
                "f:1: tags are not supported; quote a value that begins with ! (got x\\ny)",
            ),
            ('{"a\\nb": 1, "routes": []}', "json", "f:1: a\\nb: unknown key"),
            ('routes = []\n"a\\u2028b" = 1', "toml", "f:2: a\\u2028b: unknown key"),
        ]:
            self.assertIn(problem, problems_of(text, format_))

    def test_keys_in_angle_brackets_are_unknown_keys(self):
        """pydantic's tags are written so, too."""
        for key in ("<<a", "<x", "<one>", "<table>"):
            self.assertIn(f"f:1: {key}: unknown key", problems_of(f'"{key}": 1', "yaml"))
        routes = '{"routes": [{"name": "a", "<list>": 1, "action": {"tls": {"<table>": 1, "<b": 2}}}]}'
        found = problems_of(routes, "json")
        for path in ("<list>", "action.tls.<table>", "action.tls.<b"):
            self.assertIn(f"f:1: routes[0].{path}: unknown key", found)

    def test_characters_that_no_path_has_are_refused(self):
        """The system is not asked for such a path: Python raises ValueError in place of OSError."""
        actions = (
            ("errorPages", "502"),
            ("targetsFile",),
            ("tls", "certificate", "certFile"),
            ("tls", "clientAuth", "ca"),
        )
        for character in ("\0", "\ud800"):
            for *tables, key in (*actions, ("tls", "certificate", "pkcs12File")):
                written = {key: f"a{character}.yaml"}
                for table in reversed(tables):
                    written = {table: written}
                self.assertIn(
                    f"f:1: routes[0].action.{'.'.join((*tables, key))}: must be a path: it has a character",
                    " ".join(problems_of(self.configuration(written), "json")),
                )
            for top in ({"tls": {"certificates": f"a{character}"}}, {"proxyIPs": [f"file:a{character}"]}):
                self.assertIn(
                    f"f:1: {next(iter(top))}", problems_of(self.configuration({}, **top), "json")[0]
                )

    @staticmethod
    def configuration(action, **top):
        route = {
            "name": "a",
            "match": {"ports": 80},
            "action": {"targets": [{"host": "a", "port": 1}]} | action,
        }
        return json.dumps({"routes": [route]} | top)

    def test_letters_of_every_language_stay_as_they_are(self):
        self.assertIn("f:1: \u00e9\u4e2d: unknown key", problems_of('{"\u00e9\u4e2d": 1}', "json"))

    def test_the_end_of_yaml_is_reported_in_its_last_line(self):
        """The parser places it behind the last line, where no editor can go."""
        for text, line in (("a: 1\nb: {<<: [", 2), ("a: [\n", 1), ("a: [", 1), ("'", 1)):
            error = self.assertRaises(ConfigurationSyntaxError, yaml_reader.read, text)
            self.assertEqual(error.line, line, text)
