"""Where each key of a configuration is in its file.

A reader (:mod:`yaml_reader`, :mod:`json_reader`, :mod:`toml_reader`) returns the plain value and a function that makes a
tree of :class:`Mark` beside it. The tree is made only when a message needs a line.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

#: The path of a value in a configuration: keys, and indices of lists.
KeyPath: TypeAlias = tuple[str | int, ...]


class Mark:
    """The line of a value, counted from 1, and the marks of the values in it."""

    __slots__ = ("children", "line")

    def __init__(self, line: int) -> None:
        self.line = line
        self.children: dict[str | int, Mark] = {}

    def child(self, key: str | int, line: int) -> Mark:
        """The mark of ``key`` in this value, created with ``line`` where there is none."""
        return self.children.setdefault(key, Mark(line))

    def item(self, line: int) -> Mark:
        """Append the mark of one more item of this list."""
        return self.child(len(self.children), line)

    def find(self, path: KeyPath) -> int:
        """The line of ``path``, or of its innermost ancestor that the file has."""
        here = self
        for key in path:
            if key not in here.children:
                break
            here = here.children[key]
        return here.line


class Document(NamedTuple):
    """What a reader returns.

    :ivar value: plain Python values.
    :ivar marks: makes the tree of lines; called only where a problem has to be located.
    """

    value: object
    marks: Callable[[], Mark]


class Source:
    """The file that a configuration was read from, as far as messages need it.

    :param marks: makes the tree of lines; without it, messages name the file only.
    """

    def __init__(self, file: str, marks: Callable[[], Mark] | None = None) -> None:
        self.file = file
        self._make_marks = marks

    @property
    def directory(self) -> Path:
        """The directory of the file: relative paths in the configuration are relative to it."""
        return Path(self.file).parent

    def prefix(self, path: KeyPath) -> str:
        """``FILE:LINE: `` for a message about ``path``, or ``FILE: `` where lines are not known."""
        return f"{self.file}: " if self._marks is None else f"{self.file}:{self._marks.find(path)}: "

    def line(self, path: KeyPath) -> int:
        """The line of ``path``, to sort by; 0 where lines are not known."""
        return 0 if self._marks is None else self._marks.find(path)

    @cached_property
    def _marks(self) -> Mark | None:
        return None if self._make_marks is None else self._make_marks()
