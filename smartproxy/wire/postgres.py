"""How TLS begins with PostgreSQL: eight bytes of the client, and one of the server, before any hello.

::

    client:  00 00 00 08  04 d2 16 2f     SSLRequest: its own length, and a number that is no version
    server:  S                            go on with your ClientHello; N: there is none; E...: an error
    client:  16 03 01 ...

So the name that a client asks for comes only when it has been answered: who routes by it has to speak for a
server that is not chosen yet. A client may ask for GSSAPI encryption first, in the same way. This module is
the three messages; who says what when is for :mod:`smartproxy.phases.start_tls`.

The sections named here are those of the PostgreSQL documentation, "Frontend/Backend Protocol". A
CancelRequest (55.2.8) has a number of the same kind, but asks for nothing that could be answered, and so is
no :class:`EncryptionRequest`; nor is a StartupMessage, whose number is a version.
"""

from __future__ import annotations

import struct
from enum import Enum, IntEnum
from typing import Final

from smartproxy.wire.verdict import Done, Malformed, NeedMore, Verdict


class EncryptionRequest(IntEnum):
    """What a client asks for before it says who it is (55.7): 1234 in the upper half, never a version."""

    SSL = 80877103  # 1234, 5679: 55.2.10, "SSL Session Encryption"
    GSSENC = 80877104  # 1234, 5680: 55.2.11, "GSSAPI Session Encryption"


class EncryptionAnswer(Enum):
    """The one byte that answers (55.2.10, 55.2.11)."""

    WILLING = b"S"
    UNWILLING = b"N"
    #: The beginning of an ErrorResponse. What it says must not be shown: nobody has proved yet who says it.
    ERROR = b"E"


_MESSAGE: Final = struct.Struct(">ii")  # the length of the whole, and what it asks for
_REQUESTS: Final = {_MESSAGE.pack(_MESSAGE.size, request): request for request in EncryptionRequest}
_BEGIN: Final = b"\x00"  # the upper byte of any length under 16 MiB
_ANSWERS: Final = {answer.value: answer for answer in EncryptionAnswer}


def could_be_request(data: bytes | bytearray | memoryview) -> bool:
    """Whether :func:`parse` is worth asking: by the first byte, which few other protocols begin with."""
    return bytes(data[:1]) == _BEGIN


def parse(data: bytes | bytearray | memoryview) -> Verdict[EncryptionRequest]:
    """The request at the beginning of ``data``."""
    begin = bytes(data[: _MESSAGE.size])
    request = _REQUESTS.get(begin)
    if request is not None:
        return Done(request, _MESSAGE.size)
    if any(whole.startswith(begin) for whole in _REQUESTS):
        return NeedMore(len(begin) + 1)  # of another protocol, whose client may wait, it may be all there is
    return Malformed("neither SSLRequest nor GSSENCRequest")


def build(request: EncryptionRequest) -> bytes:
    """The bytes that ask for it."""
    return _MESSAGE.pack(_MESSAGE.size, request)


def parse_answer(data: bytes | bytearray | memoryview) -> Verdict[EncryptionAnswer]:
    """The answer at the beginning of ``data``. What stands behind it came before any key was agreed on."""
    if not data:
        return NeedMore(1)
    answer = _ANSWERS.get(bytes(data[:1]))
    return Malformed("neither S, N nor E") if answer is None else Done(answer, 1)


def build_answer(answer: EncryptionAnswer) -> bytes:
    """The byte that says it."""
    return answer.value
