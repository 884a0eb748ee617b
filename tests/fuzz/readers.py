"""Fuzz targets of the settings readers, and of ``Settings.parse`` on top of them."""

from __future__ import annotations

import json
import math
import tomllib
from contextlib import suppress

from smartproxy.errors import ConfigurationError, ConfigurationSyntaxError
from smartproxy.settings.reading import json_reader, toml_reader, yaml_reader
from smartproxy.settings.settings import Settings
from tests.fuzz.verdicts import check_message, counted

#: Most calls of Python functions to read a text: a fixed number, and so many for each character.
_CALLS, _CALLS_PER_CHARACTER = 2_000, 60
FORMATS = ("yaml", "json", "toml")
#: Handlers are imported, so a configuration that names one could run any module.
_IMPORTS = "handler"


def text_of(data):
    """The text of an input. What is not UTF-8 becomes lone surrogates, which only ``Settings.parse`` can be given."""
    return data.decode("utf-8", "surrogateescape")


def check_yaml(data):
    document = _read(yaml_reader, text_of(data))
    if document is None:
        return 0
    assert _is_finite(document.value)
    if _is_plain(document.value):
        again = yaml_reader.read(_as_yaml(document.value)).value
        assert repr(again) == repr(document.value), "another value after the round trip"
    return len(data)


def check_json(data):
    text = text_of(data)
    document = _read(json_reader, text)
    if document is None:
        return 0
    assert _is_finite(document.value)
    assert repr(document.value) == repr(json.loads(text)), "not the value of the standard library"
    assert repr(json_reader.read(json.dumps(document.value)).value) == repr(document.value)
    return len(data)


def check_toml(data):
    text = text_of(data)
    document = _read(toml_reader, text)
    if document is None:
        return 0
    assert repr(document.value) == repr(tomllib.loads(text)), "not the value of the standard library"
    return len(data)


def check_settings(data):
    """Input: the format (1 byte), then the text."""
    format_, text = FORMATS[data[:1][0] % len(FORMATS)] if data else "json", text_of(data[1:])
    if _IMPORTS in text.casefold():
        return 0
    try:
        parsed = Settings.parse(text, format_, "f")
    except ConfigurationError as error:
        _check_messages(error.problems or [""])
        return 0
    _check_messages([*parsed.check(), *parsed.warnings(), parsed.summary()])
    with suppress(ConfigurationError):
        parsed.compile()
    return len(data)


def _check_messages(messages):
    for message in messages:
        check_message(message)


def _read(reader, text):
    """The document of ``text``, of which every line is asked for; ``None`` where it is refused as documented."""
    lines = text.count("\n") + text.count("\r") + sum(map(text.count, "\x85\u2028\u2029")) + 1
    document, line = None, 1
    with counted() as calls:
        try:
            document = reader.read(text)
            marks = document.marks()
        except ConfigurationSyntaxError as error:
            line = error.line
    assert 1 <= line <= lines, f"line {line} of {lines}"
    assert calls.count <= _CALLS + _CALLS_PER_CHARACTER * len(text), f"{calls.count} calls"
    # An empty document has no line: it is refused as a whole.
    if document is not None and document.value is not None:
        _check_marks(document.value, marks, lines)
    return document


def _check_marks(value, mark, lines):
    """Assert that every value has a line. What aliases share is looked at once."""
    todo, seen = [(value, mark)], set()
    while todo:
        value, mark = todo.pop()
        assert 1 <= mark.line <= lines, f"line {mark.line} of {lines}"
        if not isinstance(value, (dict, list)) or id(value) in seen:
            continue
        seen.add(id(value))
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in inner:
            assert key in mark.children, f"no line for {key!r}"
            todo.append((one, mark.children[key]))


def _is_finite(value):
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _is_plain(value):
    """Whether the writer below can write it: strings of letters only, and at most some hundred values."""
    size, todo = 0, [value]
    while todo:
        one = todo.pop()
        size += 1
        if size > 500:
            return False
        if isinstance(one, dict):
            todo += [*one, *one.values()]
        elif isinstance(one, list):
            todo += one
    return True


def _as_yaml(value):
    """``value`` in YAML's flow style, keys marked as such, because one of over 1024 characters needs it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"? {_as_yaml(key)} : {_as_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_yaml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(map(_escaped, value)) + '"'
    return json.dumps(value)


def _escaped(character):
    return character if character.isascii() and character.isalnum() else f"\\U{ord(character):08x}"
