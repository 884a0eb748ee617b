"""Whether a connection still exists, according to the kernel and not to any bookkeeping.

A half-closed connection exists. A socket is gone if it was reset or timed out, or if its descriptor was closed. The
kernel's state is CLOSE, too, after both sides have sent a FIN; while bytes before that are unread, it is not gone. A unix
socket has no such state, and does not tell a peer's close from an end of both directions: it is gone once it has an error.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
from typing import Any

#: TCP_CLOSE of tcp_states.h, in the first byte of struct tcp_info (tcp(7), TCP_INFO).
_CLOSED = 7


def socket_gone(sock: socket.SocketType) -> bool:
    """Whether the connection of ``sock`` no longer exists."""
    if sock.family == socket.AF_UNIX:
        return sock.fileno() < 0 or _has_error(sock)
    if not hasattr(socket, "TCP_INFO"):
        return sock.fileno() < 0
    try:
        closed = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSED
        return closed and not _has_last_words(sock)
    except OSError:
        return True


def _has_last_words(sock: socket.SocketType) -> bool:
    """Whether a closed socket ended in order (it has no error) and still has unread bytes."""
    (unread,) = struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))
    return bool(unread) and not _has_error(sock)


def _has_error(sock: socket.SocketType) -> bool:
    poll = select.poll()
    poll.register(sock, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def reset_behind_end(transport: Any) -> int:
    """The error of a connection whose transport has just reported the peer's end; 0 if there is none.

    Twisted's epoll and poll reactors take a hang-up without readable data for a FIN. On a RST, the kernel sets the state of
    the socket a moment before the flags that make it readable (tcp_done() in net/ipv4/tcp.c), so they may do that to a reset.
    EPIPE is the error of a RST that came behind a real FIN. Asking clears the error.
    """
    handle = getattr(transport, "getHandle", lambda: None)()
    return (
        handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if isinstance(handle, socket.SocketType) else 0
    )


def transport_gone(transport: Any) -> bool:
    """Whether the connection of ``transport`` no longer exists. One without a socket is asked if it is connected."""
    if transport is None:
        return True
    below = getattr(transport, "transport", None)
    if below is not None:
        return transport_gone(below)  # Twisted's TLS: the socket belongs to the transport below
    try:
        handle = transport.getHandle()
    except (
        AttributeError
    ):  # in memory there is no socket, and Twisted's transports delete theirs when it is lost
        return not getattr(transport, "connected", True)
    return socket_gone(handle) if isinstance(handle, socket.SocketType) else False
