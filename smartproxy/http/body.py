"""Bodies: read in the framing that they were sent in, and written in that of the other side.

::

    reader = BodyReader(framing)
    verdict = reader.feed(received, pieces)     # None: more is to come. Ended(consumed, trailers), or Malformed
    writer = BodyWriter(transport.write, head, chunked=True)
    writer.write(pieces)
    writer.end(trailers)

Nothing is gathered: each piece is written when it was read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.wire.http_chunked import CHUNK_END, ChunkedDecoder, chunk_begin, last_chunk
from smartproxy.wire.http_framing import Body, Framing
from smartproxy.wire.verdict import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartproxy.wire.http_fields import Fields

#: Bytes below which a body is copied, and not moved by the kernel: a pipe and two lent sockets cost as much.
LEAST_MOVED: Final = 64 * 1024


class EndedBody(NamedTuple):
    """A body has ended. ``consumed`` bytes of what was fed last belong to it; ``None`` are the trailers of one without chunks."""

    consumed: int
    trailers: Fields | None


class BodyReader:
    """Reads one body."""

    __slots__ = ("_body", "_decoder", "_left")

    def __init__(self, framing: Framing) -> None:
        self._body = framing.body
        self._left = framing.length
        self._decoder = ChunkedDecoder() if framing.body is Body.CHUNKED else None

    def feed(self, received: bytes, pieces: list[bytes | memoryview]) -> EndedBody | Malformed | None:
        """Read on. ``pieces`` gets the content, as views of ``received``."""
        if self._decoder is not None:
            verdict = self._decoder.feed(received, pieces)
            if verdict is None or isinstance(verdict, Malformed):
                return verdict
            return EndedBody(verdict.consumed, verdict.value)
        if self._body is Body.UNTIL_CLOSE:
            pieces.append(received)
            return None
        size, left = len(received), self._left
        if size <= left:
            pieces.append(received)
            self._left = left - size
            return None if size < left else EndedBody(size, None)
        if left:
            pieces.append(memoryview(received)[:left])
            self._left = 0
        return EndedBody(left, None)

    @property
    def left(self) -> int:
        """How many bytes of a body of known length are still to be read; can be set, where others have read some. Else 0."""
        return self._left

    @left.setter
    def left(self, count: int) -> None:
        self._left = count

    @property
    def may_end_by_close(self) -> bool:
        """Whether the end of the connection is the end of the body; anywhere else it is a cut."""
        return self._body is Body.UNTIL_CLOSE


class BodyWriter:
    """Writes one message: its head, and its body.

    The head is written with the first piece of the body, in one system call, or by :meth:`flush`.

    :param write: of the transport.
    :param chunked: whether the body is written in chunks; else its length was announced, or the connection's end is its end.
    """

    __slots__ = ("_chunked", "_unwritten", "_write")

    def __init__(self, write: Callable[[bytes], object], head: bytes, *, chunked: bool) -> None:
        self._write = write
        self._chunked = chunked
        self._unwritten = head

    @property
    def is_raw(self) -> bool:
        """Whether content is written as it is, and the head was."""
        return not self._chunked and not self._unwritten

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write content."""
        if not self._unwritten and not self._chunked and len(pieces) == 1 and isinstance(pieces[0], bytes):
            self._write(pieces[0])
            return
        parts: list[bytes | memoryview] = [self._unwritten]
        for piece in pieces:
            if self._chunked:
                parts += (chunk_begin(len(piece)), piece, CHUNK_END)
            else:
                parts.append(piece)
        self._unwritten = b""
        self._write(b"".join(parts))

    def end(self, trailers: bytes = b"") -> None:
        """The body ends here. ``trailers``, lines with their CRLF, are dropped where there are no chunks."""
        if self._chunked:
            self._unwritten += last_chunk(trailers)
        self.flush()

    def flush(self) -> None:
        """Write what is not written yet."""
        unwritten, self._unwritten = self._unwritten, b""
        if unwritten:
            self._write(unwritten)
