"""Connecting to a unix socket, for either dialer.

``connect`` on a unix socket never waits: it succeeds at once, or fails at once. It fails with EAGAIN where the server's backlog
is full (connect(2)). Over TCP the kernel repeats its SYN then until the time is over, so here the call is repeated; a backlog
that stays full is a timeout, as it is over TCP. HAProxy counts EAGAIN as a failure and retries after a second.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet import error
from twisted.python.failure import Failure
from zope.interface import implementer

from smartproxy.errors import DialFailed
from smartproxy.model.outcome import RejectReason
from smartproxy.net.interfaces import IConnecting

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from smartproxy.model.address import UnixEndpoint

#: Seconds between two calls while the backlog is full. A tick of :mod:`smartproxy.flow.deadline`.
AGAIN = 0.1


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> object: ...


@implementer(IConnecting)
class UnixAttempt:
    """A non-blocking socket that is connecting to a unix socket.

    :param sock: belongs to the attempt until it is connected.
    :param connected: is given ``sock``, connected; it belongs to the callable then.
    :param later: calls something after so many seconds.
    """

    __slots__ = ("_connected", "_deadline", "_factory", "_later", "_repeat", "_sock", "_to")

    def __init__(
        self,
        sock: socket.SocketType,
        to: UnixEndpoint,
        factory: Any,
        connected: Callable[[socket.SocketType], object],
        later: Callable[[float, Callable[[], object]], Timer],
    ) -> None:
        self._sock = sock
        self._to = to
        self._factory = factory
        self._connected = connected
        self._later = later
        self._deadline: Timer | None = None
        self._repeat: Timer | None = None

    def begin(self, timeout: float) -> None:
        """Connect, within ``timeout`` seconds; 0 is no limit."""
        self._connect()
        if self._repeat is not None and timeout:
            self._deadline = self._later(timeout, self._timed_out)

    def stopConnecting(self) -> None:
        """Cancel the attempt."""
        if self._repeat is not None:
            self._fail(error.UserError())

    def _connect(self) -> None:
        self._repeat = None
        code = self._sock.connect_ex(self._to.sockaddr)
        if code == errno.EAGAIN:
            self._repeat = self._later(AGAIN, self._connect)
        elif code:
            reason = RejectReason.UPSTREAM_UNREACHABLE
            if code in (errno.ECONNREFUSED, errno.ECONNRESET):
                reason = RejectReason.UPSTREAM_REFUSED
            self._fail(DialFailed(reason, f"{self._to}: {os.strerror(code)}"))
        else:
            self._forget()
            self._connected(self._sock)

    def _timed_out(self) -> None:
        self._deadline = None
        self._fail(DialFailed(RejectReason.UPSTREAM_TIMEOUT, f"{self._to}: its backlog is full"))

    def _fail(self, why: Exception) -> None:
        self._forget()
        self._sock.close()
        self._factory.clientConnectionFailed(self, Failure(why))

    def _forget(self) -> None:
        """Cancel what is due later."""
        timers = self._deadline, self._repeat
        self._deadline = self._repeat = None
        for timer in timers:
            if timer is not None:
                timer.cancel()
