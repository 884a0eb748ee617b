"""Protocol detection by the first bytes that a client sends: TLS, HTTP/1, or something else.

The result only selects the parser, which then decides. It requires as few bytes as possible, because a client of
an unknown protocol may send two bytes and wait. Bytes that can no longer become TLS or HTTP/1 are ``RAW`` at once.
This includes the preface of HTTP/2 (``PRI * HTTP/2.0``), which must not be answered in HTTP/1.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from smartproxy.wire.http_head import begins_request
from smartproxy.wire.verdict import Done, NeedMore, Verdict

# A record of type handshake, and the major version of SSL 3 and every TLS since (RFC 8446, 5.1).
_TLS: Final = b"\x16\x03"

#: So many bytes always decide.
ENOUGH: Final = 18


class SniffedProtocol(StrEnum):
    """The protocol that the first bytes look like."""

    TLS = "tls"
    HTTP = "http"
    RAW = "raw"


def sniff(data: bytes | bytearray | memoryview) -> Verdict[SniffedProtocol]:
    """Detect the protocol of a connection that begins with ``data``. Consumes nothing; nothing is malformed."""
    begin = bytes(data[: len(_TLS)])
    if begin == _TLS:
        return Done(SniffedProtocol.TLS, 0)
    if _TLS.startswith(begin):
        return NeedMore(len(begin) + 1)
    http = begins_request(data)
    if http is None:
        return NeedMore(len(data) + 1)
    return Done(SniffedProtocol.HTTP if http else SniffedProtocol.RAW, 0)
