"""Connecting to one address, in one attempt, over the poller or over the reactor.

Both dialers use Twisted's ``ClientFactory``: it builds a protocol when the connection is established, and is told of the
failure when it is not. :func:`failure_of` maps that failure to a reject reason.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Any, cast

from twisted.internet import error
from twisted.internet.interfaces import IReactorSocket
from twisted.python.failure import Failure
from zope.interface import classImplements

from smartproxy.errors import DialFailed, LocalShortage
from smartproxy.model.address import Endpoint, TargetAddress, UnixEndpoint, endpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.net.bare_sockets import new_stream_socket
from smartproxy.net.descriptors import highest_descriptor
from smartproxy.net.dial_unix import UnixAttempt
from smartproxy.net.interfaces import IConnecting, IDialer
from smartproxy.net.poller import BROKEN, READABLE, Poller
from smartproxy.net.stream import Stream
from smartproxy.wire.host import unmapped

if TYPE_CHECKING:
    from twisted.internet.protocol import ClientFactory

    from smartproxy.flow.deadline import Deadline, Deadlines

#: No timeout, in seconds: the kernel gives up long before (tcp(7): tcp_syn_retries).
_FOR_EVER = 86400.0
_IPV4 = int(socket.AF_INET)
#: Of ip(7), in linux/in.h.
_BIND_ADDRESS_NO_PORT = 24
_REASONS = {
    errno.ECONNREFUSED: RejectReason.UPSTREAM_REFUSED,
    errno.ECONNRESET: RejectReason.UPSTREAM_REFUSED,
    errno.ETIMEDOUT: RejectReason.UPSTREAM_TIMEOUT,
}
#: Errors that say nothing about the target (connect(2), bind(2), socket(2)).
_LOCAL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}


def _failure(code: int, to: TargetAddress, source: str = "") -> DialFailed:
    reason = _REASONS.get(code, RejectReason.UPSTREAM_UNREACHABLE)
    begin = f" from {source}" if source else ""
    kind = LocalShortage if code in _LOCAL else DialFailed
    return kind(reason, f"{to}{begin}: {os.strerror(code)}")


def failure_of(why: Failure, to: TargetAddress, source: str = "") -> DialFailed:
    """The failure of a connection to ``to`` as a :class:`~smartproxy.errors.DialFailed`, for either dialer.

    :param source: the local address that was asked for.
    """
    if isinstance(why.value, DialFailed):
        return why.value
    if why.check(error.TimeoutError, error.TCPTimedOutError):
        return _failure(errno.ETIMEDOUT, to, source)
    if why.check(error.ConnectionRefusedError):
        return _failure(errno.ECONNREFUSED, to, source)
    code = getattr(why.value, "osError", None)
    return _failure(code if isinstance(code, int) else errno.EHOSTUNREACH, to, source)


def local_address(connecting: Any) -> Endpoint | None:
    """The local address of an attempt in progress: known at once over the poller, and of one bound to a source."""
    attempt = connecting if isinstance(connecting, _Attempt) else getattr(connecting, "transport", None)
    if attempt is None:
        return None
    try:
        local = attempt.getHost()
    except OSError:  # it has failed already
        return None
    return Endpoint(unmapped(local.host), local.port)


class _Attempt:
    """A non-blocking socket that is connecting."""

    __slots__ = ("_deadline", "_factory", "_poller", "_sock", "_source", "_to")

    def __init__(
        self, poller: Poller, sock: socket.SocketType, to: Endpoint, factory: Any, source: str
    ) -> None:
        self._poller = poller
        self._sock = sock
        self._to = to
        self._source = source
        self._factory = factory
        self._deadline: Deadline | None = None

    def begin(self, timeout: float, deadlines: Deadlines) -> None:
        code = self._sock.connect_ex(self._to)
        if code not in (0, errno.EINPROGRESS):
            self._sock.close()
            self._factory.clientConnectionFailed(self, Failure(_failure(code, self._to, self._source)))
            return
        self._poller.add(self._sock.fileno(), self)
        if timeout:
            self._deadline = deadlines.call_later(timeout, self._timed_out)

    def ready(self, events: int) -> None:
        if events & BROKEN:
            self._fail(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            return
        self._cancel_deadline()
        protocol: Any = self._factory.buildProtocol(self._to)
        stream = Stream(self._sock, self._poller, protocol, seen=events)
        protocol.makeConnection(stream)
        if events & READABLE:  # a server that sends first: edge-triggered, this event is not repeated
            stream.ready(READABLE)

    def getHost(self) -> Endpoint:
        return endpoint(self._sock.getsockname())

    def failed(self, why: Failure) -> None:
        self._forget()
        self._factory.clientConnectionFailed(self, why)

    def stopConnecting(self) -> None:
        self._forget()
        self._factory.clientConnectionFailed(self, Failure(error.UserError()))

    def _timed_out(self) -> None:
        self._fail(errno.ETIMEDOUT)

    def _fail(self, code: int) -> None:
        self._forget()
        self._factory.clientConnectionFailed(self, Failure(_failure(code, self._to, self._source)))

    def _forget(self) -> None:
        self._cancel_deadline()
        self._poller.close(self._sock, self)

    def _cancel_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()


classImplements(_Attempt, IConnecting)


class PollerDialer:
    """Dials with sockets that are watched by the poller."""

    connects_at_once = True

    def __init__(self, poller: Poller, deadlines: Deadlines) -> None:
        self._poller = poller
        self._deadlines = deadlines
        self._highest = highest_descriptor(2)

    def dial(
        self, to: TargetAddress, factory: ClientFactory, timeout: float, source: str = ""
    ) -> IConnecting | None:
        """See :class:`~smartproxy.net.interfaces.IDialer`."""
        try:
            sock = self._socket(_IPV4 if type(to) is Endpoint and ":" not in to.host else _family(to))
            if source:
                _bind(sock, source)
        except OSError as failed:
            told: Any = factory
            told.clientConnectionFailed(None, Failure(_failure(failed.errno or 0, to, source)))
            return None
        if isinstance(to, UnixEndpoint):
            return self._dial_unix(sock, to, factory, timeout)
        attempt = _Attempt(self._poller, sock, to, factory, source)
        attempt.begin(timeout, self._deadlines)
        return attempt

    def _dial_unix(
        self, sock: socket.SocketType, to: UnixEndpoint, factory: Any, timeout: float
    ) -> IConnecting | None:
        def connected(sock: socket.SocketType) -> None:
            protocol: Any = factory.buildProtocol(to)
            protocol.makeConnection(Stream(sock, self._poller, protocol))

        attempt = UnixAttempt(sock, to, factory, connected, self._deadlines.call_later)
        attempt.begin(timeout)
        return attempt

    def _socket(self, family: int) -> socket.SocketType:
        """A new socket.

        :raises OSError: if descriptors are short: the last ones are for the admin listener and the log.
        """
        sock = new_stream_socket(family)
        if sock.fileno() >= self._highest:
            sock.close()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return sock


classImplements(PollerDialer, IDialer)


def _family(to: TargetAddress) -> socket.AddressFamily:
    if isinstance(to, UnixEndpoint):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in to.host else socket.AF_INET


def _bind(sock: socket.SocketType, source: str) -> None:
    """Bind ``sock`` to the local address ``source``. The port is chosen when it connects.

    Only then does the kernel know the target, and a port that is in use towards another target can be used. Chosen here, the
    28,000 ephemeral ports would be for all targets together (ip(7), ``IP_BIND_ADDRESS_NO_PORT``).

    :raises OSError: if this machine does not have the address; ``sock`` is closed then.
    """
    with contextlib.suppress(OSError):  # an old kernel
        sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
    try:
        sock.bind((source, 0))
    except OSError:
        sock.close()
        raise


class ReactorDialer:
    """Dials through the reactor: on any platform, and in memory.

    :param reactor: has ``IReactorTCP``, and for unix sockets ``IReactorSocket`` and ``IReactorTime``, or ``IReactorUNIX``.
    """

    connects_at_once = False

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def dial(
        self, to: TargetAddress, factory: ClientFactory, timeout: float, source: str = ""
    ) -> IConnecting | None:
        """See :class:`~smartproxy.net.interfaces.IDialer`."""
        if isinstance(to, UnixEndpoint):
            return self._dial_unix(to, factory, timeout)
        bound = (source, 0) if source else None
        connector = self._reactor.connectTCP(to.host, to.port, factory, timeout or _FOR_EVER, bound)
        return cast("IConnecting", connector)  # Twisted's connectors have the only method of the interface

    def _dial_unix(self, to: UnixEndpoint, factory: Any, timeout: float) -> IConnecting | None:
        """Connect a socket of our own: the reactor's connector waits for an event that a full backlog never sends."""
        reactor = self._reactor
        if not IReactorSocket.providedBy(reactor):  # in memory
            connector = reactor.connectUNIX(to.path, factory, timeout or _FOR_EVER)
            return cast("IConnecting", connector)
        try:
            sock = new_stream_socket(socket.AF_UNIX)
        except OSError as failed:
            factory.clientConnectionFailed(None, Failure(_failure(failed.errno or 0, to)))
            return None

        def connected(sock: socket.SocketType) -> None:
            try:
                reactor.adoptStreamConnection(sock.fileno(), socket.AF_UNIX, factory)
            finally:
                sock.close()  # the reactor works on a copy of its descriptor

        attempt = UnixAttempt(sock, to, factory, connected, self._reactor.callLater)
        attempt.begin(timeout)
        return attempt


classImplements(ReactorDialer, IDialer)
