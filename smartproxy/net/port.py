"""A listening socket whose accepted connections are watched by the poller.

It differs from Twisted's ``Port`` in two things: an accepted connection becomes a
:class:`~smartproxy.net.stream.Stream`, and when the process is short of descriptors, it pauses accepting instead of
accepting connections and dropping them. Meanwhile clients wait in the kernel's queue, and the remaining descriptors serve
existing connections: dialling, the admin listener, logs.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from smartproxy.model.address import Endpoint, endpoint
from smartproxy.net.bare_sockets import accept
from smartproxy.net.descriptors import highest_descriptor
from smartproxy.net.keep_alive import apply_keepalive_to_socket, options
from smartproxy.net.listening import BACKLOG, ListeningPort
from smartproxy.net.stream import Stream

if TYPE_CHECKING:
    from twisted.internet import address, interfaces

    from smartproxy.model.plan import KeepAlive
    from smartproxy.net.poller import Poller

#: Connections accepted for one event, so that a burst does not delay established connections.
_ACCEPTS_A_TURN = 64
#: Seconds for which accepting pauses when descriptors are short, and seconds in which that is logged once.
_PAUSE, _TELL = 0.1, 5.0
#: Errors of the accepted connection, not of the listener (accept(2)): the next one may be accepted.
_GONE_ALREADY = frozenset(
    {
        errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EINTR, errno.ENETDOWN, errno.ENOPROTOOPT,
        errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ETIMEDOUT,
    }
)  # fmt: skip

log = Logger()


class PollerPort(ListeningPort):
    """Listens on ``(interface, port)``; ``::`` accepts IPv4 too. ``factory`` gets an ``Endpoint`` as address.

    :param keep_alive: keep-alive of every accepted connection: the kernel copies the options.
    """

    def __init__(
        self,
        port: int,
        factory: interfaces.IProtocolFactory,
        interface: str,
        reactor: Any,
        poller: Poller,
        *,
        keep_alive: KeepAlive,
    ) -> None:
        super().__init__(port, factory, BACKLOG, interface, reactor)
        self._poller = poller
        self._keep_alive = keep_alive
        self._highest = highest_descriptor()
        self._resume: interfaces.IDelayedCall | None = None
        self._tell_at = 0.0

    def createInternetSocket(self) -> socket.socket:
        """The listening socket. Accepted sockets inherit the options set here, at no cost for each."""
        listening = super().createInternetSocket()
        self._set_options(listening)
        return listening

    def adopt(self, opened: socket.socket) -> None:
        """See :class:`ListeningPort`; accepted sockets inherit the same options as those of another port."""
        self._set_options(opened)
        super().adopt(opened)

    def _set_options(self, listening: socket.socket) -> None:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        apply_keepalive_to_socket(listening, options(self._keep_alive))

    def set_keep_alive(self, keep_alive: KeepAlive) -> None:
        """Set the keep-alive of connections accepted from now on."""
        apply_keepalive_to_socket(self.socket, options(keep_alive, self._keep_alive))
        self._keep_alive = keep_alive

    def doRead(self) -> None:
        """Accept some of the waiting connections."""
        for _ in range(_ACCEPTS_A_TURN):
            if not self.connected or (self.disconnecting and not self.retiring):
                return  # the last connection has stopped the listener
            try:
                sock, peer = accept(self.socket, self.addressFamily)
            except BlockingIOError:
                return
            except OSError as failed:
                if failed.errno in _GONE_ALREADY:
                    continue
                # Short of descriptors or memory. Any other error pauses, too: to raise it would lose the listener.
                self._pause(str(failed))
                return
            self._accepted(sock, endpoint(peer))
            if sock.fileno() >= self._highest:
                self._pause(f"{sock.fileno()} descriptors are open")
                return

    def _accepted(self, sock: socket.SocketType, peer: Endpoint) -> None:
        factory: Any = self.factory  # Twisted declares less for a Port's factory and reactor than they have
        try:
            protocol = factory.buildProtocol(peer)
            if protocol is None:
                sock.close()
                return
            protocol.makeConnection(Stream(sock, self._poller, protocol))
        except Exception:
            log.failure("listener {address} could not begin a connection", address=listening_at(self))
            self._poller.close(sock, self)
            sock.close()  # if it was not watched yet

    def _pause(self, why: str) -> None:
        """Stop watching the socket for a moment: it stays readable, so the event loop would spin."""
        reactor: Any = self.reactor
        now = reactor.seconds()
        if now >= self._tell_at:
            self._tell_at = now + _TELL
            log.warn(
                "listener {address} accepts nothing until descriptors are free: {why}",
                address=listening_at(self),
                why=why,
            )
        self.stopReading()
        self._resume = reactor.callLater(_PAUSE, self._go_on)

    def _go_on(self) -> None:
        reactor: Any = self.reactor
        if self._has_room():
            self._resume = None
            self.startReading()
        else:
            self._resume = reactor.callLater(_PAUSE, self._go_on)

    def _has_completed(self) -> bool:
        """Whether a connection waits and can be accepted: not where descriptors are short."""
        return self._resume is None and super()._has_completed()

    def _has_room(self) -> bool:
        """Whether the next descriptor is outside of the reserve. Accepting one to find out would use the reserve."""
        try:
            following = os.dup(self.socket.fileno())
        except OSError:
            return False
        os.close(following)
        return following < self._highest

    def connectionLost(self, reason: Any) -> None:
        """Cancel the pause: the listener was stopped."""
        super().connectionLost(reason)
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None


def listening_at(port: Any) -> Endpoint:
    """The address that a port listens on. The kernel has chosen the number if 0 was asked for."""
    host: address.IPv4Address | address.IPv6Address = port.getHost()
    return Endpoint(host.host, host.port)
