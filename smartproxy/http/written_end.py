"""The end of a transport whose socket is lent to be written: the events that it gets meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from smartproxy.net.poller import BROKEN, MARKED, READABLE, WRITABLE

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from smartproxy.net.stream import Stream


class WritesLentSocket(Protocol):
    """What writes to a lent socket."""

    @property
    def sink(self) -> Stream:
        """The transport that has lent it."""

    def pump(self) -> None:
        """Write on."""

    def stop(self) -> None:
        """Give everything back."""


class WrittenEnd:
    """Gets the events of the socket that is written."""

    __slots__ = ("_moving",)

    reads: ClassVar[bool] = False

    def __init__(self, moving: WritesLentSocket) -> None:
        self._moving = moving

    def ready(self, events: int) -> None:
        """Write on. Its other direction is not lent; and if it is reset, its transport is to know at once."""
        moving = self._moving
        if events & BROKEN:
            moving.stop()
            moving.sink.ready(events)
            return
        if events & (READABLE | MARKED):
            moving.sink.ready(events & ~WRITABLE)
        moving.pump()

    def stop(self) -> None:
        """The connection is ended by other means."""
        self._moving.stop()

    def failed(self, why: Failure) -> None:
        """The poller stops, or something has raised an exception."""
        self._moving.stop()
        self._moving.sink.failed(why)
