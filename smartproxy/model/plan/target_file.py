"""Targets of a group that are in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.plan.target import TargetPlan
    from smartproxy.model.plan.tls import FileState


class TargetFile:
    """The targets in a file, which are replaced when the file changes.

    Like an :class:`~smartproxy.model.plan.address_file.AddressFile` it is a part of a plan that changes.

    :ivar path: of the file.
    :ivar state: of the file, before it was read.
    :ivar targets: what it contained when it was last read.
    :ivar read: reads it again; it may take long. Raises :exc:`~smartproxy.errors.InvalidTargetsFile`.
    """

    __slots__ = ("path", "read", "state", "targets")

    def __init__(
        self,
        path: str,
        state: FileState | None,
        targets: tuple[TargetPlan, ...],
        read: Callable[[], TargetFile],
    ) -> None:
        self.path = path
        self.state = state
        self.targets = targets
        self.read = read
