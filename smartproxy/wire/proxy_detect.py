"""Whether a connection begins with a PROXY header, and with which version (section 2.2, at its end).

The signatures were chosen so that no usual protocol can begin with them, so a few bytes decide. No header is not
an error: the verdict is ``Done(None, 0)``, and the bytes are payload. The caller decides whether to look for
a header at all: from an untrusted peer a header is payload, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.wire import proxy_v1, proxy_v2
from smartproxy.wire.verdict import Done, NeedMore, Verdict

if TYPE_CHECKING:
    from smartproxy.wire.proxy_header import ProxyHeader

_LONGEST: Final = max(len(proxy_v1.SIGNATURE), len(proxy_v2.SIGNATURE))


def begins_header(data: bytes | bytearray | memoryview) -> bool | None:
    """Whether ``data`` begins with the signature of a header; ``None`` while more bytes are needed to decide."""
    begin = bytes(data[:_LONGEST])
    signatures = (proxy_v2.SIGNATURE, proxy_v1.SIGNATURE)
    if begin.startswith(signatures):
        return True
    return None if any(signature.startswith(begin) for signature in signatures) else False


def parse(data: bytes | bytearray | memoryview) -> Verdict[ProxyHeader | None]:
    """Parse the header at the beginning of ``data``; ``Done(None, 0)`` as soon as there certainly is none."""
    begin = bytes(data[:_LONGEST])
    if begin.startswith(proxy_v2.SIGNATURE):
        return proxy_v2.parse(data)
    if begin.startswith(proxy_v1.SIGNATURE):
        return proxy_v1.parse(data)
    for signature in (proxy_v2.SIGNATURE, proxy_v1.SIGNATURE):
        if signature.startswith(begin):
            return NeedMore(len(begin) + 1)
    return Done(None, 0)
