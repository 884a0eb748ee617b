"""Taking a socket away from its transport, with everything that the transport knows of it.

A relay over sockets has no use for the two transports that the sides of a connection have: it moves the bytes itself.
Only transports over sockets of the poller can give theirs away, so the relay asks with :func:`can_detach`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeGuard

if TYPE_CHECKING:
    import socket

    from twisted.python.failure import Failure


class Detached(NamedTuple):
    """A socket that was detached from its transport. The poller still watches it.

    :ivar readable: whether the kernel may have bytes, or the FIN, of it: there will be no event for these.
    :ivar unsent: bytes that were written to the transport and not sent yet.
    :ivar marked: whether the kernel has reported a FIN or urgent data, before which a read stops.
    """

    sock: socket.SocketType
    readable: bool
    unsent: bytes
    marked: bool = False


class SocketBorrower(Protocol):
    """Has the socket of a transport for a time, and handles its events."""

    @property
    def reads(self) -> bool:
        """Whether it reads the socket; else it writes to it."""

    def ready(self, events: int) -> None:
        """See :class:`~smartproxy.net.poller.Pollable`."""

    def failed(self, why: Failure) -> None:
        """See :class:`~smartproxy.net.poller.Pollable`."""

    def stop(self) -> None:
        """Give the socket back now: its transport ends the connection."""


class Detachable(Protocol):
    """A transport whose socket can be detached."""

    def detach(self) -> Detached:
        """Give the socket to the caller, who has it watched and closed from now on. The protocol hears nothing more."""


def can_detach(transport: object) -> TypeGuard[Detachable]:
    """Whether the socket of ``transport`` can be detached. Transports of Twisted have no word for it, and cannot."""
    return bool(getattr(transport, "can_detach", False))
