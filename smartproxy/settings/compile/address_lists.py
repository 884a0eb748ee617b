"""The address lists of a configuration: entries, and files that are named ``file:PATH``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import InvalidAddressFile
from smartproxy.files.states import may_be_unchanged, state_of
from smartproxy.model.plan import AddressFile
from smartproxy.security.address_files import AddressLists, read_address_file
from smartproxy.security.address_set import AddressSet
from smartproxy.settings.tables.rules import ADDRESS_FILE

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path


class ListedAddresses:
    """The address lists of one configuration. Each file is read once, and its content or its problem remembered.

    :param directory: what the paths of files are relative to.
    :param former: those of the same configuration, as they were read before: a file that cannot be used any more has its
        former content. They hold what is in force.
    :param before: those of the configuration before: they serve only where this user may not read a file again.
    :ivar files: those that were read, by path.
    """

    def __init__(
        self,
        directory: Path,
        former: ListedAddresses | None = None,
        before: ListedAddresses | None = None,
    ) -> None:
        self._directory = directory
        self._former = {} if former is None else former.files
        self._before = {} if before is None else before.files
        self.files: dict[str, AddressFile] = {}
        self._invalid: dict[str, InvalidAddressFile] = {}
        self._by_id: dict[int, Container[str]] = {}

    def of(self, entries: list[str]) -> Container[str] | None:
        """The addresses of a list of the settings, or ``None`` for an empty list.

        :raises InvalidAddressFile: where a file of it cannot be used.
        """
        if not entries:
            return None
        # Thousands of routes may share the list of their defaults. The settings keep it alive, so its id is not reused
        # while this object exists.
        if id(entries) not in self._by_id:
            self._by_id[id(entries)] = self._made(entries)
        return self._by_id[id(entries)]

    def file(self, entry: str) -> AddressFile:
        """The file that an entry names.

        :raises InvalidAddressFile: where it cannot be used.
        """
        path = str(self._directory / entry.removeprefix(ADDRESS_FILE).strip())
        if path in self._invalid:
            raise self._invalid[path]
        if path not in self.files:
            try:
                self.files[path] = self._read(path)
            except InvalidAddressFile as problem:
                self._invalid[path] = problem
                raise
        return self.files[path]

    def _made(self, entries: list[str]) -> Container[str]:
        own = [entry for entry in entries if not entry.startswith(ADDRESS_FILE)]
        files = [self.file(entry) for entry in entries if entry.startswith(ADDRESS_FILE)]
        if not files:
            return AddressSet(own)
        return (
            files[0]
            if not own and len(files) == 1
            else AddressLists([*([AddressSet(own)] if own else []), *files])
        )

    def _read(self, path: str) -> AddressFile:
        try:
            return read_address_file(path)
        except InvalidAddressFile as problem:
            kept = self._former.get(path)
            if kept is None and problem.is_denied:
                kept = self._before.get(path)
                if kept is not None and not may_be_unchanged(kept.state, state_of(path)):
                    kept = None
            if kept is None:
                raise
            return AddressFile(path, kept.state, kept.current)
