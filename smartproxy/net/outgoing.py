"""What the kernel still has to send, or to have acknowledged, of what was written to a socket.

Writing to a socket is not delivery: the kernel accepts megabytes that a slow peer takes minutes to read. So what must happen
behind the last byte waits for :func:`unsent`, and whether a silent connection still delivers is asked with
:func:`acknowledged`.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import Any

#: linux/sockios.h: the number of bytes of a TCP connection that were never sent.
_SIOCOUTQNSD = 0x894B
#: tcp(7) has it from Linux 3.12 on; Python's socket module from 3.12 on.
_TCP_NOTSENT_LOWAT = 25
#: ``tcpi_bytes_acked`` of struct tcp_info (linux/tcp.h): 8 single bytes, 24 numbers of 4 and two of 8 precede it.
_BYTES_ACKED, _BYTES_ACKED_AT = struct.Struct("Q"), 8 + 24 * 4 + 2 * 8

#: What is dropped at once, before others are served: 16 reads of 64 KiB.
_DISCARDS, _discarded = 16, bytearray(64 * 1024)


def unsent(sock: socket.SocketType) -> int:
    """How many bytes the kernel has not sent yet, not even once; 0 of a connection that is closed, or where it cannot say."""
    try:
        told: bytes = fcntl.ioctl(sock, _SIOCOUTQNSD, bytes(4))
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", told)[0])


def report_when_sent(sock: socket.SocketType) -> None:
    """Have the kernel report ``sock`` as writable only once all of it is sent. The caller watches it again."""
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, 1)


def discard_input(sock: socket.SocketType) -> bool:
    """Read what the peer has sent, and drop it. Returns whether there may be more.

    Unread bytes would make the close a RST, which drops what the kernel has not sent yet.

    :raises EOFError: if the peer has ended its direction.
    :raises OSError: if the connection was reset.
    """
    try:
        for _ in range(_DISCARDS):
            if not sock.recv_into(_discarded):
                raise EOFError
    except BlockingIOError:
        return False
    return True


def acknowledged(*socks: socket.SocketType) -> int | None:
    """How many bytes the peers of ``socks`` have acknowledged so far; ``None`` if none of them still has some to acknowledge.

    While it increases, a connection delivers, although nothing is written to it any more.
    """
    if not any(_queued(sock) for sock in socks):
        return None
    return sum(_acknowledged(sock) for sock in socks)


def acknowledged_by(*transports: Any) -> int | None:
    """Likewise, of transports; those without a socket have nothing to acknowledge."""
    handles = map(_handle_of, transports)
    return acknowledged(*(handle for handle in handles if isinstance(handle, socket.SocketType)))


def _handle_of(transport: Any) -> object:
    try:
        return transport.getHandle()
    except (
        AttributeError
    ):  # in memory there is none, and Twisted's transports delete theirs when the connection is lost
        return None


def _queued(sock: socket.SocketType) -> int:
    """How many bytes, and a FIN, the peer has not acknowledged yet (tcp(7), SIOCOUTQ).

    None of a unix socket: what is written to it is in the peer's receive buffer at once.
    """
    if sock.family == socket.AF_UNIX:
        return 0
    try:
        told: bytes = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", told)[0])


def _acknowledged(sock: socket.SocketType) -> int:
    """``tcpi_bytes_acked`` of tcp(7)'s TCP_INFO, from Linux 4.1 on; 0 where the kernel does not have it."""
    if not hasattr(socket, "TCP_INFO"):
        return 0
    try:
        told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED_AT + _BYTES_ACKED.size)
        return int(_BYTES_ACKED.unpack_from(told, _BYTES_ACKED_AT)[0])
    except (OSError, struct.error):
        return 0
