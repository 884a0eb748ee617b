"""Accepting: a listening socket whose connections live on the poller.

It is Twisted's ``Port`` in all but two things: what comes in becomes a
:class:`~smartproxy.flow.stream.Stream`, and when the process runs short of descriptors it stops accepting
for a while instead of taking connections and throwing them away. The kernel's queue holds the clients
meanwhile, and the descriptors that are left serve what runs already: dialling, the admin listener, logs.
"""

from __future__ import annotations

import errno
import resource
import socket
from typing import TYPE_CHECKING, Any

from twisted.internet import address, interfaces, tcp
from twisted.logger import Logger

from smartproxy.flow.stream import Stream
from smartproxy.model.address import Endpoint, endpoint

if TYPE_CHECKING:
    from smartproxy.flow.poller import Poller

#: Pending connections in the kernel; it cuts this to net.core.somaxconn (4096 since Linux 5.4).
BACKLOG = 4096
#: Accepted a turn, so that a burst does not hold up the connections that are there.
_ACCEPTS_A_TURN = 64
#: Seconds without accepting when descriptors are short.
_PAUSE = 0.1
#: Descriptors that accepting leaves alone: a sixteenth of what there are, from 16 to 256.
_RESERVE_SHARE, _RESERVE_MIN, _RESERVE_MAX = 16, 16, 256
_SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_GONE_ALREADY = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EINTR})

log = Logger()


def highest_descriptor() -> int:
    """The descriptor number above which accepting pauses. The kernel always gives the lowest free one."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    reserve = min(max(limit // _RESERVE_SHARE, _RESERVE_MIN), _RESERVE_MAX)
    return limit - reserve


class PollerPort(tcp.Port):
    """Listens at ``(interface, port)``; ``::`` takes IPv4 too. ``factory`` gets an ``Endpoint`` as address.

    :param keep_alive: SO_KEEPALIVE, which the kernel copies to every connection that it accepts.
    :param shares: whether another address of the same port is listened on, too (SO_REUSEPORT): next to
        ``::``, the kernel allows a single address only so, and prefers it.
    """

    def __init__(
        self,
        port: int,
        factory: interfaces.IProtocolFactory,
        interface: str,
        reactor: Any,
        poller: Poller,
        *,
        keep_alive: bool,
        shares: bool,
    ) -> None:
        super().__init__(port, factory, BACKLOG, interface, reactor)
        self._poller = poller
        self._keep_alive = keep_alive
        self._shares = shares
        self._highest = highest_descriptor()
        self._resume: interfaces.IDelayedCall | None = None

    def createInternetSocket(self) -> socket.socket:
        """Options set here are inherited by each accepted socket, and so cost nothing a connection."""
        listening: socket.socket = super().createInternetSocket()
        if listening.family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if self._shares:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, self._keep_alive)
        return listening

    def doRead(self) -> None:
        """Connections wait: take some of them."""
        for _ in range(_ACCEPTS_A_TURN):
            if not self.connected:
                return  # a connection that came in has stopped the listener
            try:
                sock, peer = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as failed:
                if failed.errno in _GONE_ALREADY:
                    continue
                if failed.errno not in _SHORTAGE:
                    raise
                self._pause(str(failed))
                return
            self._accepted(sock, endpoint(peer))
            if sock.fileno() >= self._highest:
                self._pause(f"{sock.fileno()} descriptors are open")
                return

    def _accepted(self, sock: socket.socket, peer: Endpoint) -> None:
        sock.setblocking(False)
        factory: Any = self.factory  # a Port's reactor and factory are typed as less than they are
        protocol = factory.buildProtocol(peer)
        if protocol is None:
            sock.close()
            return
        protocol.makeConnection(Stream(sock, self._poller, protocol))

    def _pause(self, why: str) -> None:
        """Watching the socket on would only spin: it stays readable."""
        log.warn("{port} accepts nothing for {pause} s: {why}", port=self, pause=_PAUSE, why=why)
        self.stopReading()
        reactor: Any = self.reactor
        self._resume = reactor.callLater(_PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._resume = None
        if self.connected:
            self.startReading()

    def connectionLost(self, reason: Any) -> None:
        """The listener has been stopped."""
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        super().connectionLost(reason)


def listening_at(port: Any) -> Endpoint:
    """Where a port listens: the number is the kernel's choice where 0 was asked for."""
    host: address.IPv4Address | address.IPv6Address = port.getHost()
    return Endpoint(host.host, host.port)
