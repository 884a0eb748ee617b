"""The body of a request, for a coroutine that reads it: with back-pressure.

Received pieces are held until they are read. Above :data:`HELD` bytes the client is read no more. So a body of no more than
that is received whole whether or not it is read, and the connection stays usable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed

from smartproxy.errors import BodyTooLong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Bytes held while nobody reads them.
HELD: Final = 64 * 1024


def _ignored() -> None:
    """There is no client any more."""


class BodyStream:
    """An asynchronous iterator of the pieces of one body.

    :param pause: reads the client no more.
    :param resume: reads on.
    :param wanted: called before the first read that has to wait for the client.
    :ivar is_complete: whether the end was received.
    """

    def __init__(
        self, pause: Callable[[], object], resume: Callable[[], object], wanted: Callable[[], object]
    ) -> None:
        self._pause = pause
        self._resume = resume
        self._wanted = wanted
        self._held = bytearray()
        self._is_paused = False
        self._is_cut = False
        self._waiting: Deferred[None] | None = None
        self.is_complete = False

    # -- for the reader ------------------------------------------------------------------------------

    def __aiter__(self) -> BodyStream:
        """The pieces that follow."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece: what was received and not read yet.

        :raises ConnectionClosed: where the exchange has ended meanwhile.
        """
        while not self._held:
            if self._is_cut:
                raise ConnectionClosed("the exchange has ended")
            if self.is_complete:
                raise StopAsyncIteration
            self._wanted()
            await self._wait()
        data = bytes(self._held)
        self._held.clear()
        if self._is_paused:
            self._is_paused = False
            self._resume()
        return data

    async def read(self, limit: int) -> bytes:
        """All of it that was not read yet.

        :raises BodyTooLong: where that is over ``limit`` bytes.
        :raises ConnectionClosed: where the exchange has ended meanwhile.
        """
        parts, size = [], 0
        async for piece in self:
            size += len(piece)
            if size > limit:
                raise BodyTooLong(f"a body of over {limit} bytes")
            parts.append(piece)
        return b"".join(parts)

    async def discard(self, limit: int) -> None:
        """Read and drop up to about ``limit`` bytes; less where another reader waits."""
        while limit > 0 and not self.is_complete and self._waiting is None:
            try:
                limit -= len(await self.__anext__())
            except StopAsyncIteration:
                return

    def _wait(self) -> Deferred[None]:
        if self._waiting is not None:
            raise RuntimeError("the body is read while another read of it waits")
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting = waiting
        return waiting

    # -- from the client -----------------------------------------------------------------------------

    def received(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Hold pieces until they are read."""
        if self._is_cut:
            return
        for piece in pieces:
            self._held += piece
        if self._waiting is None and len(self._held) > HELD and not self._is_paused:
            self._is_paused = True
            self._pause()
        self._wake()

    def ended(self) -> None:
        """All of it was received."""
        self.is_complete = True
        self._wake()

    def cut(self) -> None:
        """The exchange has ended: nothing is held any more, also not the client's connection."""
        self._is_cut = True
        self._pause = self._resume = self._wanted = _ignored
        self._held.clear()
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _forget(self, _: Deferred[None]) -> None:
        self._waiting = None
