"""The two directions of a connection, for code that waits: bytes to read, and room to write.

Neither holds more than a read's worth. Reading pauses while what has come is not taken, so that the client's
own window fills; writing waits while the transport has more than it can send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

#: Bytes written in one go: what Twisted's transports hold before they ask their producer to pause.
_PIECE = 64 * 1024


class InputStream:
    """What the client says.

    :param handed: told how many bytes have been taken.
    :ivar ended: nothing more will come.
    """

    def __init__(self, transport: Any, handed: Callable[[int], object], clock: IReactorTime) -> None:
        self._transport = transport
        self._handed = handed
        self._clock = clock
        self._held = bytearray()
        self._paused = False
        self._waiting: Deferred[None] | None = None
        self.ended = False

    def arrived(self, data: bytes) -> None:
        """Something has come. Unless somebody waits for it, nothing more is wanted before it is taken."""
        self._held += data
        if self._waiting is not None:
            self._tell()
        elif not self._paused:
            self._paused = True
            self._transport.pauseProducing()

    def finished(self) -> None:
        """That was all."""
        self.ended = True
        self._tell()

    async def read(self, most: int, timeout: float | None) -> bytes:  # noqa: ASYNC109 - Twisted has no scope of asyncio's
        """See :meth:`~smartproxy.serving.connection.Connection.read`."""
        if self._waiting is not None:
            raise RuntimeError("somebody is reading already")
        if most and not self._held and not self.ended:
            await self._more(timeout)
        return self._take(len(self._held) if most < 0 else most)

    def _more(self, timeout: float | None) -> Deferred[None]:
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting = waiting
        if timeout is not None:
            waiting.addTimeout(max(timeout, 0.0), self._clock, _too_late)
        return waiting

    def _take(self, most: int) -> bytes:
        taken = bytes(self._held[:most])
        del self._held[:most]
        if taken:
            self._handed(len(taken))
        if self._paused and not self._held:
            self._paused = False
            self._transport.resumeProducing()
        return taken

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _forget(self, _: Deferred[None]) -> None:
        self._waiting = None


@implementer(IPushProducer)
class OutputStream:
    """What the client is told. It is the transport's producer, and so hears when there is no room.

    :param handed: told how many bytes have been written.
    :ivar closed: nothing more can be written.
    """

    def __init__(self, transport: Any, handed: Callable[[int], object]) -> None:
        self._transport = transport
        self._handed = handed
        self._full = False
        self._waiting: list[Deferred[None]] = []
        self.closed = False

    async def write(self, data: bytes) -> None:
        """See :meth:`~smartproxy.serving.connection.Connection.write`."""
        for start in range(0, len(data), _PIECE):
            await self._room()
            piece = bytes(data[start : start + _PIECE])
            self._transport.write(piece)
            self._handed(len(piece))
        await self._room()

    async def _room(self) -> None:
        if self._full and not self.closed:
            waiting: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(waiting)
            await waiting
        if self.closed:
            raise ConnectionClosed("there is nobody to write to any more")

    def finish(self) -> None:
        """Nothing more is to be written."""
        self.closed = True
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """There is no room."""
        self._full = True

    def resumeProducing(self) -> None:
        """There is room again."""
        self._full = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def stopProducing(self) -> None:
        """The transport has gone; the connection is told of it by itself."""


def _too_late(_: object, seconds: float) -> None:
    raise TimeoutError(f"nothing has come for {seconds} s")
