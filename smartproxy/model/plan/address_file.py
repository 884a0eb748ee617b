"""Address lists of a configuration that are in files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from smartproxy.model.plan.tls import FileState


class AddressFile:
    """The addresses in a file: a set whose content is replaced when the file changes.

    It is the one part of a plan that changes: a new block list applies to the next connection, without a reload.

    :ivar path: of the file.
    :ivar state: of the file, before it was read.
    :ivar current: what it contained when it was last read.
    """

    __slots__ = ("current", "path", "state")

    def __init__(self, path: str, state: FileState | None, current: Container[str]) -> None:
        self.path = path
        self.state = state
        self.current = current

    def __contains__(self, address: object) -> bool:
        """Whether the file has the address now. A file without addresses has none: an allow list of it refuses every client."""
        return address in self.current

    def __str__(self) -> str:
        """The file, and the first few of its networks."""
        return f"{self.path} ({self.current})" if str(self.current) else f"{self.path} (empty)"
