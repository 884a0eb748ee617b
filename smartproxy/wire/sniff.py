"""What a client speaks, by the first bytes that it sends: TLS, HTTP/1, or something else.

A guess that has to be good enough to choose a parser by; the parser then decides. It asks for as few bytes
as it can, because a client of an unknown protocol may send two and wait. What stands no chance to become
TLS or HTTP/1 is ``RAW`` at once, and that includes the preface of HTTP/2 (``PRI * HTTP/2.0``), which must
not be answered in HTTP/1.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from smartproxy.wire.http_head import begins_request
from smartproxy.wire.verdict import Done, NeedMore, Verdict

# A record of type handshake, and the major version of SSL 3 and every TLS since (RFC 8446, 5.1).
_TLS: Final = b"\x16\x03"


class SniffedProtocol(StrEnum):
    """What the first bytes look like."""

    TLS = "tls"
    HTTP = "http"
    RAW = "raw"


def sniff(data: bytes | bytearray | memoryview) -> Verdict[SniffedProtocol]:
    """The kind of a connection that begins with ``data``. Nothing is consumed, and nothing malformed."""
    begin = bytes(data[: len(_TLS)])
    if begin == _TLS:
        return Done(SniffedProtocol.TLS, 0)
    if _TLS.startswith(begin):
        return NeedMore(len(begin) + 1)
    http = begins_request(data)
    if http is None:
        return NeedMore(len(data) + 1)
    return Done(SniffedProtocol.HTTP if http else SniffedProtocol.RAW, 0)
