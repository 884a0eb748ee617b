"""The relay for any transport on any reactor: each side's transport is the other's producer.

A side that does not take what it is sent pauses the other: the transport does so by itself, once they are
registered on each other. The end of each direction is passed on by itself, too; when both have ended, both
connections are closed; and the relay is over when both have gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from zope.interface import implementer

from smartproxy.errors import ConnectionTruncated
from smartproxy.model.outcome import CloseReason
from smartproxy.net.half_close import cut_output, end_output
from smartproxy.net.liveness import transport_gone
from smartproxy.relays.interfaces import IRelay

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smartproxy.flow.side import Side
    from smartproxy.model.record import ConnectionRecord


class _Direction:
    """From one side to the other: it takes what the one says.

    :ivar ended: whether the source has said its last. :ivar lost: whether its connection has gone.
    """

    __slots__ = ("blamed", "count", "ended", "lost_", "relay", "sink", "source")

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
        self.ended = False
        self.lost_ = False

    def data_received(self, data: bytes) -> None:
        """Hand it on. It may come late, after a pause: TLS has decrypted it already."""
        self.sink.transport.write(data)
        self.count(len(data), self.relay.clock())

    def input_ended(self) -> None:
        """Nothing more will come this way."""
        if not self.ended:
            self.ended = True
            self.relay.direction_ended(self)

    def output_ended(self) -> None:
        """The other direction's end has gone out; the relay has passed it on itself, and waits for nothing."""

    def lost(self, why: Failure) -> None:
        """The source has gone, with everything that was to be written to it."""
        self.lost_ = True
        self.relay.side_lost(self, why)


@implementer(IRelay)
class TransportRelay:
    """Two Twisted connections, relayed.

    :param clock: monotonic seconds.
    """

    __slots__ = ("clock", "done", "inward", "outward", "reason", "record")

    def __init__(
        self, client: Side, upstream: Side, record: ConnectionRecord, clock: Callable[[], float]
    ) -> None:
        self.record = record
        self.clock = clock
        self.reason = CloseReason.NORMAL
        self.done: Deferred[CloseReason] = Deferred()
        self.inward = _Direction(self, client, upstream, record.moved_in, CloseReason.CLIENT_RESET)
        self.outward = _Direction(self, upstream, client, record.moved_out, CloseReason.UPSTREAM_RESET)

    def start(self, header: bytes, held: bytes, ended: bool) -> Deferred[CloseReason]:
        """See :class:`~smartproxy.relays.interfaces.IRelay`."""
        first = header + held
        if first:
            self.inward.sink.transport.write(first)
            self.inward.count(len(held), self.clock())
        for direction in (self.inward, self.outward):
            direction.source.attach(direction)
            direction.sink.transport.registerProducer(direction.source.transport, True)
        early = self.outward.source.consume()
        if early:
            self.outward.data_received(early)
        if ended:
            self.inward.input_ended()
        for direction in (self.inward, self.outward):
            if not direction.lost_ and not direction.ended:
                direction.source.transport.resumeProducing()
        return self.done

    def abort(self, reason: CloseReason) -> None:
        """End both sides with a reset."""
        if self.done.called:
            return
        if self.reason is CloseReason.NORMAL:
            self.reason = reason
        for direction in (self.inward, self.outward):
            if not direction.lost_:
                direction.source.transport.abortConnection()

    def gone(self) -> tuple[bool, bool]:
        """Whether the kernel has the client's and the upstream's connection no longer."""
        if self.done.called:
            return True, True
        return transport_gone(self.inward.source.transport), transport_gone(self.outward.source.transport)

    def direction_ended(self, direction: _Direction) -> None:
        """Pass the end on; when it was the second, close both."""
        if not (self.inward.ended and self.outward.ended):
            end_output(direction.sink.transport)
            self.record.half_closed()
            return
        for each in (self.inward, self.outward):
            if not each.lost_:
                each.source.transport.unregisterProducer()
                each.source.transport.loseConnection()

    def _over(self) -> None:
        if self.done.called:
            return
        inward, outward = self.inward, self.outward
        # Nobody points in a circle any more: what has ended is freed now, not when the collector comes.
        inward.source.receiver = outward.source.receiver = None
        del self.inward, self.outward
        self.done.callback(self.reason)

    def side_lost(self, gone: _Direction, why: Failure) -> None:
        """A connection has gone. If it had more to say or to hear, the other is cut off, not ended."""
        other = self.outward if gone is self.inward else self.inward
        if other.lost_:
            self._over()
            return
        other.source.transport.unregisterProducer()
        if why.check(ConnectionDone):
            # Both have ended; or they did so at once, as in TLS. What was said is delivered before the close.
            other.source.transport.loseConnection()
            return
        if self.reason is CloseReason.NORMAL:
            self.reason = gone.blamed
        if why.check(ConnectionTruncated):
            self.record.half_closed()
            cut_output(other.source.transport)
        else:
            other.source.transport.abortConnection()
