"""TLS as a transport: above it a side that knows only plaintext, below it one that carries the ciphertext.

It stands wherever a transport does: under a phase that looks at what came out of the encryption, under a
handler, under the relay between transports. When both ends of a connection turn out to be sockets of our
own, the relay takes the channel and the socket out of it (:meth:`TlsTransport.detach`) and moves the bytes
itself.

Closing is in order: what was written goes out, then our close_notify, then the FIN. The peer's
close_notify is the end of its direction, as a FIN is without TLS; a FIN that comes without it is a cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from smartproxy.errors import ConnectionTruncated, TlsError
from smartproxy.net.half_close import end_output
from smartproxy.tls.channel import PLAIN_VIEW, Channel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smartproxy.flow.side import Side
    from smartproxy.net.stream import Detached


#: Bytes of answers that a peer may have for what is no payload: tens of thousands of changes of keys, each of which
#: wants one of ours (RFC 8446, 4.6.3). Nothing else bounds what waits for a peer that asks and does not read.
_ANSWERS = 1024 * 1024


class Uncovered(NamedTuple):
    """What a relay of its own needs: the socket, and the channel over it."""

    given: Detached
    channel: Channel


@implementer(ISSLTransport, IConsumer, IPushProducer)
class TlsTransport:
    """``channel`` between ``lower``, whose connection carries it, and ``upper``, whose transport it is.

    The handshake has been made. ``lower`` may hold ciphertext that came behind it. It begins paused: until
    somebody resumes it nothing is decrypted, and the lower side goes on holding what comes.
    """

    disconnecting = False

    def __init__(self, channel: Channel, lower: Side, upper: Side) -> None:
        self.channel = channel
        self.lower = lower
        self._upper: Side | None = upper
        self._begun = False
        self._told_end = False
        self._said_end = False
        self._answered = 0
        upper.makeConnection(self)

    def _begin(self) -> None:
        """Hand up what has come already, and from now on what comes."""
        self._begun = True
        self.lower.attach(self)
        held = self.lower.consume()
        if held:
            self.channel.feed(held, len(held))
        self._decrypt()
        if self.lower.ended:
            self.input_ended()

    # -- the receiver of the lower side -------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Ciphertext has come."""
        self.channel.feed(data, len(data))
        self._decrypt()

    def input_ended(self) -> None:
        """A FIN has come. Without a close_notify before it, what was to come is missing."""
        if not self._told_end:
            self._cut(Failure(ConnectionTruncated("the peer ended TLS without saying so")))

    def output_ended(self) -> None:
        """Our FIN has gone out, behind our close_notify: the upper side has heard of its end already."""

    def lost(self, why: Failure) -> None:
        """The connection has gone."""
        upper, self._upper = self._upper, None
        if upper is not None:
            upper.connectionLost(why)

    def _decrypt(self) -> None:
        try:
            while self._upper is not None and (got := self.channel.read()):
                self._upper.dataReceived(bytes(PLAIN_VIEW[:got]))
        except TlsError as broken:
            self._flush()
            self._cut(Failure(ConnectionLost(str(broken))))
            return
        self._answered += self._flush()
        if self._answered > _ANSWERS:
            self._cut(Failure(ConnectionLost("the peer changes its keys without end")))
            return
        if self.channel.ended and not self._told_end and self._upper is not None:
            self._told_end = True
            self._upper.readConnectionLost()

    def _flush(self) -> int:
        """Send what the channel has to say: records, tickets, alerts. How many bytes that is."""
        output = self.channel.take_output()
        if output:
            self.lower.transport.write(output)
        return len(output)

    def _cut(self, why: Failure) -> None:
        upper, self._upper = self._upper, None
        self.lower.transport.abortConnection()
        if upper is not None:
            upper.connectionLost(why)

    # -- the transport of the upper side ---------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Encrypt and send ``data``."""
        if self._said_end or self._upper is None or not data:
            return
        try:
            self.channel.write(data, len(data))
        except TlsError as broken:
            self._cut(Failure(ConnectionLost(str(broken))))
        else:
            self._flush()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Encrypt and send all of them."""
        self.write(b"".join(data))

    def end_output(self) -> None:
        """End our direction with a close_notify. The peer may go on, and its end is awaited."""
        if not self._said_end and self._upper is not None:
            self._said_end = True
            self.channel.say_end()
            self._flush()

    def loseWriteConnection(self) -> None:
        """The same for a protocol, which hears that it is done."""
        if not self._said_end:
            self.end_output()
            if self._upper is not None:
                self._upper.writeConnectionLost()

    def loseConnection(self) -> None:
        """End both directions, in order."""
        self.end_output()
        if self._told_end:
            end_output(self.lower.transport)
        self.lower.transport.loseConnection()

    def cut_output(self) -> None:
        """End both directions behind what was written, without a close_notify: as something that broke off."""
        self._said_end = True
        self.lower.transport.unregisterProducer()
        self.lower.transport.loseConnection()

    def abortConnection(self) -> None:
        """End both directions now, with a RST."""
        self.lower.transport.abortConnection()

    # -- flow control: the lower transport's, in both directions ----------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """``producer`` is paused while too much ciphertext waits to be sent."""
        self.lower.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Nobody is to be paused any more."""
        self.lower.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Read no more. What has been decrypted already still comes."""
        self.lower.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        if not self._begun:
            self._begin()
        if self._upper is not None:
            self.lower.transport.resumeProducing()

    def stopProducing(self) -> None:
        """A consumer of ours has gone."""
        self.loseConnection()

    # -- what it is ------------------------------------------------------------------------------------

    def detach(self) -> Uncovered:
        """Give the socket of a :class:`~smartproxy.net.stream.Stream` away, and the channel with it."""
        self._upper = self.lower.receiver = None
        held = self.lower.consume()
        if held:
            self.channel.feed(held, len(held))
        given = self.lower.transport.detach()
        self.lower.transport = None
        return Uncovered(given, self.channel)

    def getPeerCertificate(self) -> Any:
        """The peer's certificate, or ``None``."""
        return self.channel.connection.get_peer_certificate(as_cryptography=True)

    def __getattr__(self, name: str) -> Any:
        """Addresses and socket options are the connection's own."""
        return getattr(self.lower.transport, name)
