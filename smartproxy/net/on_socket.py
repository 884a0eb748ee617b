"""What Twisted's ``ITCPTransport`` asks of a socket itself: its addresses and options."""

from __future__ import annotations

import os
import socket
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress


class OnSocket:
    """The base of a transport that has a socket."""

    __slots__ = ("_sock",)
    _sock: socket.SocketType

    def getHandle(self) -> socket.SocketType:
        """The socket."""
        return self._sock

    def getHost(self) -> IPv4Address | IPv6Address:
        """Our address."""
        return _address(self._sock.getsockname())

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The peer's address."""
        return _address(self._sock.getpeername())

    def getTcpNoDelay(self) -> bool:
        """Whether small writes are sent at once (TCP_NODELAY)."""
        return bool(self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Send small writes at once (TCP_NODELAY)."""
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Whether the kernel probes a silent peer (SO_KEEPALIVE)."""
        return bool(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Make the kernel probe a silent peer (SO_KEEPALIVE)."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)


def _address(sockaddr: tuple[Any, ...] | str | bytes) -> IPv4Address | IPv6Address:
    if not isinstance(
        sockaddr, tuple
    ):  # that of a unix socket; as Twisted's own, whatever the interface says
        unix: Any = UNIXAddress(os.fsencode(sockaddr) or None)
        return cast("IPv4Address", unix)
    if len(sockaddr) == 4:  # noqa: PLR2004 - an IPv6 address has flow information and a scope, too
        return IPv6Address("TCP", *sockaddr)
    return IPv4Address("TCP", *sockaddr)
