"""Reading what was received before a reset, where something else than a read has met that.

A server that refuses a long upload sends its answer and closes with unread input, so its kernel sends a RST behind the answer.
The answer is then in the receive buffer of our socket, and would be dropped with it:

- by Twisted's own TCP transports, if the next thing that happens to the connection is a write. It fails, and the connection is
  lost without being read once more.
- by :class:`~smartproxy.net.stream.Stream`, if it is paused, because the other side reads slowly. It ends at once, so that nothing
  goes on for a client that has left, unless it is asked here to read to the end.

Halves of a relay read to the end in any case (:meth:`Half.write_failed <smartproxy.relays.half.Half.write_failed>`).
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from twisted.internet.tcp import Connection

from smartproxy.net.lends_socket import LendsSocket

#: Reads of 64 KiB after a failed write: together more than the largest receive buffer (tcp_rmem, 6 MiB by default).
_READS = 128


def read_before_loss(transport: Any) -> None:
    """Have ``transport`` deliver received bytes before it is lost because of a reset."""
    below = getattr(transport, "lower", None)
    if below is not None:
        read_before_loss(below.transport)  # our TLS
    elif isinstance(transport, LendsSocket):
        transport.read_to_end()
    elif isinstance(transport, Connection):
        patched: Any = transport
        patched.writeSomeData = _WriteSomeData(transport)


class _WriteSomeData:
    """Twisted's ``writeSomeData`` of one transport, and the reads after a failure."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Connection) -> None:
        self._transport = ref(transport)  # weak: it is an attribute of the transport

    def __call__(self, data: bytes) -> Any:
        """Write. Returns the number of bytes written, or an exception."""
        transport: Any = self._transport()
        result = type(transport).writeSomeData(transport, data)
        if isinstance(result, Exception) and not transport.disconnecting:
            for _ in range(_READS):
                # Of a connection that was reset, a read without data returns an error, never "try again".
                if transport.doRead() is not None:
                    break
        return result
