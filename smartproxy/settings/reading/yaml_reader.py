"""YAML, as far as a configuration needs it, and strictly.

PyYAML's parser gives events with their lines; this composes them into values, because PyYAML's own
constructor speaks YAML 1.1 (``on``, ``yes``, ``no`` and ``22:22`` are not texts there), takes a key twice and
drops the lines. Scalars follow the core schema of YAML 1.2.2 (section 10.3.2). Keys are always texts.
Anchors, aliases and merge keys work; what an alias stands for is counted each time, against a bound.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from smartproxy.errors import ConfigurationSyntaxError
from smartproxy.settings.reading.locations import Document, Mark

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Deeper than any configuration; far from Python's own limit of recursion.
_DEEPEST = 64
#: A text without aliases has fewer values than characters. Aliases may make it twice that, and some.
_SPARE_VALUES = 10_000

_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = re.compile(r"(true|True|TRUE)|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INT_DIGITS = 100
_TEXT_TAG = "tag:yaml.org,2002:str"

# libyaml's parser is ten times as fast; a PyYAML that was built without it reads the same.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Node(NamedTuple):
    value: Any
    mark: Mark
    size: int


def read(text: str) -> Document:
    """The value of a YAML text.

    :raises ConfigurationSyntaxError: where it is no YAML, or more than a configuration needs.
    """
    try:
        composed = _Composer(text).document()
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        what = problem.problem or problem.context or "no YAML"
        raise ConfigurationSyntaxError(mark.line + 1 if mark else 1, f"not valid YAML: {what}") from None
    except yaml.YAMLError as problem:
        raise ConfigurationSyntaxError(1, f"not valid YAML: {' '.join(str(problem).split())}") from None
    return Document(composed.value, lambda: composed.mark)


class _Composer:
    """One pass over the events. Anchors keep their finished node, so that an alias costs no memory."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str, _Node] = {}
        self._budget = _SPARE_VALUES + 2 * len(text)
        self._depth = 0

    def document(self) -> _Node:
        next(self._events)  # the start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return _Node(None, Mark(1), 1)
        node = self._node(next(self._events))
        next(self._events)  # the end of the document
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise ConfigurationSyntaxError(_line(after), "there is a second document; a configuration is one")
        return node

    def _node(self, event: Any) -> _Node:
        if isinstance(event, yaml.AliasEvent):
            return self._spend(event, self._aliased(event))
        if event.tag is not None and (event.tag != _TEXT_TAG or not isinstance(event, yaml.ScalarEvent)):
            raise ConfigurationSyntaxError(_line(event), f"tags are not taken here (got {event.tag})")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ConfigurationSyntaxError(_line(event), f"nested deeper than {_DEEPEST} levels")
        node = self._spend(event, self._composed(event))
        self._depth -= 1
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _composed(self, event: Any) -> _Node:
        if isinstance(event, yaml.ScalarEvent):
            return _Node(_scalar(event), Mark(_line(event)), 1)
        return self._list(event) if isinstance(event, yaml.SequenceStartEvent) else self._table(event)

    def _aliased(self, event: Any) -> _Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            raise ConfigurationSyntaxError(
                _line(event), f"*{event.anchor} stands for nothing that is complete before it"
            )
        return node

    def _spend(self, event: Any, node: _Node) -> _Node:
        if node.size > self._budget:
            raise ConfigurationSyntaxError(_line(event), "its aliases stand for too many values")
        return node

    def _list(self, event: Any) -> _Node:
        values: list[Any] = []
        mark, size = Mark(_line(event)), 1
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            node = self._node(item)
            mark.children[len(values)] = _placed(node.mark, _line(item))
            values.append(node.value)
            size += node.size
        return _Node(values, mark, size)

    def _table(self, event: Any) -> _Node:
        table: dict[str, Any] = {}
        merged: list[_Node] = []
        mark, size = Mark(_line(event)), 1
        while not isinstance(item := next(self._events), yaml.MappingEndEvent):
            key = _key(item)
            node = self._node(next(self._events))
            size += node.size
            if key == "<<" and item.implicit[0]:
                merged += _mergeable(node, _line(item))
                continue
            if key in table:
                first = mark.children[key].line
                raise ConfigurationSyntaxError(
                    _line(item), f'the key "{key}" stands here twice, first in line {first}'
                )
            table[key] = node.value
            mark.children[key] = _placed(node.mark, _line(item))
        for source in merged:
            _merge(table, mark, source)
        return _Node(table, mark, size)


def _placed(mark: Mark, line: int) -> Mark:
    """``mark`` for a value that stands in ``line``: where its key is, even if an alias brought it there."""
    if mark.line == line:
        return mark
    moved = Mark(line)
    moved.children = mark.children
    return moved


def _mergeable(node: _Node, line: int) -> list[_Node]:
    """The mappings that a merge key (yaml.org/type/merge.html) brings, the earlier ones first."""
    if isinstance(node.value, dict):
        return [node]
    if isinstance(node.value, list) and all(isinstance(value, dict) for value in node.value):
        return [_Node(value, node.mark.children[i], 1) for i, value in enumerate(node.value)]
    raise ConfigurationSyntaxError(line, "<< takes a mapping, or a list of them")


def _merge(table: dict[str, Any], mark: Mark, source: _Node) -> None:
    for key, value in source.value.items():
        if key not in table:
            table[key] = value
            mark.children[key] = source.mark.children[key]


def _key(event: Any) -> str:
    if not isinstance(event, yaml.ScalarEvent):
        raise ConfigurationSyntaxError(_line(event), "a key must be a plain text")
    return str(event.value)


def _scalar(event: Any) -> str | int | float | bool | None:
    text: str = event.value
    if not event.implicit[0] or event.tag == _TEXT_TAG:
        return text
    if _NULL.fullmatch(text):
        return None
    if truth := _BOOL.fullmatch(text):
        return truth[1] is not None
    if _INT.fullmatch(text) and len(text) < _INT_DIGITS:
        return int(text, 10 if text[-1:].isdigit() and text[1:2] not in {"o", "x"} else 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
