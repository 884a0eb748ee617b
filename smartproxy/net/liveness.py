"""Is a socket still there? The kernel is asked, not anybody's bookkeeping.

A FIN is no end: a half-closed connection lives. Gone is a socket that was reset or timed out, or whose
descriptor somebody has closed. The kernel calls one CLOSE, too, on which both sides have said FIN; while what was
said before that is still to be read, it is not gone either.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
from typing import Any

#: TCP_CLOSE of tcp_states.h: the first byte of struct tcp_info (tcp(7), TCP_INFO) says so.
_CLOSED = 7


def socket_gone(sock: socket.socket) -> bool:
    """Whether ``sock`` has no connection any more."""
    if not hasattr(socket, "TCP_INFO"):
        return sock.fileno() < 0
    try:
        closed = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSED
        return closed and not _has_last_words(sock)
    except OSError:
        return True


def _has_last_words(sock: socket.socket) -> bool:
    """Whether a closed socket came to a good end (it has no error) that has not been read yet."""
    (unread,) = struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))
    if not unread:
        return False
    poll = select.poll()
    poll.register(sock, 0)
    return not any(events & select.POLLERR for _, events in poll.poll(0))


def transport_gone(transport: Any) -> bool:
    """The same of a transport; one that has no socket is asked whether it is connected."""
    if transport is None:
        return True
    below = getattr(transport, "transport", None)
    if below is not None:
        return transport_gone(below)  # encryption: the socket is the one that carries it
    try:
        handle = transport.getHandle()
    except AttributeError:  # none in memory; and Twisted's have no socket left once they are lost
        return not getattr(transport, "connected", True)
    return socket_gone(handle) if isinstance(handle, socket.socket) else False
