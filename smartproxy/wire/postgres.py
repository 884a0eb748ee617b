"""PostgreSQL's request for TLS: eight bytes of the client and one of the server, before the ClientHello.

::

    client:  00 00 00 08  04 d2 16 2f     SSLRequest: its own length, and a code that is not a version
    server:  S                            send your ClientHello; N: no TLS here; E...: an error
    client:  16 03 01 ...

So the client sends its SNI only after an answer: a proxy that routes by name must answer before it has chosen a
server. A client may ask for GSSAPI encryption first, in the same way. This module parses and builds the messages;
:mod:`smartproxy.phases.start_tls` implements the exchange.

Sections named here are those of the PostgreSQL documentation, "Frontend/Backend Protocol". A CancelRequest
(55.2.8) has a code of the same kind, but there is no answer to it, so it is not an :class:`EncryptionRequest`;
:func:`parse_cancel` finds its end. A StartupMessage has a version in place of the code.
"""

from __future__ import annotations

import struct
from enum import Enum, IntEnum
from typing import Final

from smartproxy.wire.verdict import Done, Malformed, NeedMore, Verdict


class EncryptionRequest(IntEnum):
    """The encryption that a client requests before its StartupMessage (55.7). 1234 in the upper half is not a version."""

    SSL = 80877103  # 1234, 5679: 55.2.10, "SSL Session Encryption"
    GSSENC = 80877104  # 1234, 5680: 55.2.11, "GSSAPI Session Encryption"


class EncryptionAnswer(Enum):
    """The one byte that a server answers (55.2.10, 55.2.11)."""

    WILLING = b"S"
    UNWILLING = b"N"
    #: First byte of an ErrorResponse. Its text must not be shown to a user: the server is not authenticated yet.
    ERROR = b"E"


#: The ALPN name of the protocol (55.2.10, "direct" TLS; registered with IANA).
ALPN: Final = "postgresql"

_CANCEL: Final = 80877102  # 1234, 5678: 55.7, "CancelRequest"
#: Length, code and process, then the secret key: 4 bytes, and up to 256 from protocol version 3.2 on (55.7).
_CANCEL_HEAD: Final = struct.Struct(">iii")
_KEY_SIZES: Final = range(4, 257)

_MESSAGE: Final = struct.Struct(">ii")  # length of the whole message, request code
_REQUESTS: Final = {_MESSAGE.pack(_MESSAGE.size, request): request for request in EncryptionRequest}
_BEGIN: Final = b"\x00"  # the upper byte of any length under 16 MiB
_ANSWERS: Final = {answer.value: answer for answer in EncryptionAnswer}


def could_be_request(data: bytes | bytearray | memoryview) -> bool:
    """Whether :func:`parse` is worth calling, by the first byte, which few other protocols begin with."""
    return bytes(data[:1]) == _BEGIN


def parse(data: bytes | bytearray | memoryview) -> Verdict[EncryptionRequest]:
    """Parse the request at the beginning of ``data``."""
    begin = bytes(data[: _MESSAGE.size])
    request = _REQUESTS.get(begin)
    if request is not None:
        return Done(request, _MESSAGE.size)
    if any(whole.startswith(begin) for whole in _REQUESTS):
        # One byte more and not eight: these may be all bytes of another protocol, whose client now waits.
        return NeedMore(len(begin) + 1)
    return Malformed("neither SSLRequest nor GSSENCRequest")


def parse_cancel(data: bytes | bytearray | memoryview) -> Verdict[None]:
    """Parse the CancelRequest at the beginning of ``data``; ``Done.consumed`` is its size."""
    head = bytes(data[: _MESSAGE.size])
    length = int.from_bytes(head[:4], "big")
    if head[:2] != b"\0\0"[: len(head)] or (len(head) >= 4 and length - _CANCEL_HEAD.size not in _KEY_SIZES):  # noqa: PLR2004 - of an int
        return Malformed("not the length of a CancelRequest")
    if not _CANCEL.to_bytes(4, "big").startswith(head[4:]):
        return Malformed("not a CancelRequest")
    if len(head) < _MESSAGE.size:
        return NeedMore(len(head) + 1)
    return Done(None, length) if len(data) >= length else NeedMore(length)


def build_cancel(process: int, key: bytes) -> bytes:
    """Build the request to cancel the query of a session.

    :param key: its secret key, 4 to 256 bytes.
    :raises ValueError: where it has another size, or ``process`` does not fit in its field.
    """
    if len(key) not in _KEY_SIZES:
        raise ValueError("the key must have 4 to 256 bytes")
    try:
        return _CANCEL_HEAD.pack(_CANCEL_HEAD.size + len(key), _CANCEL, process) + key
    except struct.error as error:
        raise ValueError(f"not a process: {error}") from None


def build(request: EncryptionRequest) -> bytes:
    """Build the message that requests ``request``."""
    return _MESSAGE.pack(_MESSAGE.size, request)


def parse_answer(data: bytes | bytearray | memoryview) -> Verdict[EncryptionAnswer]:
    """Parse the answer at the beginning of ``data``. Bytes behind it were sent before encryption: see CVE-2021-23222."""
    if not data:
        return NeedMore(1)
    answer = _ANSWERS.get(bytes(data[:1]))
    return Malformed("neither S, N nor E") if answer is None else Done(answer, 1)


def build_answer(answer: EncryptionAnswer) -> bytes:
    """Build the byte that answers ``answer``."""
    return answer.value
