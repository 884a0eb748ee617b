"""Linking the two sides: which relay, and off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.model.outcome import CloseReason, ConnectionState, RelayKind
from smartproxy.net.stream import Stream
from smartproxy.relays.splice import SpliceRelay
from smartproxy.relays.tls import TlsRelay
from smartproxy.relays.transport import TransportRelay
from smartproxy.tls.transport import TlsTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from smartproxy.flow.side import Side
    from smartproxy.model.address import Endpoint
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.net.poller import Poller
    from smartproxy.net.stream import Detached
    from smartproxy.relays.interfaces import IRelay
    from smartproxy.relays.pipes import PipePool
    from smartproxy.tls.channel import Channel


class StartRelay:
    """Splices where both sides are sockets of the poller's, else relays between transports.

    :param pool: of pipes; ``None`` where nothing may be spliced.
    """

    def __init__(self, poller: Poller | None, pool: PipePool | None, clock: Callable[[], float]) -> None:
        self._poller = poller
        self._pool = pool
        self._clock = clock

    def __call__(
        self,
        record: ConnectionRecord,
        client: Side,
        upstream: Side,
        target: Endpoint,
        header: bytes,
        exchanged: tuple[int, int] = (0, 0),
    ) -> Deferred[CloseReason]:
        """Fires when the connection has ended, with the reason.

        :param exchanged: payload that has been handed on before, each way: it counts from now on.
        """
        relay = self._relay(record, client, upstream)
        record.target = target
        record.state = ConnectionState.RELAYING
        if exchanged[0] or exchanged[1]:
            record.moved_in(exchanged[0], self._clock())
            record.moved_out(exchanged[1], self._clock())
        record.end = relay.abort
        record.gone = relay.gone
        return relay.start(header, client.consume(), client.ended)

    def _relay(self, record: ConnectionRecord, client: Side, upstream: Side) -> IRelay:
        record.relay = RelayKind.TRANSPORT
        if self._poller is None or self._pool is None or not (_is_ours(client) and _is_ours(upstream)):
            return TransportRelay(client, upstream, record, self._clock)
        near, far = _given(client), _given(upstream)
        if near[1] is not None or far[1] is not None:
            return TlsRelay(near, far, record, self._poller)
        record.relay = RelayKind.SPLICE
        return SpliceRelay(near[0], far[0], record, self._poller, self._pool)


def _is_ours(side: Side) -> bool:
    """Whether its bytes go over a socket of the poller."""
    transport = side.transport
    return isinstance(transport.lower.transport if isinstance(transport, TlsTransport) else transport, Stream)


def _given(side: Side) -> tuple[Detached, Channel | None]:
    """Its socket, and its TLS if it has any."""
    transport, side.transport = side.transport, None
    if isinstance(transport, TlsTransport):
        return transport.detach()
    return transport.detach(), None
