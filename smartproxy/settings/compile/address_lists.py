"""The address lists of a configuration: entries, and files that are named ``file:PATH``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.model.plan import AddressFile
from smartproxy.security.address_files import AddressLists, read_address_file
from smartproxy.security.address_set import AddressSet
from smartproxy.settings.compile.file_contents import FileContents
from smartproxy.settings.tables.rules import ADDRESS_FILE

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path


class ListedAddresses:
    """The address lists of one configuration.

    :param directory: see :class:`~smartproxy.settings.compile.file_contents.FileContents`, and ``former`` and ``before``, too.
    """

    def __init__(
        self,
        directory: Path,
        former: ListedAddresses | None = None,
        before: ListedAddresses | None = None,
    ) -> None:
        self._files: FileContents[AddressFile] = FileContents(
            directory,
            read_address_file,
            lambda path, kept: AddressFile(path, kept.state, kept.current),
            None if former is None else former._files,  # noqa: SLF001 - of the same class
            None if before is None else before._files,  # noqa: SLF001 - likewise
        )
        self._by_id: dict[int, Container[str]] = {}

    @property
    def files(self) -> dict[str, AddressFile]:
        """Those that were read, by path."""
        return self._files.by_path

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
        return self._files(entry.removeprefix(ADDRESS_FILE).strip())

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
