"""What every relay does, whichever way it moves the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from smartproxy.model.outcome import CloseReason
    from smartproxy.model.record import ConnectionRecord


# ruff: noqa: N805 - an interface has no self


class IRelay(Interface):
    """Moves the bytes of one linked connection, both ways, until both have ended.

    Every byte that was handed on is told to the record, once. Half-close passes through, in either
    direction; so does a reset. Neither side is read while the other does not take.
    """

    record: ConnectionRecord = Attribute("What the bytes are told to.")

    def start(header: bytes, held: bytes, ended: bool) -> Deferred[CloseReason]:
        """Begin. ``header`` goes upstream first and is not counted; then ``held``, the client's first bytes.

        ``ended``: the client's FIN has come already. The Deferred fires when both sockets have been let go.
        """

    def gone() -> tuple[bool, bool]:
        """Whether the client's and the upstream's socket are gone, as the kernel says."""

    def abort(reason: CloseReason) -> None:
        """End both sides now, with a reset; the Deferred fires with ``reason``."""
