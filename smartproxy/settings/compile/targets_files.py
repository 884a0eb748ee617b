"""Files of targets (``targetsFile``) that a configuration has read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from smartproxy.errors import InvalidTargetsFile
from smartproxy.files.states import may_be_unchanged, state_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.plan import FileState
    from smartproxy.settings.tables.route import Target


class ListedTargets(NamedTuple):
    """A file of targets.

    :ivar state: of the file, before it was read.
    """

    path: str
    state: FileState | None
    targets: tuple[Target, ...]


class TargetsFiles:
    """The files of one configuration. Each is read once for each group that has it, and its content or problem remembered.

    :param former: those of the same configuration, as they were read before: a file that cannot be used any more has its
        former content.
    :param before: those of the configuration before: they serve only where this user may not read a file again.
    :ivar files: those that were read, by path and group.
    """

    def __init__(self, former: TargetsFiles | None = None, before: TargetsFiles | None = None) -> None:
        self._former = {} if former is None else former.files
        self._before = {} if before is None else before.files
        self.files: dict[tuple[str, str], ListedTargets] = {}
        self._invalid: dict[tuple[str, str], InvalidTargetsFile] = {}

    @property
    def paths(self) -> list[str]:
        """The files that were read."""
        return sorted({path for path, _ in self.files})

    def replace(self, again: TargetsFiles) -> None:
        """Remember what was read of files that have changed since: that is in force."""
        self.files.update(again.files)

    def of(self, path: str, group: str, read: Callable[[], ListedTargets]) -> ListedTargets:
        """The targets in the file of a group.

        :raises InvalidTargetsFile: where it cannot be used.
        """
        key = path, group
        if key in self._invalid:
            raise self._invalid[key]
        if key not in self.files:
            try:
                self.files[key] = self._read(key, read)
            except InvalidTargetsFile as problem:
                self._invalid[key] = problem
                raise
        return self.files[key]

    def _read(self, key: tuple[str, str], read: Callable[[], ListedTargets]) -> ListedTargets:
        try:
            return read()
        except InvalidTargetsFile as problem:
            kept = self._former.get(key)
            if kept is None and problem.is_denied:
                kept = self._before.get(key)
                if kept is not None and not may_be_unchanged(kept.state, state_of(key[0])):
                    kept = None
            if kept is None:
                raise
            return kept
