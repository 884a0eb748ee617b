"""What a group of targets asks where several processes share ``maxConnections`` of its targets.

Not in :mod:`smartproxy.upstream.interfaces`, which refers to candidates and members: they refer to this.
"""

from __future__ import annotations

from typing import Protocol


class TargetNumber(Protocol):
    """The number of connections to one target, in this process and in all that share its ``maxConnections``."""

    def set(self, number: int) -> None:
        """Count ``number`` for this process."""

    def claim(self, number: int, limit: int) -> bool:
        """Set ``number``, which is one more than before, unless all processes then have more than ``limit``.

        :param limit: 0 is none.
        :return: whether it was set.
        """

    def total(self) -> int:
        """The number of all processes."""


class SharedTargets(Protocol):
    """The targets whose ``maxConnections`` several processes share."""

    def of_target(self, group: str, name: str) -> TargetNumber:
        """The number of a target. This process uses it until :meth:`drop_target`."""

    def drop_target(self, group: str, name: str) -> None:
        """Count nothing for that target any more: this process has no connection to it."""
