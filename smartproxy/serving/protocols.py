"""A connection given to a Twisted protocol, as a listening port would give it.

The protocol gets a transport that counts, and that knows who the client is where a trusted proxy has announced
one: ``getPeer`` is the client and ``getHost`` where it had connected to, as with Twisted's own PROXY endpoint.
Everything else is the client's own transport: producers, half-close, socket options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol

from smartproxy.model.outcome import CloseReason
from smartproxy.serving.served import Served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.python.failure import Failure

    from smartproxy.flow.side import Side
    from smartproxy.model.facts import Routed
    from smartproxy.model.record import ConnectionRecord


class CountedTransport:
    """A client's transport, as a protocol sees it.

    :ivar facts: all that is known of the connection.
    """

    def __init__(self, served: ServedProtocol, facts: Routed) -> None:
        self.facts = facts
        self._served = served
        self._real = served.transport
        self._leaving = False
        self._finished = False
        self._producing = False

    def __getattr__(self, name: str) -> Any:
        """The real transport's; by this way zope finds its interfaces, too (twisted.web asks for IPushProducer)."""
        return getattr(self._real, name)

    @property
    def disconnecting(self) -> bool:
        """Whether it is about to close; LineReceiver asks before each line."""
        return self._leaving or bool(self._real.disconnecting)

    def write(self, data: bytes) -> None:
        """To the client. After an end of our direction it goes nowhere, as with any transport."""
        served = self._served
        if self._finished or (self._leaving and not self._producing) or served.done.called:
            return
        self._real.write(data)
        served.record.moved_out(len(data), served.clock())

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """All of them."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """As the real one's; until it is unregistered the connection does not close."""
        self._producing = True
        self._real.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Nothing more comes from the producer; now it may close."""
        self._producing = False
        self._real.unregisterProducer()
        if self._leaving:
            self._real.loseConnection()

    def loseConnection(self) -> None:
        """Close, once everything is written and no producer has more."""
        self._leaving = True
        self._served.deaf = True
        if not self._producing:
            self._real.loseConnection()

    def loseWriteConnection(self) -> None:
        """End our direction; the client's goes on."""
        self._finished = True
        self._real.loseWriteConnection()
        self._served.record.half_closed()

    def abortConnection(self) -> None:
        """Reset it. That is what a backend's reset would have been."""
        self._served.abort(CloseReason.UPSTREAM_RESET)

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The client, as announced where somebody trusted has announced it."""
        return address_of(*self.facts.detected.announced.client)

    def getHost(self) -> Any:
        """Where the client had connected to, likewise."""
        header = self.facts.detected.announced.header
        if header is None or header.destination is None:
            return self._real.getHost()
        return address_of(*header.destination)


def address_of(host: str, port: int) -> IPv4Address | IPv6Address:
    """Twisted's address of an end."""
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


class ServedProtocol(Served):
    """A connection that a Twisted protocol serves."""

    def __init__(
        self,
        record: ConnectionRecord,
        side: Side,
        clock: Callable[[], float],
        protocol: Any,
        facts: Routed,
    ) -> None:
        super().__init__(record, side, clock)
        self._protocol = protocol
        self._facts = facts

    def begin(self) -> None:
        """As a port does when it has accepted."""
        self._protocol.makeConnection(CountedTransport(self, self._facts))

    def data_received(self, data: bytes) -> None:
        """Hand it over."""
        if not self.deaf:
            self.record.moved_in(len(data), self.clock())
            self.attempt(self._protocol.dataReceived, data)

    def input_ended(self) -> None:
        """A protocol that knows half-closed connections goes on; any other has been closed."""
        if not self.deaf and IHalfCloseableProtocol.providedBy(self._protocol):
            self.record.half_closed()
            self.attempt(self._protocol.readConnectionLost)
        else:
            self.transport.loseConnection()

    def output_ended(self) -> None:
        """Its own FIN has gone out."""
        if IHalfCloseableProtocol.providedBy(self._protocol):
            self.attempt(self._protocol.writeConnectionLost)

    def closed(self, why: Failure) -> None:
        """The last that it hears."""
        protocol, self._protocol = self._protocol, None
        protocol.connectionLost(why)
