"""The three readers: the same values and lines, and each strict in its own language."""

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
from tests.settings.spellings import as_toml

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


def flaw_of(reader: Any, text: str) -> tuple[int, str]:
    try:
        reader.read(text)
    except ConfigurationSyntaxError as flaw:
        return flaw.line, flaw.message
    raise AssertionError(f"taken: {text!r}")


class AgreementTests(SynchronousTestCase):
    @given(_TABLES, st.sampled_from([None, 0, 3]))
    def test_json_read_as_json_and_as_yaml_is_the_same_with_the_same_lines(
        self, value: Any, indent: int | None
    ) -> None:
        text = json.dumps(value, indent=indent)
        by_json, by_yaml = read_json.read(text), read_yaml.read(text)
        self.assertEqual((by_json.value, by_yaml.value), (value, value))
        self.assertEqual(lines_of(by_json.marks()), lines_of(by_yaml.marks()))

    @given(_TABLES)
    def test_every_key_of_a_toml_text_has_a_line_on_which_it_stands(self, value: Any) -> None:
        value = {f"k{key}": inner for key, inner in value.items() if _toml_can(inner)}
        text = as_toml(value)
        document = read_toml.read(text)
        self.assertEqual(document.value, value)
        rows = text.split("\n")
        for path in _key_paths(value):
            line = document.marks().find(path)
            self.assertIn(path[-1], rows[line - 1], (path, text))


def _toml_can(value: Any) -> bool:
    """The writer of these tests has no inline tables."""
    if isinstance(value, list):
        return not any(isinstance(item, dict | list) for item in value)
    return not isinstance(value, dict) or all(map(_toml_can, value.values()))


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

    def test_numbers_are_those_of_yaml_1_2(self) -> None:
        self.assertEqual(
            self.value("[10, -3, 010, 0x1F, 0o17, 1.5, 1e3, 22:22, 1_000, 2020-01-01, .inf]"),
            [10, -3, 10, 31, 15, 1.5, 1000.0, "22:22", "1_000", "2020-01-01", ".inf"],
        )

    def test_a_key_is_always_a_text(self) -> None:
        self.assertEqual(self.value("{80: a, true: b}"), {"80": "a", "true": "b"})

    def test_a_key_that_stands_twice_is_refused_in_its_line(self) -> None:
        self.assertEqual(
            flaw_of(read_yaml, "a: 1\nb: 2\na: 3\n"), (3, 'the key "a" stands here twice, first in line 1')
        )

    def test_a_tag_is_refused(self) -> None:
        self.assertEqual(flaw_of(read_yaml, "a:\n  !!python/name:os.system x\n")[0], 2)
        self.assertEqual(self.value("!!str 5"), "5")

    def test_an_alias_stands_for_what_its_anchor_marks(self) -> None:
        self.assertEqual(self.value("a: &x [1, {b: 2}]\nc: *x"), {"a": [1, {"b": 2}], "c": [1, {"b": 2}]})

    def test_a_merge_key_gives_way_to_what_is_written_out(self) -> None:
        text = "base: &base {x: 1, y: 2}\nmore: &more {x: 5, z: 3}\nroute:\n  <<: [*base, *more]\n  y: 9\n"
        document = read_yaml.read(text)
        self.assertEqual(document.value["route"], {"y": 9, "x": 1, "z": 3})
        self.assertEqual([document.marks().find(("route", key)) for key in "xyz"], [1, 5, 2])

    def test_what_is_merged_must_be_a_mapping(self) -> None:
        self.assertEqual(
            flaw_of(read_yaml, "a: &a 1\nb:\n  <<: *a\n"), (3, "<< takes a mapping, or a list of them")
        )

    def test_aliases_that_multiply_are_bounded(self) -> None:
        rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
        rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
        self.assertEqual(flaw_of(read_yaml, "\n".join(rows)), (4, "its aliases stand for too many values"))

    def test_an_alias_within_its_own_anchor_is_refused(self) -> None:
        self.assertEqual(flaw_of(read_yaml, "a: &a [*a]")[0], 1)

    def test_depth_is_bounded(self) -> None:
        self.assertEqual(flaw_of(read_yaml, "[" * 100 + "]" * 100), (1, "nested deeper than 64 levels"))

    def test_what_is_nested_too_deep_for_the_parser_itself_is_told_likewise(self) -> None:
        line, message = flaw_of(read_yaml, "[" * 5000 + "]" * 5000)
        self.assertEqual(line, 1)
        self.assertRegex(message, "nest")

    def test_there_is_one_document(self) -> None:
        self.assertEqual(flaw_of(read_yaml, "a: 1\n---\nb: 2\n")[0], 2)

    def test_what_is_no_yaml_is_told_with_its_line(self) -> None:
        line, message = flaw_of(read_yaml, "a: 1\nb: [1, 2\nc: 3\n")
        self.assertEqual((line, message.partition(":")[0]), (3, "not valid YAML"))
        self.assertEqual(flaw_of(read_yaml, "a: \0")[0], 1)

    def test_nothing_is_nothing(self) -> None:
        self.assertEqual([self.value(text) for text in ("", "# only this\n", "---\n")], [None, None, None])


class JsonTests(SynchronousTestCase):
    def test_a_key_that_stands_twice_is_refused_in_its_line(self) -> None:
        text = '{\n"a": {"x": 1},\n"b": 2,\n"a": 3}'
        self.assertEqual(flaw_of(read_json, text), (4, 'the key "a" stands here twice, first in line 2'))

    def test_what_is_no_json_is_told_with_line_and_column(self) -> None:
        expected = (2, "not valid JSON: Expecting ':' delimiter (column 6)")
        self.assertEqual(flaw_of(read_json, '{"a": 1,\n "b" 2}'), expected)

    def test_comments_and_infinity_are_no_json(self) -> None:
        for text in ("{} // no", '{"a": NaN}', '{"a": Infinity}', "{'a': 1}", "[" * 200_000):
            self.assertEqual(flaw_of(read_json, text)[1].partition(":")[0], "not valid JSON")

    def test_brackets_and_quotes_in_a_text_do_not_move_the_lines(self) -> None:
        text = '{"a": "}]{[,:\\" \\\\",\n\t"b\\n": {\n"c":\n[1,\n2]}}'
        marks = read_json.read(text).marks()
        self.assertEqual(
            [marks.find(p) for p in [("a",), ("b\n",), ("b\n", "c"), ("b\n", "c", 1)]], [1, 2, 3, 5]
        )


class TomlTests(SynchronousTestCase):
    def find(self, text: str, *paths: tuple[str | int, ...]) -> list[int]:
        marks = read_toml.read(text).marks()
        return [marks.find(path) for path in paths]

    def test_headers_and_dotted_keys(self) -> None:
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

    def test_values_over_several_lines(self) -> None:
        text = 'a = [\n  1, # ]\n  [2,\n   3],\n]\nb = \'\'\'\n[x]\n\'\'\'\nc = """\n# \\"""\n"""\nd = {e = [\n1,\n2]}\nf = 1\n'
        paths = [("a", 0), ("a", 1, 1), ("b",), ("c",), ("d", "e", 1), ("f",)]
        self.assertEqual(self.find(text, *paths), [2, 4, 6, 9, 14, 15])

    def test_what_is_no_toml_is_told_with_its_line(self) -> None:
        self.assertEqual(flaw_of(read_toml, "a = 1\nb = \n")[0], 2)
        self.assertEqual(flaw_of(read_toml, "a = 1\na = 2\n")[0], 2)
        self.assertEqual(flaw_of(read_toml, "a = 1\nb = [1,\n")[0], 2)
