"""The two directions of a connection for coroutines: reading and writing with back-pressure.

Neither buffers more than one read. Reading from the socket pauses while received bytes are not consumed, so that the
client's send window fills; writing waits while the transport's send buffer is full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IPushProducer
from zope.interface import classImplements

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

#: Bytes written at once: what Twisted's transports buffer before they pause their producer.
_PIECE = 64 * 1024


class InputStream:
    """Bytes from the client.

    :param handed: called with the number of bytes consumed.
    :ivar ended: whether the client's FIN was received.
    """

    def __init__(self, transport: Any, handed: Callable[[int], object], clock: IReactorTime) -> None:
        self._transport = transport
        self._handed = handed
        self._clock = clock
        self._buffered = bytearray()
        self._paused = False
        self._waiting: Deferred[None] | None = None
        self.ended = False

    def arrived(self, data: bytes) -> None:
        """Buffer received bytes. Without a waiting reader the socket is not read again before they are consumed."""
        self._buffered += data
        if self._waiting is not None:
            self._wake()
        elif not self._paused:
            self._paused = True
            self._transport.pauseProducing()

    def finished(self) -> None:
        """Nothing more will be received."""
        self.ended = True
        self._wake()

    async def read(self, most: int, timeout: float | None) -> bytes:  # noqa: ASYNC109 - Twisted has no scope of asyncio's
        """See :meth:`~smartproxy.serving.connection.Connection.read`."""
        if self._waiting is not None:
            raise RuntimeError("read() is called while another read() waits")
        if most and not self._buffered and not self.ended:
            await self._wait_for_data(timeout)
        return self._consume(len(self._buffered) if most < 0 else most)

    def _wait_for_data(self, timeout: float | None) -> Deferred[None]:
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting = waiting
        if timeout is not None:
            waiting.addTimeout(max(timeout, 0.0), self._clock, _too_late)
        return waiting

    def _consume(self, most: int) -> bytes:
        taken = bytes(self._buffered[:most])
        del self._buffered[:most]
        if taken:
            self._handed(len(taken))
        if self._paused and not self._buffered:
            self._paused = False
            self._transport.resumeProducing()
        return taken

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _forget(self, _: Deferred[None]) -> None:
        self._waiting = None


class OutputStream:
    """Bytes to the client. As the transport's producer it is paused while the send buffer is full.

    :param handed: called with the number of bytes written.
    :ivar closed: whether nothing more can be written.
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
            await self._wait_for_room()
            piece = bytes(data[start : start + _PIECE])
            self._transport.write(piece)
            self._handed(len(piece))
        await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        if self._full and not self.closed:
            waiting: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(waiting)
            await waiting
        if self.closed:
            raise ConnectionClosed("the connection is closed for writing")

    def finish(self) -> None:
        """Refuse further writes, and wake those that wait."""
        self.closed = True
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """The send buffer is full."""
        self._full = True

    def resumeProducing(self) -> None:
        """The send buffer has room again."""
        self._full = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def stopProducing(self) -> None:
        """The transport is closed; the connection handles it in ``connectionLost``."""


classImplements(OutputStream, IPushProducer)


def _too_late(_: object, seconds: float) -> None:
    raise TimeoutError(f"nothing was received for {seconds} s")
