"""A connection to a target, until it has ended."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.flow.side import Side
    from smartproxy.model.address import TargetAddress
    from smartproxy.model.plan import TargetPlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.group import Group


class Connected:
    """A connection to a target, with its TLS established where the target has any.

    :param candidate: the one whose turn it was.
    :param group: ``None`` where the connection takes no turn.
    :ivar target: where it goes: of a candidate that is chosen for each connection, what was chosen.
    :ivar header: PROXY header that is still to be sent, before the client's bytes.
    :ivar exchanged: payload bytes already sent to the target, and already received from it.
    :ivar on_closed: to be called when the connection has ended: its TLS session may be used again.
    """

    __slots__ = ("_candidate", "_group", "address", "exchanged", "header", "on_closed", "side", "target")

    def __init__(
        self,
        side: Side,
        address: TargetAddress,
        target: TargetPlan,
        candidate: Candidate,
        group: Group | None,
        header: bytes,
    ) -> None:
        self.side = side
        self.address = address
        self.target = target
        self.header = header
        self.exchanged = (0, 0)
        self.on_closed: Callable[[], None] = _nothing
        self._candidate = candidate
        self._group = group

    def also_on_closed(self, call: Callable[[], None]) -> None:
        """Call ``call`` too when the connection has ended."""
        self.on_closed = partial(_call_both, self.on_closed, call)

    def closed(self, record: ConnectionRecord) -> None:
        """The connection has ended. Its bytes are added to those of the target."""
        member = self._candidate.member
        member.received += record.bytes_received
        member.sent += record.bytes_sent
        if self._group is not None:
            self._group.release(self._candidate)
        self.on_closed()


def _nothing() -> None:
    """A connection without TLS has no session to keep."""


def _call_both(first: Callable[[], None], second: Callable[[], None]) -> None:
    first()
    second()
