"""Where in its file each key of a configuration stands.

A reader of a spelling (:mod:`read_yaml`, :mod:`read_json`, :mod:`read_toml`) gives the plain value and,
when somebody asks, a tree of :class:`Mark` beside it, so that a problem can name its line.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where a value stands in a configuration: keys, and indices of lists.
KeyPath: TypeAlias = tuple[str | int, ...]


class Mark:
    """The line (from 1) of a value, and the marks of what is in it."""

    __slots__ = ("children", "line")

    def __init__(self, line: int) -> None:
        self.line = line
        self.children: dict[str | int, Mark] = {}

    def child(self, key: str | int, line: int) -> Mark:
        """The mark of ``key`` in this value, made where there is none yet."""
        return self.children.setdefault(key, Mark(line))

    def item(self, line: int) -> Mark:
        """The mark of one more item of this list."""
        return self.child(len(self.children), line)

    def find(self, path: KeyPath) -> int:
        """The line of ``path``, or of the innermost thing around it that is there."""
        here = self
        for key in path:
            if key not in here.children:
                break
            here = here.children[key]
        return here.line


class Document(NamedTuple):
    """What a reader made of a text. ``marks`` is asked for only where there is a problem to place."""

    value: object
    marks: Callable[[], Mark]


class Source:
    """The file that a configuration came from, as far as messages need it."""

    def __init__(self, file: str, marks: Callable[[], Mark] | None = None) -> None:
        self.file = file
        self._make_marks = marks

    def at(self, path: KeyPath) -> str:
        """``FILE:LINE: ``, or ``FILE: `` where lines are not known."""
        return f"{self.file}: " if self._marks is None else f"{self.file}:{self._marks.find(path)}: "

    def line(self, path: KeyPath) -> int:
        """The line of ``path``, to sort by; 0 where lines are not known."""
        return 0 if self._marks is None else self._marks.find(path)

    @cached_property
    def _marks(self) -> Mark | None:
        return None if self._make_marks is None else self._make_marks()
