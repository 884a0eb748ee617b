"""Reads the part of YAML that a configuration needs, strictly.

PyYAML's parser makes events with their lines, and this module composes them to values. PyYAML's own constructor implements
YAML 1.1 (``on``, ``yes``, ``no`` and ``22:22`` are not strings there), accepts duplicate keys and loses the lines. Scalars
follow the core schema of YAML 1.2.2 (section 10.3.2). Keys are always strings. Anchors, aliases and merge keys are supported;
the values that an alias refers to are counted each time it is used, against a limit.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import yaml

from smartproxy.errors import ConfigurationSyntaxError
from smartproxy.settings.reading.locations import MAX_DEPTH, TOO_DEEP, Document, Mark, refuse_deep
from smartproxy.settings.reading.yaml_mistakes import find_mistake, mistake_in_string

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A text has fewer values than characters. With aliases it may have twice as many, plus these: enough for any
#: configuration, too few for aliases that refer to aliases ("billion laughs").
_SPARE_VALUES: Final = 10_000

_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = re.compile(r"(true|True|TRUE)|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
#: A longer one is a string, as is a number over 1.8e308. Python itself refuses to convert more than 4300 digits.
_INT_DIGITS: Final = 100
_STRING_TAG: Final = "tag:yaml.org,2002:str"

# libyaml's parser is ten times as fast; PyYAML may have been built without it.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_Value: TypeAlias = "str | int | float | bool | list[_Value] | dict[str, _Value] | None"
#: The events that begin a value.
_Start: TypeAlias = "yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent | yaml.AliasEvent"


class _Node(NamedTuple):
    """A composed value.

    :ivar size: the number of values in it, itself included.
    """

    value: _Value
    mark: Mark
    size: int


def read(text: str) -> Document:
    """Parse a YAML text.

    :raises ConfigurationSyntaxError: where it is not YAML, or uses a feature that configurations do not need.
    """
    try:
        composed = _Composer(text).document()
    except yaml.MarkedYAMLError as problem:
        raise _syntax_error(text, problem) from None
    except yaml.YAMLError as problem:
        raise ConfigurationSyntaxError(1, f"not valid YAML: {' '.join(str(problem).split())}") from None
    except UnicodeEncodeError as problem:
        line = text.count("\n", 0, problem.start) + 1
        raise ConfigurationSyntaxError(line, "not valid YAML: surrogates are not characters") from None
    if isinstance(composed.value, str) and (mistake := mistake_in_string(text)):
        raise ConfigurationSyntaxError(mistake.line, f"not a configuration: {mistake.message}")
    document = Document(composed.value, lambda: composed.mark)
    refuse_deep(document)  # through aliases
    return document


def _syntax_error(text: str, problem: yaml.MarkedYAMLError) -> ConfigurationSyntaxError:
    mistake = find_mistake(text, problem)
    if mistake is not None:
        return ConfigurationSyntaxError(mistake.line, f"not valid YAML: {mistake.message}")
    mark = problem.problem_mark or problem.context_mark
    what = problem.problem or problem.context or "syntax error"
    # What is missing at the end is reported behind the last line.
    line = min(mark.line + 1, len(text.splitlines())) if mark else 1
    return ConfigurationSyntaxError(line, f"not valid YAML: {what}")


class _Composer:
    """Composes values in one pass over the events. An alias shares the node of its anchor, so it costs no memory."""

    def __init__(self, text: str) -> None:
        # Any: which kind of event comes next depends on the one before, which types cannot say.
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str, _Node] = {}
        self._budget = _SPARE_VALUES + 2 * len(text)
        self._depth = 0

    def document(self) -> _Node:
        next(self._events)  # StreamStartEvent
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return _Node(None, Mark(1), 1)
        node = self._node(next(self._events))
        next(self._events)  # DocumentEndEvent
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise ConfigurationSyntaxError(
                _line(after), "has a second document; a configuration is one document"
            )
        return node

    def _node(self, event: _Start) -> _Node:
        if isinstance(event, yaml.AliasEvent):
            return self._spend(event, self._aliased(event))
        if event.tag is not None and (event.tag != _STRING_TAG or not isinstance(event, yaml.ScalarEvent)):
            raise ConfigurationSyntaxError(
                _line(event), f"tags are not supported; quote a value that begins with ! (got {event.tag})"
            )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConfigurationSyntaxError(_line(event), TOO_DEEP)
        node = self._spend(event, self._composed(event))
        self._depth -= 1
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _composed(self, event: yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent) -> _Node:
        if isinstance(event, yaml.ScalarEvent):
            return _Node(_scalar(event), Mark(_line(event)), 1)
        return self._list(event) if isinstance(event, yaml.SequenceStartEvent) else self._table(event)

    def _aliased(self, event: yaml.AliasEvent) -> _Node:
        node = self._anchors.get(event.anchor or "")
        if node is None:
            raise ConfigurationSyntaxError(
                _line(event),
                f"alias *{event.anchor} has no complete anchor before it; quote a value that begins with *",
            )
        return node

    def _spend(self, event: yaml.Event, node: _Node) -> _Node:
        if node.size > self._budget:
            raise ConfigurationSyntaxError(_line(event), "has too many values through aliases")
        return node

    def _list(self, event: yaml.SequenceStartEvent) -> _Node:
        values: list[_Value] = []
        mark, size = Mark(_line(event)), 1
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            node = self._node(item)
            mark.children[len(values)] = _placed(node.mark, _line(item))
            values.append(node.value)
            size += node.size
        return _Node(values, mark, size)

    def _table(self, event: yaml.MappingStartEvent) -> _Node:
        table: dict[str, _Value] = {}
        merged: list[_Mapping] = []
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
                raise ConfigurationSyntaxError(_line(item), f'duplicate key "{key}", first in line {first}')
            table[key] = node.value
            mark.children[key] = _placed(node.mark, _line(item))
        for source in merged:
            _merge(table, mark, source)
        return _Node(table, mark, size)


def _placed(mark: Mark, line: int) -> Mark:
    """``mark`` moved to ``line``, that of the key: a value may be below its key, or elsewhere through an alias."""
    if mark.line == line:
        return mark
    moved = Mark(line, mark.begins)
    moved.children = mark.children
    return moved


class _Mapping(NamedTuple):
    """A mapping that is merged into another one."""

    value: dict[str, _Value]
    mark: Mark


def _mergeable(node: _Node, line: int) -> list[_Mapping]:
    """The mappings that a merge key (yaml.org/type/merge.html) refers to; the first one with a key wins."""
    value = node.value
    if isinstance(value, dict):
        return [_Mapping(value, node.mark)]
    if isinstance(value, list):
        found = [_Mapping(one, node.mark.children[i]) for i, one in enumerate(value) if isinstance(one, dict)]
        if len(found) == len(value):
            return found
    raise ConfigurationSyntaxError(line, "<< must be a mapping, or a list of mappings")


def _merge(table: dict[str, _Value], mark: Mark, source: _Mapping) -> None:
    for key, value in source.value.items():
        if key not in table:
            table[key] = value
            mark.children[key] = source.mark.children[key]


def _key(event: yaml.Event) -> str:
    if not isinstance(event, yaml.ScalarEvent):
        raise ConfigurationSyntaxError(_line(event), "a key must be a string")
    return event.value


def _scalar(event: yaml.ScalarEvent) -> str | int | float | bool | None:
    text = event.value
    if not event.implicit[0] or event.tag == _STRING_TAG:
        return text
    if _NULL.fullmatch(text):
        return None
    if truth := _BOOL.fullmatch(text):
        return truth[1] is not None
    if _INT.fullmatch(text) and len(text) < _INT_DIGITS:
        return int(text, 10 if text[-1:].isdigit() and text[1:2] not in {"o", "x"} else 0)
    number = float(text) if _FLOAT.fullmatch(text) else math.inf
    return text if math.isinf(number) else number


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None  # noqa: S101 - the parser sets it in every event
    return event.start_mark.line + 1
