"""What the kernel still has to send, or to have acknowledged, of what was written to a socket.

Writing to a socket is not delivery: the kernel accepts megabytes that a slow peer takes minutes to read. So what must happen
behind the last byte waits for :func:`unsent`, and whether a silent connection still delivers is asked with
:func:`delivery`.
"""

from __future__ import annotations

import fcntl
import socket
import struct

#: linux/sockios.h: the number of bytes of a TCP connection that were never sent.
_SIOCOUTQNSD = 0x894B
#: tcp(7) has it from Linux 3.12 on; Python's socket module from 3.12 on.
_TCP_NOTSENT_LOWAT = 25


def unsent(sock: socket.socket) -> int:
    """How many bytes the kernel has not sent yet, not even once; 0 of a connection that is closed, or where it cannot say."""
    try:
        told: bytes = fcntl.ioctl(sock, _SIOCOUTQNSD, bytes(4))
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", told)[0])


def report_when_sent(sock: socket.socket) -> None:
    """Have the kernel report ``sock`` as writable only once all of it is sent. The caller watches it again."""
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, 1)
