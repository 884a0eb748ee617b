"""Sockets of the type that ``socket.socket`` is derived from.

What the derived class adds is not needed on the path of a connection (enums for family and type, ``with``, files), and costs
each connection three to five microseconds. Wherever this package takes a socket, it may be of either type.
"""

from __future__ import annotations

import socket
from typing import Any, Final

#: As plain numbers: to combine enums costs a microsecond.
_STREAM: Final = int(socket.SOCK_STREAM)
_NEW: Final = int(socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0))


def new_stream_socket(family: int) -> socket.SocketType:
    """A new socket that does not block.

    :raises OSError: if there are no more descriptors.
    """
    sock = socket.SocketType(family, _NEW)
    if _NEW == _STREAM:
        sock.setblocking(False)
    return sock


def accept(listening: Any, family: int) -> tuple[socket.SocketType, Any]:
    """The next connection of a listening socket, which does not block, and the address of its peer.

    :raises OSError: as accept(2).
    """
    # What socket.socket.accept() begins with, and nothing else: the descriptor is not inherited by other programs.
    fd, peer = listening._accept()  # noqa: SLF001 - there is no public one
    sock = socket.SocketType(family, _STREAM, 0, fd)
    sock.setblocking(False)
    return sock, peer
