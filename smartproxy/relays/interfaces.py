"""The interface of a relay, however it moves the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from smartproxy.flow.event import AwaitableEvent
    from smartproxy.model.outcome import CloseReason
    from smartproxy.model.record import ConnectionRecord


# ruff: noqa: N805 - an interface has no self


class IRelay(Interface):
    """Moves the bytes of one linked connection, both ways, until both have ended.

    Every byte that was handed on is counted in the record, once. A half-close is passed on in either direction, and
    so is a reset. Neither side is read while the other does not accept data.
    """

    record: ConnectionRecord = Attribute("Counts the bytes.")

    def start(header: bytes, held: bytes, ended: bool) -> AwaitableEvent[CloseReason]:
        """Start relaying.

        :param header: is sent upstream first, and not counted.
        :param held: the client's first bytes, received before the link.
        :param ended: whether the client's FIN was received already.
        :return: happens with the reason when both sockets are closed.
        """

    def gone() -> tuple[bool, bool]:
        """Whether the client's and the upstream's connection no longer exist, according to the kernel."""

    def acknowledged() -> int | None:
        """How many bytes both peers have acknowledged so far; ``None`` if nothing waits to be acknowledged."""

    def abort(reason: CloseReason) -> None:
        """Reset both sides now. The event of :meth:`start` happens with ``reason``.

        For ``half_close_timeout``, a side whose end was sent in order is closed in order: it may still be reading.
        """
