"""Where each key of a configuration is in its file.

A reader (:mod:`yaml_reader`, :mod:`json_reader`, :mod:`toml_reader`) returns the plain value and a function that makes a
tree of :class:`Mark` beside it. The tree is made only when a message needs a line.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from smartproxy.errors import ConfigurationSyntaxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: The path of a value in a configuration: keys, and indices of lists.
KeyPath: TypeAlias = tuple[str | int, ...]

#: Most levels of values within each other, in every format: deeper than any configuration, and far from Python's
#: recursion limit, so that what is read can be walked by recursive functions.
MAX_DEPTH: Final = 64
TOO_DEEP: Final = f"nested deeper than {MAX_DEPTH} levels"


class Mark:
    """The line of a value, counted from 1, and the marks of the values in it.

    :ivar line: that of its key, if it has one.
    :ivar begins: where the value itself begins, which may be below its key.
    """

    __slots__ = ("begins", "children", "line")

    def __init__(self, line: int, begins: int = 0) -> None:
        self.line = line
        self.begins = begins or line
        self.children: dict[str | int, Mark] = {}

    def child(self, key: str | int, line: int) -> Mark:
        """The mark of ``key`` in this value, created with ``line`` where there is none."""
        return self.children.setdefault(key, Mark(line))

    def item(self, line: int) -> Mark:
        """Append the mark of one more item of this list."""
        return self.child(len(self.children), line)

    def find(self, path: KeyPath) -> int:
        """The line of ``path``, or of its innermost ancestor that the file has."""
        return self.nearest(path).line

    def nearest(self, path: KeyPath) -> Mark:
        """The mark of ``path``, or of its innermost ancestor that the file has."""
        here = self
        for key in path:
            if key in here.children:
                here = here.children[key]
            elif key != 0:  # the only item of a list may be written without brackets
                break
        return here


class Document(NamedTuple):
    """What a reader returns.

    :ivar value: plain Python values.
    :ivar marks: makes the tree of lines; called only where a problem has to be located.
    """

    value: object
    marks: Callable[[], Mark]


def refuse_deep(document: Document) -> None:
    """Check the depth of a document, which readers cannot limit: dotted keys and aliases nest without recursion.

    :raises ConfigurationSyntaxError: where it is above :data:`MAX_DEPTH`.
    """
    level = [document.value]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _values_in(value)]
        if not level:
            return
    raise ConfigurationSyntaxError(_deep_line(document), TOO_DEEP)


def _values_in(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _deep_line(document: Document) -> int:
    """The first line that is too deep; 1 where it is so deep that a scanner, which is recursive, cannot find it."""
    try:
        level = [document.marks()]
    except RecursionError:
        return 1
    for _ in range(MAX_DEPTH):
        level = [inner for mark in level for inner in mark.children.values()]
    return min(mark.line for mark in level)


def one_line(text: str) -> str:
    """``text`` with everything escaped that is not printable, such as a line break in a key that a message names."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def is_extension(key: object) -> bool:
    """Whether a key is ignored at the top level and in a route: it begins with ``x-``, as in Compose files."""
    return isinstance(key, str) and key.startswith("x-")


class ReplacedVariables(Protocol):
    """The environment variables that were replaced in the values of a file."""

    def hidden(self, message: str, path: KeyPath) -> str:
        """``message`` about ``path`` without the values of secret keys."""

    def give_numbers(self, value: object, paths: Iterable[KeyPath], read: Callable[[str], object]) -> bool:
        """Replace strings that came from a variable by the number or boolean that they read like."""


class Source:
    """The file that a configuration was read from, as far as messages need it, and the files that it includes.

    :param marks: makes the tree of lines; without it, messages name the file only.
    :ivar variables: those that were replaced in its values.
    :ivar list_key: the key whose value the whole file is, such as ``routes`` of a list of routes; ``""`` for none.
    """

    def __init__(self, file: str, marks: Callable[[], Mark] | None = None) -> None:
        self.file = file
        self.variables: ReplacedVariables | None = None
        self.list_key = ""
        self._make_marks = marks
        #: Included files, each with the index of its first route in the whole configuration.
        self._included: list[tuple[int, Source]] = []

    def __getstate__(self) -> dict[str, object]:
        """For another process: the tree of lines, and not what makes it."""
        return {**vars(self), "_marks": self._marks, "_make_marks": None}

    @property
    def directory(self) -> Path:
        """The directory of the file: relative paths in the configuration are relative to it."""
        return Path(self.file).parent

    @property
    def files(self) -> list[str]:
        """The file and those that it includes."""
        return [self.file, *(source.file for _, source in self._included)]

    def add(self, first: int, source: Source) -> None:
        """Note that the routes from the index ``first`` on are those of an included file."""
        self._included.append((first, source))

    def locate(self, path: KeyPath) -> tuple[Source, KeyPath]:
        """The file that has ``path``, and the path in it."""
        if len(path) > 1 and path[0] == "routes":
            for first, source in reversed(self._included):
                if int(path[1]) >= first:
                    return source, ("routes", int(path[1]) - first, *path[2:])
        return self, path

    def prefix(self, path: KeyPath, *, at_value: bool = False) -> str:
        """``FILE:LINE: `` for a message about ``path`` of this file, or ``FILE: `` where lines are not known.

        :param at_value: whether to name the line where its value begins.
        """
        line = self._line(path, at_value=at_value)
        return f"{self.file}:{line}: " if line else f"{self.file}: "

    def order(self, path: KeyPath, *, at_value: bool = False) -> tuple[int, int]:
        """The place of ``path`` in the order of the files, to sort by; the line is 0 where lines are not known."""
        source, local = self.locate(path)
        return self.files.index(source.file), source._line(local, at_value=at_value)  # noqa: SLF001 - our own class

    def hidden(self, message: str, path: KeyPath) -> str:
        """``message`` without secrets that came from variables."""
        return message if self.variables is None else self.variables.hidden(message, path)

    def give_numbers(self, value: object, paths: list[KeyPath], read: Callable[[str], object]) -> bool:
        """As :meth:`ReplacedVariables.give_numbers`, for this file and those that it includes."""
        sources = [self, *(source for _, source in self._included)]
        changed = False
        for source in sources:
            if source.variables is not None:
                changed |= source.variables.give_numbers(value, paths, read)
        return changed

    def _line(self, path: KeyPath, *, at_value: bool) -> int:
        if self._marks is None:
            return 0
        mark = self._marks.nearest(path[1:] if path[:1] == (self.list_key,) else path)
        return mark.begins if at_value else mark.line

    @cached_property
    def _marks(self) -> Mark | None:
        return None if self._make_marks is None else self._make_marks()
