"""The three readers: they agree on values and lines, and each is strict in its own format."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationSyntaxError
from smartproxy.settings.reading import json_reader as read_json
from smartproxy.settings.reading import toml_reader as read_toml
from smartproxy.settings.reading import yaml_reader as read_yaml
from smartproxy.settings.reading.locations import Mark
from tests.settings.formats import as_toml

_KEYS = st.text("abcXYZ_0", min_size=1, max_size=4)
_LEAVES = st.one_of(
    st.booleans(), st.integers(-1000, 1000), st.text(st.characters(codec="ascii"), max_size=8)
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_KEYS, inner, max_size=4)),
    max_leaves=20,
)
_TABLES = st.dictionaries(_KEYS, _VALUES, max_size=5)


def lines_of(mark: Mark) -> Any:
    return (mark.line, {key: lines_of(child) for key, child in mark.children.items()})


def error_of(reader: Any, text: str) -> tuple[int, str]:
    try:
        reader.read(text)
    except ConfigurationSyntaxError as error:
        return error.line, error.message
    raise AssertionError(f"accepted: {text!r}")


class AgreementTests(SynchronousTestCase):
    @given(_TABLES, st.sampled_from([None, 0, 3]))
    def test_json_and_yaml_readers_agree_on_json(self, value: Any, indent: int | None) -> None:
        text = json.dumps(value, indent=indent)
        by_json, by_yaml = read_json.read(text), read_yaml.read(text)
        self.assertEqual((by_json.value, by_yaml.value), (value, value))
        self.assertEqual(lines_of(by_json.marks()), lines_of(by_yaml.marks()))

    @given(_TABLES)
    def test_toml_line_of_each_key_contains_the_key(self, value: Any) -> None:
        value = {f"k{key}": inner for key, inner in value.items() if _fits_toml(inner)}
        text = as_toml(value)
        document = read_toml.read(text)
        self.assertEqual(document.value, value)
        rows = text.split("\n")
        for path in _key_paths(value):
            line = document.marks().find(path)
            self.assertIn(path[-1], rows[line - 1], (path, text))


def _fits_toml(value: Any) -> bool:
    """Whether the writer of these tests can write ``value``: it has no inline tables."""
    if isinstance(value, list):
        return not any(isinstance(item, dict | list) for item in value)
    return not isinstance(value, dict) or all(map(_fits_toml, value.values()))


def _key_paths(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path] if path else []
    for key, inner in value.items() if isinstance(value, dict) else ():
        found += _key_paths(inner, (*path, key))
    return found


class YamlTests(SynchronousTestCase):
    def value(self, text: str) -> Any:
        return read_yaml.read(text).value

    def test_only_true_and_false_are_booleans(self) -> None:
        self.assertEqual(
            self.value("[true, False, on, off, yes, No, y, 'true']"),
            [True, False, "on", "off", "yes", "No", "y", "true"],
        )

    def test_numbers_follow_yaml_1_2(self) -> None:
        self.assertEqual(
            self.value("[10, -3, 010, 0x1F, 0o17, 1.5, 1e3, 22:22, 1_000, 2020-01-01, .inf]"),
            [10, -3, 10, 31, 15, 1.5, 1000.0, "22:22", "1_000", "2020-01-01", ".inf"],
        )

    def test_key_is_always_a_string(self) -> None:
        self.assertEqual(self.value("{80: a, true: b}"), {"80": "a", "true": "b"})

    def test_duplicate_key_is_refused_with_its_line(self) -> None:
        self.assertEqual(error_of(read_yaml, "a: 1\nb: 2\na: 3\n"), (3, 'duplicate key "a", first in line 1'))

    def test_tag_is_refused(self) -> None:
        self.assertEqual(error_of(read_yaml, "a:\n  !!python/name:os.system x\n")[0], 2)
        self.assertEqual(self.value("!!str 5"), "5")

    def test_alias_has_the_value_of_its_anchor(self) -> None:
        self.assertEqual(self.value("a: &x [1, {b: 2}]\nc: *x"), {"a": [1, {"b": 2}], "c": [1, {"b": 2}]})

    def test_explicit_key_wins_over_merge_key(self) -> None:
        text = "base: &base {x: 1, y: 2}\nmore: &more {x: 5, z: 3}\nroute:\n  <<: [*base, *more]\n  y: 9\n"
        document = read_yaml.read(text)
        self.assertEqual(document.value["route"], {"y": 9, "x": 1, "z": 3})
        self.assertEqual([document.marks().find(("route", key)) for key in "xyz"], [1, 5, 2])

    def test_merge_of_a_scalar_is_refused(self) -> None:
        self.assertEqual(
            error_of(read_yaml, "a: &a 1\nb:\n  <<: *a\n"), (3, "<< must be a mapping, or a list of mappings")
        )

    def test_exponential_aliases_are_refused(self) -> None:
        rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
        rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
        self.assertEqual(error_of(read_yaml, "\n".join(rows)), (4, "has too many values through aliases"))

    def test_alias_inside_its_anchor_is_refused(self) -> None:
        self.assertEqual(error_of(read_yaml, "a: &a [*a]")[0], 1)

    def test_depth_is_limited(self) -> None:
        self.assertEqual(error_of(read_yaml, "[" * 100 + "]" * 100), (1, "nested deeper than 64 levels"))

    def test_depth_beyond_the_parser_is_reported_too(self) -> None:
        line, message = error_of(read_yaml, "[" * 5000 + "]" * 5000)
        self.assertEqual(line, 1)
        self.assertRegex(message, "nest")

    def test_second_document_is_refused(self) -> None:
        self.assertEqual(error_of(read_yaml, "a: 1\n---\nb: 2\n")[0], 2)

    def test_invalid_yaml_is_reported_with_its_line(self) -> None:
        line, message = error_of(read_yaml, "a: 1\nb: [1, 2\nc: 3\n")
        self.assertEqual((line, message), (2, "not valid YAML: [ is not closed"))
        self.assertEqual(error_of(read_yaml, "a: \0")[0], 1)

    def test_empty_text_is_none(self) -> None:
        self.assertEqual([self.value(text) for text in ("", "# only this\n", "---\n")], [None, None, None])


class JsonTests(SynchronousTestCase):
    def test_duplicate_key_is_refused_with_its_line(self) -> None:
        text = '{\n"a": {"x": 1},\n"b": 2,\n"a": 3}'
        self.assertEqual(error_of(read_json, text), (4, 'duplicate key "a", first in line 2'))

    def test_invalid_json_is_reported_with_line_and_column(self) -> None:
        self.assertEqual(error_of(read_json, "\n"), (2, "not valid JSON: Expecting value (column 1)"))

    def test_comments_and_infinity_are_invalid_json(self) -> None:
        for text in ("{} // no", '{"a": NaN}', '{"a": Infinity}', "{'a': 1}"):
            self.assertEqual(error_of(read_json, text)[1].partition(":")[0], "not valid JSON")

    def test_brackets_in_strings_do_not_shift_lines(self) -> None:
        text = '{"a": "}]{[,:\\" \\\\",\n\t"b\\n": {\n"c":\n[1,\n2]}}'
        marks = read_json.read(text).marks()
        self.assertEqual(
            [marks.find(p) for p in [("a",), ("b\n",), ("b\n", "c"), ("b\n", "c", 1)]], [1, 2, 3, 5]
        )


class TomlTests(SynchronousTestCase):
    def find(self, text: str, *paths: tuple[str | int, ...]) -> list[int]:
        marks = read_toml.read(text).marks()
        return [marks.find(path) for path in paths]

    def test_lines_of_headers_and_dotted_keys(self) -> None:
        text = 'a.b = 1\n"x.y" = 2\n[t]\nk = 1.5\n[t.u]\nv = 2020-01-01 10:00:00\n[[l]]\nn = 1\n[[l]]\nn = 2\n[l.m]\no = 3\n'
        paths = [
            ("a", "b"),
            ("x.y",),
            ("t", "k"),
            ("t", "u", "v"),
            ("l", 0, "n"),
            ("l", 1, "n"),
            ("l", 1, "m", "o"),
        ]
        self.assertEqual(self.find(text, *paths), [1, 2, 4, 6, 8, 10, 12])

    def test_lines_after_multiline_values(self) -> None:
        text = 'a = [\n  1, # ]\n  [2,\n   3],\n]\nb = \'\'\'\n[x]\n\'\'\'\nc = """\n# \\"""\n"""\nd = {e = [\n1,\n2]}\nf = 1\n'
        paths = [("a", 0), ("a", 1, 1), ("b",), ("c",), ("d", "e", 1), ("f",)]
        self.assertEqual(self.find(text, *paths), [2, 4, 6, 9, 14, 15])

    def test_invalid_toml_is_reported_with_its_line(self) -> None:
        self.assertEqual(error_of(read_toml, "a = 1\nb = \n")[0], 2)
        self.assertEqual(error_of(read_toml, "a = 1\na = 2\n")[0], 2)
        self.assertEqual(error_of(read_toml, "a = 1\nb = [1,\n")[0], 2)
