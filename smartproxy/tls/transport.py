"""TLS as a transport: the *upper* side has plaintext, the *lower* side carries the ciphertext.

It is used wherever a transport is: by a phase that inspects decrypted bytes, by a handler, by the relay between
transports. If both connections are over sockets of the poller, the relay takes the channel and the socket
(:meth:`TlsTransport.detach`, :func:`channel_of`) and moves the bytes itself.

An orderly close sends what was written, then our close_notify, then the FIN. The peer's close_notify ends its direction,
as a FIN does without TLS; a FIN without it is a cut (RFC 8446, 6.1).
"""

from __future__ import annotations

from enum import auto
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from smartproxy.errors import ConnectionTruncated, TlsConnectionLost, TlsError
from smartproxy.flow.states import State, following
from smartproxy.net.detach import can_detach
from smartproxy.net.half_close import end_output, reset_output
from smartproxy.net.liveness import reset_behind_end
from smartproxy.tls.channel import PLAIN, PLAIN_VIEW, Channel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509

    from smartproxy.flow.side import Side
    from smartproxy.flow.states import Table
    from smartproxy.net.detach import Detached


#: Bytes that a peer may have us answer to messages without payload: tens of thousands of KeyUpdates, each of which asks
#: for one of ours (RFC 8446, 4.6.3). Nothing else limits what waits for a peer that sends them and does not read.
_ANSWERS = 1024 * 1024


class TlsInput(State):
    """What is received from the peer."""

    HELD = auto()  # nothing is decrypted yet; the lower side buffers what is received
    OPEN = auto()
    ENDED = auto()  # a close_notify was received, and the upper side was told
    CLOSED = auto()  # the upper side was told of the loss, or the channel was detached


class TlsOutput(State):
    """What is sent to the peer."""

    OPEN = auto()
    ENDED = auto()  # our close_notify was sent, or a cut was asked for
    CLOSED = auto()


class TlsEvent(State):
    """What changes how far TLS is open."""

    RESUMED = auto()  # the upper side reads for the first time
    CLOSE_NOTIFY = auto()
    END_ASKED = auto()  # in order or as a cut
    LOST = auto()  # the connection is lost, its TLS failed, or it was detached


#: An event that is missing indicates a bug: it raises IllegalTransition. The two directions are independent.
INPUT: Table[TlsInput, TlsEvent] = {
    TlsInput.HELD: {TlsEvent.RESUMED: TlsInput.OPEN, TlsEvent.LOST: TlsInput.CLOSED},
    TlsInput.OPEN: {TlsEvent.CLOSE_NOTIFY: TlsInput.ENDED, TlsEvent.LOST: TlsInput.CLOSED},
    TlsInput.ENDED: {TlsEvent.LOST: TlsInput.CLOSED},
    TlsInput.CLOSED: {TlsEvent.LOST: TlsInput.CLOSED},
}
OUTPUT: Table[TlsOutput, TlsEvent] = {
    TlsOutput.OPEN: {TlsEvent.END_ASKED: TlsOutput.ENDED, TlsEvent.LOST: TlsOutput.CLOSED},
    TlsOutput.ENDED: {TlsEvent.LOST: TlsOutput.CLOSED},
    TlsOutput.CLOSED: {TlsEvent.LOST: TlsOutput.CLOSED},
}

# Bound here for the byte path, as in smartproxy.net.stream.
_HELD, _INPUT_OPEN, _INPUT_ENDED, _INPUT_CLOSED = TlsInput
_OPEN, _ENDED, _CLOSED = TlsOutput


@implementer(ISSLTransport, IConsumer, IPushProducer)
class TlsTransport:
    """``channel`` over the connection of ``lower``, as the transport of ``upper``.

    The handshake is complete. ``lower`` may have buffered ciphertext behind it. The transport starts paused: until it is
    resumed, nothing is decrypted, and the lower side buffers what is received.
    """

    disconnecting = False

    def __init__(self, channel: Channel, lower: Side, upper: Side) -> None:
        self.channel = channel
        self.lower = lower
        self._upper: Side | None = upper
        self._input = _HELD
        self._output = _OPEN
        self._answered = 0
        upper.makeConnection(self)

    def _begin(self) -> None:
        """Decrypt what is buffered, and from now on what is received."""
        self._input = following(INPUT, self._input, TlsEvent.RESUMED)
        self.lower.attach(self)
        self._decrypt(self.lower.consume())
        if self.lower.ended:
            self.input_ended()

    # -- the receiver of the lower side -------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Decrypt received ciphertext."""
        self._decrypt(data)

    def input_ended(self) -> None:
        """Handle a FIN. Without a close_notify before it, data may be missing."""
        if self._input is _INPUT_OPEN and reset_behind_end(self.lower.transport):
            self._cut(Failure(ConnectionLost("the peer has reset the connection")))
        elif self._input is _INPUT_OPEN:
            self._cut(Failure(ConnectionTruncated("the peer ended TLS without saying so")))

    def output_ended(self) -> None:
        """Do nothing: our close_notify came before our FIN, and the upper side was told then."""

    def lost(self, why: Failure) -> None:
        """Tell the upper side that the connection is lost."""
        upper = self._release()
        if upper is not None:
            upper.connectionLost(why)

    def _release(self) -> Side | None:
        """Close both directions. Returns the upper side, the first time: it has to be told."""
        self._input, self._output = _INPUT_CLOSED, _CLOSED  # TlsEvent.LOST, in every state
        upper, self._upper = self._upper, None
        return upper

    def _decrypt(self, data: bytes) -> None:
        """Decrypt ``data`` behind what the channel holds already."""
        channel = self.channel
        try:
            got = channel.decrypt(data)
            while got and self._upper is not None:
                self._upper.dataReceived(bytes(PLAIN_VIEW[:got]))
                if self._input is _INPUT_CLOSED:
                    return  # lost; or detached, and the rest belongs to another owner
                got = channel.read() if got == PLAIN or channel.problem else 0
        except TlsError as broken:
            self._flush()  # the alert that says why
            self._cut(Failure(TlsConnectionLost(str(broken))))
            return
        # What the channel sends now is no payload: nothing was written to it in between.
        self._answered += self._flush()
        if self._answered > _ANSWERS:
            self._cut(Failure(ConnectionLost("the peer changes its keys without end")))
            return
        if self.channel.ended and self._input is _INPUT_OPEN and self._upper is not None:
            self._input = following(INPUT, self._input, TlsEvent.CLOSE_NOTIFY)
            self._upper.readConnectionLost()

    def _flush(self) -> int:
        """Send the records that the channel has made: data, tickets, alerts. Returns how many bytes."""
        output = self.channel.take_output()
        if output:
            self.lower.transport.write(output)
        return len(output)

    def _cut(self, why: Failure) -> None:
        upper = self._release()
        self.lower.transport.abortConnection()
        if upper is not None:
            upper.connectionLost(why)

    # -- the transport of the upper side ---------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Encrypt and send ``data``."""
        if self._output is not _OPEN or not data:
            return
        try:
            records = self.channel.encrypt(data)
        except TlsError as broken:
            self._cut(Failure(ConnectionLost(str(broken))))
        else:
            self.lower.transport.write(records)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Encrypt and send all of ``data``."""
        self.write(b"".join(data))

    def end_output(self) -> None:
        """End our direction with a close_notify. The peer may still send, until it ends its own."""
        if self._output is _OPEN:
            self._output = following(OUTPUT, self._output, TlsEvent.END_ASKED)
            self.channel.say_end()
            self._flush()

    def loseWriteConnection(self) -> None:
        """End our direction, and tell the protocol, as ``IHalfCloseableProtocol`` wants it."""
        if self._output is _OPEN:
            self.end_output()
            if self._upper is not None:
                self._upper.writeConnectionLost()

    def loseConnection(self) -> None:
        """Close the connection in order."""
        self.end_output()
        # The peer has ended, too, so our FIN can follow at once; else the lower transport's close sends it.
        if self._input is _INPUT_ENDED:
            end_output(self.lower.transport)
        self.lower.transport.loseConnection()

    def cut_output(self) -> None:
        """Close behind what was written, without a close_notify: the peer sees that data is missing."""
        if self._output is _OPEN:
            self._output = following(OUTPUT, self._output, TlsEvent.END_ASKED)
        self.lower.transport.unregisterProducer()
        self.lower.transport.loseConnection()

    def reset_output(self) -> None:
        """Close with a RST behind what was written."""
        if self._output is _OPEN:
            self._output = following(OUTPUT, self._output, TlsEvent.END_ASKED)
        reset_output(self.lower.transport)

    def abortConnection(self) -> None:
        """Close the connection now, with a RST."""
        self.lower.transport.abortConnection()

    # -- flow control: the lower transport's, in both directions ----------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause ``producer`` while too much ciphertext waits to be sent."""
        self.lower.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self.lower.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Stop reading. What was decrypted already is still delivered."""
        self.lower.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Start or go on reading."""
        if self._input is _HELD:
            self._begin()
        if self._input is not _INPUT_CLOSED:
            self.lower.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Close the connection: its consumer is lost."""
        self.loseConnection()

    # -- the socket and the peer ------------------------------------------------------------------------------------

    @property
    def can_detach(self) -> bool:
        """Whether the connection below is over a socket that can be detached."""
        return can_detach(self.lower.transport)

    def detach(self) -> Detached:
        """Detach the socket of the connection below. The channel goes on with it: see :func:`channel_of`."""
        self._release()
        self.lower.receiver = None
        held = self.lower.consume()
        if held:
            self.channel.feed(held)
        transport = self.lower.detach()
        if not can_detach(transport):
            raise TypeError(f"{transport!r} has no socket that can be detached")
        return transport.detach()

    def getPeerCertificate(self) -> x509.Certificate | None:
        """The peer's certificate, or ``None``."""
        return self.channel.connection.get_peer_certificate(as_cryptography=True)

    def __getattr__(self, name: str) -> Any:
        """Addresses and socket options are those of the connection below."""
        return getattr(self.lower.transport, name)


def channel_of(transport: object) -> Channel | None:
    """The TLS that ``transport`` terminates; ``None`` where it carries plain bytes, or TLS that is passed through."""
    channel: Channel | None = getattr(transport, "channel", None)
    return channel
