"""The record layer of TLS (RFC 8446, 5.1; the same in RFC 5246, 6.2.1), as long as nothing is encrypted.

A handshake message may be fragmented over any number of records. :func:`handshake_message` reassembles one,
:func:`wrap` fragments it. A peer that uses very small records makes the parser walk over all of them again after
every ``NeedMore``. Two things bound that cost: ``NeedMore`` counts every byte that is certainly still missing, and
the number of records is limited.
"""

from __future__ import annotations

from typing import Final

from smartproxy.wire.verdict import Done, Malformed, NeedMore, Verdict

ALERT: Final = 21
HANDSHAKE: Final = 22

#: Most plaintext of one record, in bytes.
RECORD_LIMIT: Final = 2**14

#: Most records of one message. A ClientHello of usual size in records of one byte each still passes; only test
#: tools send such records.
RECORDS_LIMIT: Final = 1024

#: Version field of a record before a version is negotiated: TLS 1.0 for a first ClientHello, else TLS 1.2.
FIRST_VERSION: Final = 0x0301
LATER_VERSION: Final = 0x0303

_BEGIN = bytes([HANDSHAKE, 3])  # the type, and the major version, which has been 3 since SSL 3
_RECORD_HEAD = 5  # type, version (2), length (2)
_MESSAGE_HEAD = 4  # type, length (3)


def handshake_message(data: bytes | bytearray | memoryview, kind: int, limit: int) -> Verdict[bytes]:
    """The body of the first handshake message, which must be of type ``kind`` and end together with a record.

    ``consumed`` is the length of those records. Handshake messages must not span key changes (RFC 8446, 5.1), and
    keys change after a ClientHello, so no second message may begin in its last record.

    :param limit: most bytes of the records, with their headers.
    """
    held = bytes(data[:limit])
    if held[:2] == _BEGIN and held[_RECORD_HEAD : _RECORD_HEAD + 1] == kind.to_bytes(1, "big"):
        # Nearly every message is one record: three slices instead of a loop.
        end = _RECORD_HEAD + int.from_bytes(held[3:_RECORD_HEAD], "big")
        size = int.from_bytes(held[_RECORD_HEAD + 1 : _RECORD_HEAD + _MESSAGE_HEAD], "big")
        if len(held) >= end == _RECORD_HEAD + _MESSAGE_HEAD + size <= _RECORD_HEAD + RECORD_LIMIT:
            return Done(held[_RECORD_HEAD + _MESSAGE_HEAD : end], end)
    return _reassembled(held, kind, limit)


def _reassembled(held: bytes, kind: int, limit: int) -> Verdict[bytes]:  # noqa: PLR0911 - one return for each thing that a record can be
    """The same for a message that is fragmented or incomplete."""
    message = bytearray()
    # Where the next record begins; payload bytes by the record headers so far; size of the message, once known.
    at, promised, size = 0, 0, _MESSAGE_HEAD
    for _ in range(RECORDS_LIMIT):
        if not _BEGIN.startswith(held[at : at + 2]):
            return Malformed("not a TLS handshake record")
        if len(held) < at + _RECORD_HEAD:
            # Once the size is known, the rest of the message is certainly still to come, not only this header.
            known = size > _MESSAGE_HEAD
            return _wait(at + (_on_the_wire(size - promised) if known else _RECORD_HEAD), limit)
        length = int.from_bytes(held[at + 3 : at + _RECORD_HEAD], "big")
        if not 0 < length <= RECORD_LIMIT:
            return Malformed("TLS record empty or over 16384 bytes")
        end = at + _RECORD_HEAD + length
        message += held[at + _RECORD_HEAD : end]
        at, promised = end, promised + length
        if message and message[0] != kind:
            return Malformed("another handshake message than the one expected")
        if len(message) >= _MESSAGE_HEAD:
            size = _MESSAGE_HEAD + int.from_bytes(message[1:_MESSAGE_HEAD], "big")
            if promised > size:
                return Malformed("more than one message in a record")
        if end > len(held):
            return _wait(end + _on_the_wire(size - promised), limit)
        if promised == size and len(message) >= _MESSAGE_HEAD:
            return Done(bytes(message[_MESSAGE_HEAD:]), end)
    return Malformed("message spread over too many records")


def _on_the_wire(payload: int) -> int:
    """The least bytes that ``payload`` more bytes of a message take, with the headers of their records."""
    if payload <= 0:
        return 0
    records = -(-payload // RECORD_LIMIT)
    return payload + _RECORD_HEAD * records


def _wait(at_least: int, limit: int) -> NeedMore | Malformed:
    return NeedMore(at_least) if at_least <= limit else Malformed(f"message over {limit} bytes")


def wrap(content: int, payload: bytes, *, version: int = LATER_VERSION, size: int = RECORD_LIMIT) -> bytes:
    """Build records of type ``content`` with ``payload``, at most ``size`` bytes of it in each."""
    head = bytes([content]) + version.to_bytes(2, "big")
    cuts = [payload[at : at + size] for at in range(0, len(payload), size)]
    return b"".join(head + len(cut).to_bytes(2, "big") + cut for cut in cuts)
