"""A connection served by a Twisted protocol, as if a listening port had accepted it.

The protocol gets a transport that counts bytes and knows the announced client: ``getPeer`` is the client and ``getHost``
the address it connected to, as with Twisted's own PROXY endpoint. Producers, half-close and socket options are those of
the client's transport.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol

from smartproxy.model.outcome import EndedBy
from smartproxy.serving.served import Served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.python.failure import Failure

    from smartproxy.flow.side import Side
    from smartproxy.model.facts import Routed
    from smartproxy.model.record import ConnectionRecord


class ClientTransport:
    """A client's transport, as a protocol of a handler sees it: ``self.transport`` of the protocol.

    :ivar facts: everything known of the connection.
    """

    def __init__(self, served: ServedProtocol, facts: Routed) -> None:
        self.facts = facts
        self._served = served
        self._transport = served.transport
        self._leaving = False
        self._finished = False
        self._producing = False

    def __getattr__(self, name: str) -> Any:
        """Everything else is the real transport's, its zope interfaces too (twisted.web needs IPushProducer)."""
        return getattr(self._transport, name)

    @property
    def disconnecting(self) -> bool:
        """Whether it is closing; LineReceiver reads this before each line."""
        return self._leaving or bool(self._transport.disconnecting)

    def write(self, data: bytes) -> None:
        """Send ``data`` to the client. Ignored after the end of our direction, as by any transport."""
        served = self._served
        if self._finished or (self._leaving and not self._producing) or served.done.has_happened:
            return
        self._transport.write(data)
        served.record.moved_out(len(data), served.clock())

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send all of them."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Register at the real transport; the connection does not close before the producer is unregistered."""
        self._producing = True
        self._transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """The producer has finished: a close that waited for it happens now."""
        self._producing = False
        self._transport.unregisterProducer()
        if self._leaving:
            self._close()

    def loseConnection(self) -> None:
        """Close after pending data is sent and the producer is unregistered."""
        self._leaving = True
        self._served.deaf = True
        self._served.record.note_end(EndedBy.TARGET)
        if not self._producing:
            self._close()

    def _close(self) -> None:
        """Close after pending data is sent, for which the client has ``halfCloseTimeout``."""
        self._served.record.half_closed(EndedBy.TARGET)
        self._transport.loseConnection()

    def loseWriteConnection(self) -> None:
        """Send a FIN after pending data; the client may go on sending."""
        self._finished = True
        self._transport.loseWriteConnection()
        self._served.record.half_closed(EndedBy.TARGET)

    def abortConnection(self) -> None:
        """Reset the connection; counted like a reset by a target."""
        self._served.reset()

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The client: as announced by a trusted proxy, else the peer."""
        return address_of(*self.facts.detected.announced.client)

    def getHost(self) -> Any:
        """The address that the client connected to, likewise."""
        header = self.facts.detected.announced.header
        if header is None or header.destination is None:
            return self._transport.getHost()
        return address_of(*header.destination)


def address_of(host: str, port: int) -> IPv4Address | IPv6Address:
    """``host`` and ``port`` as an address of Twisted's."""
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
        """Connect the protocol to its transport."""
        self._protocol.makeConnection(ClientTransport(self, self._facts))

    def data_received(self, data: bytes) -> None:
        """Count the bytes and deliver them."""
        if not self.deaf:
            self.record.moved_in(len(data), self.clock())
            self.attempt(self._protocol.dataReceived, data)

    def input_ended(self) -> None:
        """The client's FIN: a protocol that supports half-close goes on, the connection of any other is closed."""
        if not self.deaf and IHalfCloseableProtocol.providedBy(self._protocol):
            self.record.half_closed(EndedBy.CLIENT)
            self.attempt(self._protocol.readConnectionLost)
        else:
            self.record.half_closed(EndedBy.CLIENT)  # it may not read what waits to be sent
            self.transport.loseConnection()

    def output_ended(self) -> None:
        """Our FIN has been sent."""
        if IHalfCloseableProtocol.providedBy(self._protocol):
            self.attempt(self._protocol.writeConnectionLost)

    def closed(self, why: Failure) -> None:
        """Report the closed connection to the protocol."""
        protocol, self._protocol = self._protocol, None
        protocol.connectionLost(why)
