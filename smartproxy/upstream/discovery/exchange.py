"""One question to one name server, by UDP or TCP.

Each question by UDP has a socket of its own, at a port that the kernel chooses at random, and connected, so that answers of
others do not arrive: both make forged answers harder (RFC 5452).
"""

from __future__ import annotations

import os
from socket import AF_INET, AF_INET6, SO_ERROR, SOCK_DGRAM, SOL_SOCKET, socket
from typing import TYPE_CHECKING, Any, TypeAlias
from typing import Protocol as TypedProtocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from zope.interface import implementer

from smartproxy.errors import LookupFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from smartproxy.upstream.discovery.messages import DnsReply
    from smartproxy.upstream.discovery.resolv_conf import Server

    #: Reads an answer; ``None`` where it is none to the question.
    Read: TypeAlias = Callable[[bytes], DnsReply | None]

#: Bytes of the length in front of a message by TCP (RFC 1035, 4.2.2).
_LENGTH_SIZE = 2
#: Bytes of a UDP datagram.
_LONGEST_DATAGRAM = 65535


class DnsExchange(TypedProtocol):
    """Sends a question, and waits for its answer."""

    def __call__(
        self, server: Server, packet: bytes, read: Read, seconds: float, /, *, by_tcp: bool
    ) -> Deferred[DnsReply]:
        """Fails with :class:`~smartproxy.errors.LookupFailed` where there is no answer within ``seconds``."""


class NetworkExchange:
    """Exchanges by the reactor's sockets.

    :param reactor: watches descriptors, and has TCP.
    """

    def __init__(self, reactor: Any, clock: IReactorTime) -> None:
        self._reactor = reactor
        self._clock = clock

    def __call__(
        self, server: Server, packet: bytes, read: Read, seconds: float, /, *, by_tcp: bool
    ) -> Deferred[DnsReply]:
        """See :class:`DnsExchange`."""
        answer = self._over_tcp(server, packet, read) if by_tcp else self._over_udp(server, packet, read)

        def give_up(_: object, after: float) -> None:
            raise LookupFailed(f"{_shown(server)} does not answer in {after:g} s")

        answer.addTimeout(seconds, self._clock, give_up)
        return answer

    def _over_udp(self, server: Server, packet: bytes, read: Read) -> Deferred[DnsReply]:
        asking = _UdpQuestion(self._reactor, server, read)
        asking.ask(packet)
        return asking.answer

    def _over_tcp(self, server: Server, packet: bytes, read: Read) -> Deferred[DnsReply]:
        factory = _TcpQuestion(server, packet, read)
        connector = self._reactor.connectTCP(server.host, server.port, factory)

        def close(result: object) -> object:
            connector.disconnect()
            return result

        factory.answer.addBoth(close)
        return factory.answer


def _shown(server: Server) -> str:
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"name server {host}:{server.port}"


@implementer(IReadDescriptor)
class _UdpQuestion:
    """A connected UDP socket for one question.

    It is not a port of Twisted's, which logs two lines for each.
    """

    def __init__(self, reactor: Any, server: Server, read: Read) -> None:
        self._reactor = reactor
        self._server = server
        self._read = read
        self._socket: socket | None = None
        self.answer: Deferred[DnsReply] = Deferred(lambda _: self._close())

    def ask(self, packet: bytes) -> None:
        """Send the question, and wait for datagrams."""
        try:
            self._socket = socket(AF_INET6 if ":" in self._server.host else AF_INET, SOCK_DGRAM)
            self._socket.setblocking(False)
            self._socket.connect(self._server)
            self._socket.send(packet)
        except OSError as why:  # no route, no descriptor left, no IPv6
            self._fail(why)
        else:
            self._reactor.addReader(self)

    def fileno(self) -> int:
        """See IFileDescriptor."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """See ILoggingContext."""
        return "name server"

    def doRead(self) -> None:
        """Read an answer, or what pretends to be one and is ignored."""
        assert self._socket is not None  # noqa: S101 - it is watched
        try:
            datagram = self._socket.recv(_LONGEST_DATAGRAM)
        except BlockingIOError:  # a datagram with a wrong checksum
            return
        except OSError as why:
            self._fail(why)
            return
        reply = self._read(datagram)
        if reply is not None:
            self._close()
            self.answer.callback(reply)

    def connectionLost(self, _reason: Failure) -> None:
        """The reactor has seen an error of the socket, such as that nobody listens there (ICMP)."""
        code = 0 if self._socket is None else self._socket.getsockopt(SOL_SOCKET, SO_ERROR)
        self._fail(OSError(code, os.strerror(code) if code else "the socket was closed"))

    def _fail(self, why: OSError) -> None:
        self._close()
        if not self.answer.called:
            self.answer.errback(LookupFailed(f"{_shown(self._server)}: {why.strerror or why}"))

    def _close(self) -> None:
        if self._socket is not None:
            self._reactor.removeReader(self)  # asks for its number
            self._socket.close()
            self._socket = None


class _TcpQuestion(ClientFactory):
    """Asks in a connection, which is closed behind the answer."""

    noisy = False

    def __init__(self, server: Server, packet: bytes, read: Read) -> None:
        self._server = server
        self._packet = packet
        self._read = read
        self.answer: Deferred[DnsReply] = Deferred()

    def buildProtocol(self, _addr: object) -> Protocol:
        """The connection is open."""
        return _TcpAnswer(self)

    def clientConnectionFailed(self, _connector: object, reason: Failure) -> None:
        """There is no connection."""
        self.fail(reason.getErrorMessage())

    def question(self) -> bytes:
        """The message with its length."""
        return len(self._packet).to_bytes(_LENGTH_SIZE, "big") + self._packet

    def received(self, message: bytes) -> None:
        """One whole message."""
        reply = self._read(message)
        if reply is None:
            self.fail("its answer by TCP is not one to the question")
        elif not self.answer.called:
            self.answer.callback(reply)

    def fail(self, why: str) -> None:
        """There will be no answer."""
        if not self.answer.called:
            self.answer.errback(LookupFailed(f"{_shown(self._server)}: {why}"))


class _TcpAnswer(Protocol):
    """Reads one message."""

    def __init__(self, asking: _TcpQuestion) -> None:
        self._asking = asking
        self._data = b""

    def connectionMade(self) -> None:
        """Ask."""
        transport: Any = self.transport
        transport.write(self._asking.question())

    def dataReceived(self, data: bytes) -> None:
        """A part of the answer, whose length is bounded by its two bytes."""
        self._data += data
        size = int.from_bytes(self._data[:_LENGTH_SIZE], "big")
        message = self._data[_LENGTH_SIZE:]
        if len(self._data) >= _LENGTH_SIZE and len(message) >= size:
            self._asking.received(message[:size])

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        """It was closed, by the server or behind the answer."""
        self._asking.fail("closed the connection without an answer")
