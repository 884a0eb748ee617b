"""Chunked bodies (RFC 9112, 7.1): read in any cut, and written.

::

    decoder, pieces = ChunkedDecoder(), []
    verdict = decoder.feed(received, pieces)     # None: more is to come. Done(trailers, consumed), or Malformed
    for piece in pieces:                         # the body, as slices of what was received
        write(chunk_begin(len(piece)) + piece + CHUNK_END)
    write(last_chunk(trailers))

States of the decoder::

    SIZE --> DATA --> DATA_END --> SIZE      a chunk
    SIZE --> TRAILERS                        the last chunk, of size 0; an empty line ends the body

Extensions of chunks are dropped, as a recipient may do with those that it does not know (RFC 9112, 7.1.1). They are bounded
for a whole body, and not only for a chunk: a body of a million one-byte chunks with long extensions would keep the proxy
busy and forward nothing.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final, TypeAlias

from smartproxy.wire.http_fields import HEADERS_LIMIT, Fields
from smartproxy.wire.verdict import Done, Malformed

#: Longest line of a chunk in bytes, its extensions included, without CRLF.
LINE_LIMIT: Final = 1024
#: Bytes of extensions in a whole body (Go and Node: 16 KiB).
EXTENSIONS_LIMIT: Final = 16 * 1024
#: Longest trailer section in bytes.
TRAILERS_LIMIT: Final = 8 * 1024
#: What follows the data of each chunk.
CHUNK_END: Final = b"\r\n"

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})([\t ]*;[\t -~\x80-\xff]*)?")
_PLAIN_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_LONGEST: Final = (1 << 63) - 1

_NOT_A_SIZE: Final = Malformed("not the size of a chunk")
_NOT_AN_END: Final = Malformed("no line break behind a chunk")
_BARE_LF: Final = Malformed("CR or LF alone in a chunked body")
_TOO_LONG: Final = Malformed("a chunk's line over 1024 bytes")
_EXTENSIONS: Final = Malformed("over 16384 bytes of chunk extensions")
_TRAILERS: Final = Malformed("trailers over 8192 bytes or 100 fields")
_NOT_TRAILERS: Final = Malformed("not trailer fields")

Received: TypeAlias = bytes | bytearray | memoryview


class _ChunkPart(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()


_IN_SIZE, _IN_DATA, _IN_DATA_END, _IN_TRAILERS = (
    _ChunkPart.SIZE,
    _ChunkPart.DATA,
    _ChunkPart.DATA_END,
    _ChunkPart.TRAILERS,
)


class ChunkedDecoder:
    """Reads one body. What it has consumed is not kept, except for an incomplete line."""

    __slots__ = ("_extensions", "_held", "_left", "_state", "_trailers")

    def __init__(self) -> None:
        self._state = _IN_SIZE
        self._left = 0  # bytes of the chunk that are to come
        self._held = bytearray()  # an incomplete line
        self._trailers = bytearray()
        self._extensions = 0

    def feed(self, received: Received, pieces: list[bytes | memoryview]) -> Done[Fields] | Malformed | None:
        """Read on.

        :param pieces: gets the data of chunks, as views of ``received``, which must not change before they are used.
        :return: ``None`` while the body goes on. :class:`Done` has the trailers, and the bytes of ``received`` that
            belong to the body. After anything but ``None`` it must not be called again.
        """
        data = received if isinstance(received, bytes) else bytes(received)
        view, at = memoryview(received), 0
        while at < len(view):
            if self._state is _IN_DATA:
                count = min(self._left, len(view) - at)
                pieces.append(view[at : at + count])
                at += count
                self._left -= count
                if not self._left:
                    self._state = _IN_DATA_END
                continue
            if not self._held and (behind := self._plain(data, at)):
                at = behind
                continue
            at = self._hold_line(data, at)
            if self._held[-1:] != b"\n":
                return self._too_long()
            verdict = self._line()
            if verdict is not None:
                return verdict if isinstance(verdict, Malformed) else Done(verdict, at)
        return None

    def _plain(self, data: bytes, at: int) -> int:
        """Read a size without extension, or the end of a chunk, that is there whole. Returns where it ends; 0 if it is neither."""
        if self._state is _IN_SIZE:
            match = _PLAIN_SIZE.match(data, at)
            if match is None:
                return 0
            self._left = int(match[1], 16)
            self._state = _IN_DATA if self._left else _IN_TRAILERS
            return match.end()
        if self._state is _IN_DATA_END and data.startswith(CHUNK_END, at):
            self._state = _IN_SIZE
            return at + len(CHUNK_END)
        return 0

    def _hold_line(self, data: bytes, at: int) -> int:
        """Hold bytes up to the next LF, or a few more than a line may have. Returns where they end."""
        most = at + TRAILERS_LIMIT + 3
        end = data.find(b"\n", at, most) + 1 or min(most, len(data))
        self._held += data[at:end]
        return end

    def _too_long(self) -> Malformed | None:
        """Refuse an incomplete line that no later byte can make valid."""
        size = len(self._held) - self._held.endswith(b"\r")
        if self._state is _IN_DATA_END:
            return _NOT_AN_END if size else None
        if self._state is _IN_TRAILERS:
            return _TRAILERS if len(self._trailers) + size + 2 > TRAILERS_LIMIT else None
        return _TOO_LONG if size > LINE_LIMIT else None

    def _line(self) -> Fields | Malformed | None:
        """Use the line that is complete now. ``Fields`` is the end of the body."""
        if not self._held.endswith(b"\r\n"):
            return _BARE_LF
        line = bytes(self._held[:-2])
        self._held.clear()
        if self._state is _IN_SIZE:
            return self._size_line(line)
        if self._state is _IN_TRAILERS:
            return self._trailer_line(line)
        if line:
            return _NOT_AN_END
        self._state = _IN_SIZE
        return None

    def _size_line(self, line: bytes) -> Malformed | None:
        if len(line) > LINE_LIMIT:
            return _TOO_LONG
        match = _SIZE.fullmatch(line)
        if match is None:
            return _NOT_A_SIZE
        self._left = int(match[1], 16)
        if self._left > _LONGEST:
            return _NOT_A_SIZE
        self._extensions += len(line) - len(match[1])
        if self._extensions > EXTENSIONS_LIMIT:
            return _EXTENSIONS
        self._state = _IN_DATA if self._left else _IN_TRAILERS
        return None

    def _trailer_line(self, line: bytes) -> Fields | Malformed | None:
        trailers = self._trailers
        if line:
            trailers += line + b"\r\n"
            too_many = len(trailers) > TRAILERS_LIMIT or trailers.count(b"\n") > HEADERS_LIMIT
            return _TRAILERS if too_many else None
        try:
            return Fields.parse(bytes(trailers))
        except ValueError:
            return _NOT_TRAILERS


def chunk_begin(size: int) -> bytes:
    """What precedes the data of a chunk of ``size`` bytes, which is above 0."""
    return b"%x\r\n" % size


def last_chunk(trailers: bytes = b"") -> bytes:
    """The end of a body; ``trailers`` are lines with their CRLF."""
    return b"0\r\n%b\r\n" % trailers
