"""Mistakes in the syntax of a configuration: each is reported in its own line, with what to write instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationSyntaxError
from smartproxy.settings.reading import json_reader, toml_reader, yaml_reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.settings.reading.locations import Document

#: A text, the line of the mistake, and the message.
YAML = [
    ("routes:\n  - name: web\n    domains:\n      - *.example.com\n", 4, "not valid YAML: quote a value that begins with *"),
    ("routes:\n  - name: web\n    match: {domains: [*.example.com], ports: 80}\n", 3, "not valid YAML: quote a value that begins with *"),
    ("a: *\n", 1, "not valid YAML: quote a value that begins with *"),
    ("a: %x\n", 1, "not valid YAML: quote a value that begins with %"),
    ("a: @x\n", 1, "not valid YAML: quote a value that begins with @"),
    ("a: `x`\n", 1, "not valid YAML: quote a value that begins with `"),
    ("a: !x!y z\n", 1, "not valid YAML: quote a value that begins with !"),
    ("a: &.x\n", 1, "not valid YAML: quote a value that begins with &"),
    ("routes:\n\t- name: web\n", 2, "not valid YAML: tabs cannot indent; use blanks"),
    ("routes:\n  - name: web\n\tmatch: {ports: 80}\n", 3, "not valid YAML: tabs cannot indent; use blanks"),
    ("routes:\n  - name: web\n    match:\n    \tports: 80\n", 4, "not valid YAML: tabs cannot indent; use blanks"),
    ("routes:\n  - name:web\n    match: {ports: 80}\n", 2, 'not valid YAML: no blank after the colon: write "name: web"'),
    ("routes:\n  - name: web\n    prio:1\n    action: 1\n", 3, 'not valid YAML: no blank after the colon: write "prio: 1"'),
    ('routes:\n  - name: "web\n    match: {ports: 80}\n', 2, "not valid YAML: the quote that begins here is not closed"),
    ('routes:\n  - name: "web\n    match: {ports: 80, domains: ["a"]}\n', 2, "not valid YAML: the quote that begins here is not closed"),
    ("name: 'it's'\nb: 1\n", 1, "not valid YAML: text behind a closing quote; within a value write '' for '"),
    ('a: "^\\.x"\n', 1, "not valid YAML: write \\\\ for a backslash within double quotes, or use single quotes"),
    ("routes:\n  - name: web\n    match: {ports: 80\n    action: {t: [{h: a}]}\n", 3, "not valid YAML: { is not closed"),
    ("routes:\n  - match: {ports: [80, 443}\n    b: 1\n", 2, "not valid YAML: [ is not closed"),
    ("a: [1, 2\nb: 3\n", 1, "not valid YAML: [ is not closed"),
    ("a: [1]]\nb: 1\n", 1, "not valid YAML: ] closes nothing"),
    ("a: {b: 1}}\n", 1, "not valid YAML: } closes nothing"),
    ("a: {b: 1 c: 2}\n", 1, "not valid YAML: a comma is missing before column 11, or a value needs quotes"),
    ("a: {b: ${X}, c: 1}\n", 1, 'not valid YAML: quote a value with ${...} within { } or [ ]: write "${X}"'),
    ("routes = [1]\nadmin = true\n", 1, 'not a configuration: YAML writes "key: value"; "key = value" and [table] are TOML'),
    ("routes:\n  - name = web\n    match: {ports: 80}\n", 2, 'not valid YAML: YAML writes "key: value"; "key = value" and [table] are TOML'),
    ('[[routes]]\nname = "web"\n', 1, 'not valid YAML: YAML writes "key: value"; "key = value" and [table] are TOML'),
    ("routes:\n  - name: web\n  match: {ports: 80}\n", 3, "not valid YAML: must be indented like the keys of the list item above, whose list begins in line 2"),
    ("routes:\n  - name: web\n      match: {ports: 80}\n", 3, "not valid YAML: is indented below a key that has a value already"),
    ("routes:\n  - name: web\n    match:\n      ports: 80\n     address: b\n", 5, "not valid YAML: is not indented like the other keys of its mapping, which begins in line 2"),
    ("routes:\n    - name: web\n   admin: 1\n", 3, "not valid YAML: is not indented like the other keys of its mapping, which begins in line 1"),
    ("a: b: c\n", 1, 'not valid YAML: quote a value that contains ": "'),
    ("routes:\n  - name: web\n    match\n    action: 1\n", 3, 'not valid YAML: no colon after "match": write "match: VALUE"'),
    ("admin: true\nroutes\n  - name: web\n", 2, 'not valid YAML: no colon after "routes": write "routes: VALUE"'),
    ("routes:\n  -name: web\n   match: {ports: 80}\n", 2, 'not valid YAML: no blank after the -: write "- name: ..."'),
    ("admin:\n  token:hunter2\n  port: 1\n", 2, 'not valid YAML: no blank after the colon: write "token: VALUE"'),
    ("a: 1\r\nb: [1\r\nc: 2\r\n", 2, "not valid YAML: [ is not closed"),
    ("a: |\n  x\n  \ty\nb: 1\n c: 2\n", 5, "not valid YAML: is indented below a key that has a value already"),
]  # fmt: skip
TOML = [
    ('name: "a"\n', 1, "not valid TOML: TOML writes key = value, not key: value"),
    ("a = web\n", 1, 'not valid TOML: strings are in quotes: write "web"'),
    ("a = True\n", 1, "not valid TOML: write true"),
    ("a = [1,\nb = 2\n", 1, "not valid TOML: [ is not closed"),
    ('a = "x\nb = 1\n', 1, "not valid TOML: the quote in this line is not closed"),
    ("a = {b = 1,\n c = 2}\n", 1, "not valid TOML: a table in { } must end in its line; a [table] of its own may have several"),
    ("a = {b = 1\n", 1, "not valid TOML: { is not closed"),
    ("[routes\na=1\n", 1, "not valid TOML: [ is not closed"),
    ('a = "x" b = 1\n', 1, "not valid TOML: one key in a line, and no text behind its value"),
    ("a = *.com\n", 1, 'not valid TOML: strings are in quotes: write "*.com"'),
    ('a = "\\."\n', 1, "not valid TOML: write \\\\ for a backslash within double quotes, or use single quotes"),
    ("a = [1 2]\n", 1, "not valid TOML: a comma is missing"),
    ("a = {b = 1 c = 2}\n", 1, "not valid TOML: a comma is missing"),
    ("a\n", 1, "not valid TOML: = is missing after the key"),
    ("a = {b: 1}\n", 1, "not valid TOML: TOML writes key = value, not key: value"),
    ("a = \n", 1, "not valid TOML: the key has no value"),
    ('a = ["x]\nb = 1\n', 1, "not valid TOML: the quote in this line is not closed"),
    ('{"a": 1}', 1, "not valid TOML: TOML has no braces around the whole; is this JSON?"),
    ("a = {b = 1,}\n", 1, "not valid TOML: the comma before } is one too many"),
    ("routes:\n  - name: web\n", 1, "not valid TOML: TOML writes key = value, not key: value"),
    ("a = 1]\n", 1, "not valid TOML: ] closes nothing"),
    ("token = hunter2\n", 1, 'not valid TOML: strings are in quotes: write "VALUE"'),
]  # fmt: skip
JSON = [
    ("{'a': 1}", 1, "not valid JSON: strings are in double quotes"),
    ('{"a": 1,}', 1, "not valid JSON: the comma before } is one too many"),
    ('{"a": [1,]}', 1, "not valid JSON: the comma before ] is one too many"),
    ("{a: 1}", 1, 'not valid JSON: keys are in double quotes: write "a"'),
    ('{"a": True}', 1, "not valid JSON: write true"),
    ('{"a": web}', 1, 'not valid JSON: strings are in double quotes: write "web"'),
    ("// c\n{}", 1, "not valid JSON: JSON has no comments; YAML and TOML have"),
    ('{"a": 1 // c\n}', 1, "not valid JSON: JSON has no comments; YAML and TOML have"),
    ('{"a": 1\n"b": 2}', 1, "not valid JSON: a comma is missing at the end of this value"),
    ('{"a": {"b": 1\n}', 1, "not valid JSON: { is not closed"),
    ('{"a": [1, 2}\n', 1, "not valid JSON: [ is not closed"),
    ('{"a" = 1}', 1, 'not valid JSON: JSON writes "key": value, not "key" = value'),
    ('{"a": "x\n}', 1, "not valid JSON: the string that begins in this line is not closed"),
    ('{"a": "x', 1, "not valid JSON: the string that begins in this line is not closed"),
    ('{"a": "\\."}', 1, "not valid JSON: write \\\\ for a backslash within a string"),
    ('{"a": 1}}', 1, "not valid JSON: } closes nothing"),
    ('{"a": *.com}', 1, 'not valid JSON: strings are in double quotes: write "*.com"'),
    ("a: 1\n", 1, 'not valid JSON: strings are in double quotes: write "a"'),
    ('{"a" 1}', 1, "not valid JSON: a colon is missing after the key"),
    ("", 1, "not valid JSON: Expecting value (column 1)"),
    ("[1\n", 1, "not valid JSON: [ is not closed"),
    ('{"token": hunter2}', 1, 'not valid JSON: strings are in double quotes: write "VALUE"'),
]  # fmt: skip


class SyntaxMistakeTests(SynchronousTestCase):
    def check(self, read: Callable[[str], Document], cases: list[tuple[str, int, str]]) -> None:
        for text, line, message in cases:
            error = self.assertRaises(ConfigurationSyntaxError, read, text)
            self.assertEqual((error.line, error.message), (line, message), text)

    def test_each_mistake_in_yaml_has_its_line_and_hint(self) -> None:
        self.check(yaml_reader.read, YAML)

    def test_each_mistake_in_toml_has_its_line_and_hint(self) -> None:
        self.check(toml_reader.read, TOML)

    def test_each_mistake_in_json_has_its_line_and_hint(self) -> None:
        self.check(json_reader.read, JSON)
