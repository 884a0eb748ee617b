"""The relay for sockets of the poller of which one, or both, carry TLS that is terminated here.

::

    socket --recv_into--> [decrypt] --> plaintext --> [encrypt] --send--> socket

One read and one write of up to 256 KiB at a time, through buffers that all channels share: nothing is allocated
for a chunk unless the peer does not take it, and then nothing is read until it does. So at most one turn's bytes
wait to be written to a half.

Each direction ends independently: with a close_notify on a half with TLS, with a FIN on one without. A FIN where a
close_notify was due is a cut (RFC 8446, 6.1: truncation). It is passed on as one: data is missing, and the other
half must not take what it has for the whole. But it gets what was received: the cut follows the last byte
(:meth:`TlsHalf.cut`), as a FIN without close_notify on a half with TLS, as a RST on one without.

The states, the back-pressure and every end but the cut are in :mod:`smartproxy.relays.half`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from smartproxy.errors import TlsError
from smartproxy.model.ending import TRUNCATED
from smartproxy.model.outcome import CloseReason
from smartproxy.net.detach import Detached
from smartproxy.relays.half import Half
from smartproxy.relays.sockets import SocketRelay
from smartproxy.relays.states import HalfEvent, Reading, Writing
from smartproxy.tls.channel import CIPHER, CIPHER_VIEW, PLAIN, PLAIN_VIEW, Channel
from smartproxy.wire.sniff import ENOUGH

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.record import ConnectionRecord
    from smartproxy.net.poller import Poller

#: Bytes of answers that may wait for a half that does not read them: twice what the other direction leaves unread, and
#: thousands of KeyUpdates, each of which asks for one of ours (RFC 8446, 4.6.3).
_UNREAD = 2 * PLAIN

# As in smartproxy.relays.half.
_DRAINING, _ENDED = Reading.DRAINING, Reading.ENDED
_FAILED, _FINISHED, _CLOSED = Writing.FAILED, Writing.FINISHED, Writing.CLOSED


class TlsHalf(Half["TlsRelay"]):
    """One socket, with its TLS if it has any. ``buffered`` says that the channel may hold plaintext.

    :ivar channel: ``None`` where the half is plain.
    :ivar first: the first bytes that were written to it.
    """

    __slots__ = ("channel", "first")

    #: At most 4 MiB, some 3 ms of encryption. With 1 MiB a GB costs 6 % more.
    TURNS: ClassVar[int] = 16

    def __init__(
        self, relay: TlsRelay, given: Detached, channel: Channel | None, count: Callable[[int, float], None]
    ) -> None:
        Half.__init__(self, relay, given, count)
        self.channel = channel
        self.first = b""
        self.buffered = channel is not None  # it may hold what was received behind the handshake

    # -- reading -------------------------------------------------------------------------------------

    def move(self, other: TlsHalf) -> None:
        """Read plaintext into the shared buffer, and write it to ``other``."""
        channel = self.channel
        if channel is None:
            got = self._receive(PLAIN_VIEW)
            if got:
                other.put(got)
            return
        got = self._decrypt(channel)
        if got:
            other.put(got)
        # The relay may have ended meanwhile, or this half may have been cut, and gets nothing more then.
        if self.writing is not _CLOSED:
            self._answer()

    def _decrypt(self, channel: Channel) -> int:
        """Plaintext into the shared buffer. Returns how many bytes."""
        # Ciphertext is read only when the channel has none left, so its memory is bounded by one read.
        received = 0 if self.buffered else self._receive(CIPHER_VIEW)
        if not received and not self.buffered:
            return 0
        try:
            got = channel.decrypt_shared(received) if received else channel.read()
        except TlsError as why:
            self._send_output()  # the alert that says why
            self.relay.tls_failed(self, str(why))
            return 0
        # A full buffer may have left something behind; and a failure behind these bytes is raised by the next read.
        self.buffered = got == PLAIN or bool(channel.problem)
        if channel.ended:
            self.change(HalfEvent.INPUT_ENDED)
        return got

    def _answer(self) -> None:
        """Send the channel's own answers to what was received: to a KeyUpdate, or a renegotiation.

        This comes after the plaintext was handed on, because sending may fail, and a failed write reads on, into
        the buffer that the plaintext is in.
        """
        self._send_output()
        if self.waiting > _UNREAD:
            self.relay.broken(self)

    def _receive(self, into: memoryview) -> int:
        """Receive at most :data:`PLAIN` bytes. Returns how many; 0 where there are none, or where there is an end."""
        try:
            received = self.sock.recv_into(into, PLAIN)
        except BlockingIOError:
            self.readable = self.marked = False  # urgent data was passed; a FIN would have been read
            return 0
        except OSError:
            self.relay.broken(self)
            return 0
        if received < PLAIN:
            # A short read has emptied the socket, but for a FIN or urgent data that was reported together with
            # these bytes, and for what follows that.
            self.readable = self.marked
        if not received:
            self.readable = False
            # With TLS, the orderly end is the close_notify, after which nothing is received here any more.
            if self.channel is None or self.reading is _DRAINING:
                self.input_ended()
            else:
                self.cut()
        return received

    # -- writing -------------------------------------------------------------------------------------

    def put(self, got: int) -> None:
        """Write ``got`` bytes of the shared plaintext to this half; what its socket does not take waits."""
        if not self.first:
            self.first = bytes(PLAIN_VIEW[: min(got, ENOUGH)])
        if self.channel is None:
            self.write(PLAIN_VIEW[:got])
        else:
            try:
                ready = self.channel.encrypt_shared(got)
            except TlsError:
                self.relay.broken(self)
                return
            self.write(CIPHER_VIEW[:ready])
            if ready == CIPHER:
                self._send_output()
        # Plaintext, counted when it is handed over. Records that wait in ``pending`` are at most one turn's.
        self.count(got, self.relay.poller.now)

    def greet(self, header: bytes, held: bytes) -> None:
        """Write what goes before everything else; ``header`` is not counted.

        Where this half has TLS, ``header`` is empty: a PROXY header precedes the handshake.
        """
        first = header + held
        self.first = held[:ENOUGH]
        if self.channel is None:
            if first:
                self.write(first)
        elif first:
            self.write(self.channel.encrypt(first))  # the end of the handshake may be in it, too
        else:
            self._send_output()
        if held:
            self.count(len(held), self.relay.poller.now)

    def _send_output(self) -> None:
        """Send the records that the channel has made."""
        channel = self.channel
        while channel is not None and (ready := channel.output()):
            if self.writing is not _FAILED:  # of what such a half has sent, the rest is still to be read
                self.write(CIPHER_VIEW[:ready])
            if ready < CIPHER:
                return

    def send_end(self) -> None:
        """Send a close_notify, or a FIN where there is no TLS."""
        if self.channel is None:
            Half.send_end(self)
        else:
            self.channel.say_end()
            self._send_output()

    @property
    def fin_sent(self) -> bool:
        """Whether a FIN was sent to this half: with TLS, its end was a close_notify."""
        return self.channel is None and self.writing is _FINISHED

    def cut(self) -> None:
        """A FIN without close_notify was received: the other half is cut off when it has been sent everything.

        A peer that has been sent our close_notify may answer with a bare FIN, as an orderly end: it has read everything,
        and nothing of what it had to say is missing.
        """
        if self.writing is _FINISHED:
            self.change(HalfEvent.INPUT_ENDED)
        else:
            reason = CloseReason.CLIENT_RESET if self is self.relay.client else CloseReason.UPSTREAM_RESET
            self.relay.record.explain(reason, TRUNCATED)
            # A plain half knows only the RST for an end that is not orderly; with TLS the missing close_notify is it.
            self.relay.cut(self, resets=self.peer.channel is None)


class TlsRelay(SocketRelay[TlsHalf]):
    """Two sockets of the poller, relayed through the TLS of either.

    :ivar problem: how the TLS of the target has failed.
    :ivar spared: the client's socket, where that ended the relay before a byte of an answer: it is not closed.
    :ivar first: in this case, the first bytes of the client.
    """

    __slots__ = ("first", "problem", "spared")

    def __init__(
        self,
        client: tuple[Detached, Channel | None],
        upstream: tuple[Detached, Channel | None],
        record: ConnectionRecord,
        poller: Poller,
    ) -> None:
        self.problem = ""
        self.spared: Detached | None = None
        self.first = b""
        SocketRelay.__init__(
            self,
            TlsHalf(self, *client, record.moved_out),
            TlsHalf(self, *upstream, record.moved_in),
            record,
            poller,
        )

    def tls_failed(self, half: TlsHalf, why: str) -> None:
        """The peer of ``half`` has sent an alert, or what is no TLS."""
        if self.done.has_happened:  # sending our own alert has ended the relay
            return
        reason = CloseReason.CLIENT_RESET if half is self.client else CloseReason.UPSTREAM_RESET
        self.record.explain(reason, f"its TLS failed: {why}")
        if half is self.upstream:
            self.problem = why
            client = self.client
            if not self.record.bytes_sent and client.writing is Writing.OPEN:
                self.spared = Detached(client.sock, client.readable, bytes(client.pending), client.marked)
                self.first = half.first
        self.broken(half)

    def broken(self, half: TlsHalf) -> None:
        """See :meth:`SocketRelay.broken`. A client that is spared is not reset."""
        if self.spared is None:
            SocketRelay.broken(self, half)
        elif not self.done.has_happened:
            self.blame(half)
            self.end(self.reason)

    def close(self, half: TlsHalf) -> None:
        """Close the socket of ``half``, unless it is the client's and spared."""
        if self.spared is None or half.sock is not self.spared.sock:
            SocketRelay.close(self, half)
