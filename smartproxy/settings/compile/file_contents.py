"""The files that a configuration uses the content of: each is read once, and what cannot be read again is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from smartproxy.errors import InvalidContent
from smartproxy.files.states import may_be_unchanged, state_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class HasState(Protocol):
    """What was read of a file.

    :ivar state: of the file when it was read.
    """

    @property
    def state(self) -> Any: ...


T = TypeVar("T", bound=HasState)


class FileContents(Generic[T]):
    """The files of one kind. The content of each, or its problem, is remembered.

    :param directory: what the paths of files are relative to.
    :param read: reads the file of a path; raises an :class:`~smartproxy.errors.InvalidContent`.
    :param again: makes another one of what was read before.
    :param former: those of the same configuration, as they were read before: a file that cannot be used any more has its
        former content. They hold what is in force.
    :param before: those of the configuration before: they serve only where this user may not read a file again.
    :ivar by_path: those that were read.
    """

    def __init__(
        self,
        directory: Path,
        read: Callable[[str], T],
        again: Callable[[str, T], T],
        former: FileContents[T] | None = None,
        before: FileContents[T] | None = None,
    ) -> None:
        self._directory = directory
        self._read = read
        self._again = again
        self._former = {} if former is None else former.by_path
        self._before = {} if before is None else before.by_path
        self.by_path: dict[str, T] = {}
        self._invalid: dict[str, InvalidContent] = {}

    def __call__(self, name: str) -> T:
        """The file called ``name``.

        :raises InvalidContent: where it cannot be used.
        """
        path = str(self._directory / name)
        if path in self._invalid:
            raise self._invalid[path]
        if path not in self.by_path:
            try:
                self.by_path[path] = self._content(path)
            except InvalidContent as problem:
                self._invalid[path] = problem
                raise
        return self.by_path[path]

    def _content(self, path: str) -> T:
        try:
            return self._read(path)
        except InvalidContent as problem:
            kept = self._former.get(path)
            if kept is None and problem.is_denied:
                kept = self._before.get(path)
                if kept is not None and not may_be_unchanged(kept.state, state_of(path)):
                    kept = None
            if kept is None:
                raise
            return self._again(path, kept)
