"""Linking the two sides: which relay, and off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.flow.stream import Stream
from smartproxy.model.outcome import CloseReason, Relay, State
from smartproxy.relays.splice import SpliceRelay
from smartproxy.relays.transport import TransportRelay

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from smartproxy.flow.poller import Poller
    from smartproxy.flow.side import Side
    from smartproxy.interfaces import IRelay
    from smartproxy.model.address import Endpoint
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.relays.pipes import PipePool


class StartRelay:
    """Splices where both sides are sockets of the poller's, else relays between transports.

    :param pool: of pipes; ``None`` where nothing may be spliced.
    """

    def __init__(self, poller: Poller | None, pool: PipePool | None, clock: Callable[[], float]) -> None:
        self._poller = poller
        self._pool = pool
        self._clock = clock

    def __call__(
        self, record: ConnectionRecord, client: Side, upstream: Side, target: Endpoint, header: bytes
    ) -> Deferred[CloseReason]:
        """Fires when the connection has ended, with the reason."""
        relay = self._relay(record, client, upstream)
        record.target = target
        record.state = State.RELAYING
        record.end = relay.abort
        record.gone = relay.gone
        return relay.start(header, client.take(), client.ended)

    def _relay(self, record: ConnectionRecord, client: Side, upstream: Side) -> IRelay:
        if (
            self._poller is not None
            and self._pool is not None
            and isinstance(client.transport, Stream)
            and isinstance(upstream.transport, Stream)
        ):
            record.relay = Relay.SPLICE
            given = client.transport.detach(), upstream.transport.detach()
            client.transport = upstream.transport = None
            return SpliceRelay(*given, record, self._poller, self._pool)
        record.relay = Relay.TRANSPORT
        return TransportRelay(client, upstream, record, self._clock)
