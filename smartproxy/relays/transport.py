"""The relay for any transport on any reactor: each side's transport is the other's producer.

Back-pressure is Twisted's: a transport that holds more than it can send pauses its registered producer, which is the
other transport. Each direction ends independently. When both have ended, both connections are closed, and the relay is
over when both connections are lost.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from smartproxy.errors import ConnectionTruncated, TlsConnectionLost
from smartproxy.flow.event import AwaitableEvent
from smartproxy.model.ending import TRUNCATED
from smartproxy.model.outcome import CloseReason, EndedBy
from smartproxy.net.failed_write import read_before_loss
from smartproxy.net.half_close import can_half_close, cut_output, end_output, reset_output, still_sends
from smartproxy.net.liveness import reset_behind_end, transport_gone
from smartproxy.net.outgoing import acknowledged_by
from smartproxy.relays.interfaces import IRelay
from smartproxy.wire.sniff import ENOUGH

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smartproxy.flow.side import Side
    from smartproxy.model.record import ConnectionRecord


@implementer(IPushProducer)
class _Direction:
    """Forwards from one side to the other: the receiver of its source, and the producer of its sink.

    :ivar blamed: close reason if the source is reset.
    :ivar discards: whether the sink is lost, and the source is only read to find out that it was sent everything.
    :ivar ended: whether the source has ended its direction.
    :ivar fin_sent: whether our FIN was sent to the source, behind everything that was written.
    :ivar first: the first bytes of the source.
    :ivar is_lost: whether the connection of the source is lost.
    :ivar sink_is_lost: whether the connection of the sink is lost. The source may still report events of the same turn.
    """

    __slots__ = (
        "blamed", "count", "discards", "ended", "fin_sent", "first", "is_lost", "relay", "sink",
        "sink_is_lost", "source",
    )  # fmt: skip

    def __init__(
        self,
        relay: TransportRelay,
        source: Side,
        sink: Side,
        count: Callable[[int, float], None],
        blamed: CloseReason,
    ) -> None:
        self.relay = relay
        self.source = source
        self.sink = sink
        self.count = count
        self.blamed = blamed
        self.discards = False
        self.ended = False
        self.fin_sent = False
        self.first = b""
        self.is_lost = False
        self.sink_is_lost = False

    def data_received(self, data: bytes) -> None:
        """Write it to the sink. It may be received after a pause: TLS has decrypted it already."""
        if self.discards:
            self.relay.undeliverable(self)
        if self.sink_is_lost:
            return
        if not self.first:
            self.first = data[:ENOUGH]
        self.sink.transport.write(data)
        self.count(len(data), self.relay.clock())

    def input_ended(self) -> None:
        """Pass the end on, once, unless it is a reset that Twisted has taken for one."""
        if self.ended:
            return
        code = reset_behind_end(self.source.transport)
        if code:
            self.source.transport.abortConnection()  # the relay is told of the loss; the kernel has no more to report
        if code in (0, errno.EPIPE):
            self.ended = True
            self.relay.direction_ended(self)

    def pauseProducing(self) -> None:
        """The sink holds more than it can send: do not read the source."""
        self.source.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The sink has sent everything: read the source."""
        self.source.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: the sink is lost, which the relay is told of. How the source ends depends on why."""

    def output_ended(self) -> None:
        """Our FIN was sent."""
        self.fin_sent = True
        if self.discards:
            self.relay.undeliverable(self)

    def lost(self, why: Failure) -> None:
        """The connection of the source is lost, and with it everything that was to be written to it."""
        self.is_lost = True
        self.relay.side_lost(self, why)


@implementer(IRelay)
class TransportRelay:
    """Two Twisted connections, relayed.

    :param clock: monotonic seconds.
    :ivar problem: how the TLS of the target has failed.
    :ivar spared: whether that ended the relay before a byte of an answer: the client's connection is not closed.
    :ivar first: in this case, the first bytes of the client.
    """

    __slots__ = ("clock", "done", "first", "inward", "outward", "problem", "reason", "record", "spared")

    def __init__(
        self, client: Side, upstream: Side, record: ConnectionRecord, clock: Callable[[], float]
    ) -> None:
        self.record = record
        self.clock = clock
        self.reason = CloseReason.NORMAL
        self.problem = ""
        self.spared = False
        self.first = b""
        self.done: AwaitableEvent[CloseReason] = AwaitableEvent()
        self.inward = _Direction(self, client, upstream, record.moved_in, CloseReason.CLIENT_RESET)
        self.outward = _Direction(self, upstream, client, record.moved_out, CloseReason.UPSTREAM_RESET)

    def start(self, header: bytes, held: bytes, ended: bool) -> AwaitableEvent[CloseReason]:
        """See :class:`~smartproxy.relays.interfaces.IRelay`."""
        first = header + held
        self.inward.first = held[:ENOUGH]
        if first:
            self.inward.sink.transport.write(first)
            self.inward.count(len(held), self.clock())
        for direction in (self.inward, self.outward):
            direction.source.attach(direction)
            read_before_loss(direction.source.transport)
            direction.sink.transport.registerProducer(direction, True)
        # The upstream may have sent something while it was being connected; it is paused since.
        early = self.outward.source.consume()
        if early:
            self.outward.data_received(early)
        if ended:
            self.inward.input_ended()
        for direction in (self.inward, self.outward):
            if not direction.is_lost and not direction.ended:
                direction.source.transport.resumeProducing()
        return self.done

    def abort(self, reason: CloseReason) -> None:
        """Reset both sides; in order, where the end was sent and its timeout has passed. The first reason counts."""
        if self.done.has_happened:
            return
        if self.reason is CloseReason.NORMAL:
            self.reason = reason
        for direction in (self.inward, self.outward):
            if direction.is_lost:
                continue
            if reason is CloseReason.HALF_CLOSE_TIMEOUT and direction.fin_sent:
                direction.source.transport.loseConnection()
            else:
                direction.source.transport.abortConnection()

    def gone(self) -> tuple[bool, bool]:
        """Whether the client's and the upstream's connection no longer exist, according to the kernel."""
        if self.done.has_happened:
            return True, True
        return transport_gone(self.inward.source.transport), transport_gone(self.outward.source.transport)

    def acknowledged(self) -> int | None:
        """See :class:`~smartproxy.relays.interfaces.IRelay`."""
        if self.done.has_happened:
            return None
        return acknowledged_by(self.inward.source.transport, self.outward.source.transport)

    def direction_ended(self, direction: _Direction) -> None:
        """Pass the end of ``direction`` on; if it is the second, close both connections."""
        if not (self.inward.ended and self.outward.ended):
            if direction.sink_is_lost:
                return  # how the source ends was settled then
            end_output(direction.sink.transport)
            self.record.half_closed(EndedBy.CLIENT if direction is self.inward else EndedBy.TARGET)
            return
        for each in (self.inward, self.outward):
            if not each.is_lost:
                # A paused producer that stays registered keeps a connection from ever closing (twisted#6461).
                each.source.transport.unregisterProducer()
                each.source.transport.loseConnection()

    def _over(self) -> None:
        if self.done.has_happened:
            return
        inward, outward = self.inward, self.outward
        # Without these circles, the relay is freed now and not by the garbage collector.
        inward.source.receiver = outward.source.receiver = None
        del self.inward, self.outward
        self.done.happen(self.reason)

    def _spare_client(self) -> None:
        if self.reason is CloseReason.NORMAL:
            self.reason = CloseReason.UPSTREAM_RESET
        self.spared, self.first = True, self.inward.first
        self._over()

    def side_lost(self, gone: _Direction, why: Failure) -> None:
        """A connection is lost: end the other in order if this one ended in order, else cut it off."""
        other = self.outward if gone is self.inward else self.inward
        if other.is_lost:
            self._over()
            return
        other.sink_is_lost = True
        other.source.transport.unregisterProducer()
        broken = why.value
        if isinstance(broken, TlsConnectionLost):
            self.record.explain(gone.blamed, f"its TLS failed: {broken.problem}")
            if gone is self.outward:
                self.problem = broken.problem
                if not self.record.bytes_sent and not gone.ended:
                    self._spare_client()
                    return
        was_cut = why.check(ConnectionTruncated) is not None
        # TLS that was sent our close_notify may answer with a bare FIN, as an orderly end: nothing is missing.
        if why.check(ConnectionDone) or (was_cut and other.ended):
            # Both directions have ended; or both at once, as in Twisted's TLS. What was written is still delivered.
            other.source.transport.loseConnection()
            return
        if self.reason is CloseReason.NORMAL:
            self.reason = gone.blamed
        if was_cut:
            self.record.explain(gone.blamed, TRUNCATED)
        # What was received before is still delivered. TLS without a close_notify is passed on as a cut, a reset as a reset.
        self.record.half_closed()
        if gone.ended and can_half_close(other.source.transport):
            other.discards = True
            self.undeliverable(other)
        elif was_cut:
            cut_output(other.source.transport)
        else:
            reset_output(other.source.transport)

    def undeliverable(self, direction: _Direction) -> None:
        """The sink is lost, and its end was passed on before: reset the source once it was sent everything.

        Behind a FIN the kernel does not report that, so it is asked each time that the source sends something.
        """
        transport = direction.source.transport
        if direction.fin_sent and not still_sends(transport):
            transport.abortConnection()
        else:
            transport.resumeProducing()
