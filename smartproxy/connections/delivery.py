"""Whether a silent connection still delivers what was written to it.

The kernel accepts megabytes at once that a slow peer takes minutes to read. Meanwhile no byte is handed on, but what the peer
acknowledges shows that it reads. So before a connection is closed for its silence, the kernel is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartproxy.model.record import ConnectionRecord


class Delivery:
    """What the peers of one connection had acknowledged when they were last asked about."""

    __slots__ = ("_acknowledged",)

    def __init__(self) -> None:
        self._acknowledged = -1

    def goes_on(self, record: ConnectionRecord, now: float) -> bool:
        """Whether bytes wait to be acknowledged, and some were since the last call. Then that is activity of ``record``.

        The first call that finds waiting bytes has nothing to compare with, and returns ``True``.
        """
        before, acknowledged = self._acknowledged, record.owner.acknowledged()
        if acknowledged is None or acknowledged <= before:
            return False
        self._acknowledged = acknowledged
        record.last_activity_at = now
        return True
