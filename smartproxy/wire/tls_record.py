"""The record layer of TLS (RFC 8446, 5.1; the same in RFC 5246, 6.2.1), as long as nothing is encrypted.

A handshake message may be fragmented over any number of records. :class:`HandshakeMessage` reassembles one from bytes
that are received in pieces, and looks at each record once; :func:`handshake_message` does it for bytes that are
complete as a rule. :func:`wrap` fragments a message.
"""

from __future__ import annotations

from typing import Final

from smartproxy.wire.verdict import Done, Malformed, NeedMore, Verdict

ALERT: Final = 21
HANDSHAKE: Final = 22

#: Most plaintext of one record, in bytes.
RECORD_LIMIT: Final = 2**14

#: Version field of a record before a version is negotiated: TLS 1.0 for a first ClientHello, else TLS 1.2.
FIRST_VERSION: Final = 0x0301
LATER_VERSION: Final = 0x0303

# Each of these violates the record protocol and has an alert of its own (RFC 8446, 5.1 and 6.2).
OTHER_RECORD: Final = Malformed("not a TLS handshake record")
OTHER_MESSAGE: Final = Malformed("another handshake message than the one expected")
SECOND_MESSAGE: Final = Malformed("more than one message in a record")
EMPTY_RECORD: Final = Malformed("empty TLS record")
LONG_RECORD: Final = Malformed("TLS record over 16384 bytes")

_BEGIN = bytes([HANDSHAKE, 3])  # the type, and the major version, which has been 3 since SSL 3
_RECORD_HEAD = 5  # type, version (2), length (2)
_MESSAGE_HEAD = 4  # type, length (3)


def handshake_message(
    data: bytes | bytearray | memoryview, kind: int, limit: int, wire_limit: int
) -> Verdict[bytes]:
    """The body of the first handshake message, as :class:`HandshakeMessage` gives it."""
    held = bytes(data[:wire_limit])
    if held[:2] == _BEGIN and held[_RECORD_HEAD : _RECORD_HEAD + 1] == kind.to_bytes(1, "big"):
        # Nearly every message is one record: three slices instead of a loop.
        end = _RECORD_HEAD + int.from_bytes(held[3:_RECORD_HEAD], "big")
        size = int.from_bytes(held[_RECORD_HEAD + 1 : _RECORD_HEAD + _MESSAGE_HEAD], "big")
        if len(held) >= end == _RECORD_HEAD + _MESSAGE_HEAD + size <= _RECORD_HEAD + RECORD_LIMIT:
            return Done(held[_RECORD_HEAD + _MESSAGE_HEAD : end], end)
    return HandshakeMessage(kind, limit, wire_limit)(held)


class HandshakeMessage:
    """Reassembles the first handshake message, which must be of type ``kind`` and end together with a record.

    It is called with all bytes received so far, as often as there are more, and gives a verdict each time: the body of
    the message, where ``consumed`` is the length of its records. Complete records are not looked at again, so the
    time is linear however small records and pieces are. ``NeedMore`` reaches no further than behind the header of the
    next record, so that a record which is not allowed there is refused as soon as it is received.

    Handshake messages must not span key changes (RFC 8446, 5.1), and keys change after a ClientHello, so no second
    message may begin in its last record.

    :param limit: most bytes of the body.
    :param wire_limit: most bytes of the records, with their headers.
    """

    __slots__ = ("_at", "_kind", "_limit", "_message", "_size", "_wire_limit")

    def __init__(self, kind: int, limit: int, wire_limit: int) -> None:
        self._kind = kind
        self._limit = limit
        self._wire_limit = wire_limit
        self._at = 0  # where the first record begins that was not complete
        self._message = bytearray()  # the fragments of the records before it
        self._size = _MESSAGE_HEAD  # of the message with its head; more than the head once it is known

    def __call__(self, data: bytes | bytearray | memoryview) -> Verdict[bytes]:
        """The verdict on ``data``, which begins with the bytes of the former call."""
        while True:
            begin = self._at + _RECORD_HEAD
            head = bytes(data[self._at : begin])
            if not _BEGIN.startswith(head[:2]):
                return OTHER_RECORD
            if len(head) < _RECORD_HEAD:
                return self._wait(begin)
            length = int.from_bytes(head[3:], "big")
            if not length:
                return EMPTY_RECORD
            if length > RECORD_LIMIT:
                return LONG_RECORD
            verdict = self._look(data, begin, begin + length)
            if verdict is not None:
                return verdict

    def _look(self, data: bytes | bytearray | memoryview, begin: int, end: int) -> Verdict[bytes] | None:
        """The verdict on the record from ``begin`` to ``end``; ``None`` if the next one has to be looked at."""
        known = len(self._message)
        if known < _MESSAGE_HEAD:
            message_head = bytes(self._message + data[begin : min(end, begin + _MESSAGE_HEAD - known)])
            if message_head and message_head[0] != self._kind:
                return OTHER_MESSAGE
            if len(message_head) == _MESSAGE_HEAD:
                self._size = _MESSAGE_HEAD + int.from_bytes(message_head[1:], "big")
                if self._size > _MESSAGE_HEAD + self._limit:
                    return Malformed(f"message over {self._limit} bytes")
            elif len(data) < end:
                return self._wait(min(end, begin + _MESSAGE_HEAD - known))
        missing = self._size - known - (end - begin)
        if missing < 0:
            return SECOND_MESSAGE
        if len(data) < end or end > self._wire_limit:
            return self._wait(end + _RECORD_HEAD if missing else end)
        self._message += data[begin:end]
        self._at = end
        return None if missing else Done(bytes(self._message[_MESSAGE_HEAD:]), end)

    def _wait(self, at_least: int) -> NeedMore | Malformed:
        if at_least > self._wire_limit:
            return Malformed(f"message over {self._wire_limit} bytes with its records")
        return NeedMore(at_least)


def wrap(content: int, payload: bytes, *, version: int = LATER_VERSION, size: int = RECORD_LIMIT) -> bytes:
    """Build records of type ``content`` with ``payload``, at most ``size`` bytes of it in each."""
    head = bytes([content]) + version.to_bytes(2, "big")
    cuts = [payload[at : at + size] for at in range(0, len(payload), size)]
    return b"".join(head + len(cut).to_bytes(2, "big") + cut for cut in cuts)
