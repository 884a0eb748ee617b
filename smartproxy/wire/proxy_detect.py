"""Whether a connection begins with a PROXY header, and with which version (section 2.2, at its end).

The signatures were chosen so that no usual protocol can begin with them, so a few bytes decide. What is not
a header is an answer, not an error: ``Done(None, 0)``, and the bytes are payload. Whether a header is to be
looked for at all is the caller's: from a peer that is not trusted it is payload, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.wire import proxy_v1, proxy_v2
from smartproxy.wire.verdict import Done, NeedMore, Verdict

if TYPE_CHECKING:
    from smartproxy.wire.proxy_header import ProxyHeader

_LONGEST: Final = max(len(proxy_v1.SIGNATURE), len(proxy_v2.SIGNATURE))


def parse(data: bytes | bytearray | memoryview) -> Verdict[ProxyHeader | None]:
    """The header at the beginning of ``data``; ``Done(None, 0)`` as soon as there is certainly none."""
    begin = bytes(data[:_LONGEST])
    if begin.startswith(proxy_v2.SIGNATURE):
        return proxy_v2.parse(data)
    if begin.startswith(proxy_v1.SIGNATURE):
        return proxy_v1.parse(data)
    for signature in (proxy_v2.SIGNATURE, proxy_v1.SIGNATURE):
        if signature.startswith(begin):
            return NeedMore(len(begin) + 1)
    return Done(None, 0)
