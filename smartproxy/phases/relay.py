"""Linking the two sides: choose a relay, and start it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.model.outcome import CloseReason, ConnectionState, RelayKind
from smartproxy.net.detach import can_detach
from smartproxy.relays.splice import SpliceRelay
from smartproxy.relays.tls import TlsRelay
from smartproxy.relays.transport import TransportRelay
from smartproxy.tls.transport import channel_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from smartproxy.flow.side import Side
    from smartproxy.model.address import Endpoint
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.net.poller import Poller
    from smartproxy.relays.interfaces import IRelay
    from smartproxy.relays.pipes import PipePool


class StartRelay:
    """Relays between sockets if both sides have one of the poller's, else between transports.

    :param poller: ``None`` if there is none on this system.
    :param pool: of pipes; ``None`` if the configuration turns acceleration off.
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
        """Start the relay. The Deferred fires with the reason when the connection has ended.

        :param exchanged: payload bytes that were handed on before the link, each way; they are counted here.
        """
        relay = self._relay(record, client, upstream)
        record.target = target
        record.state = ConnectionState.RELAYING
        if exchanged[0] or exchanged[1]:
            record.moved_in(exchanged[0], self._clock())
            record.moved_out(exchanged[1], self._clock())
        record.owner = relay
        return relay.start(header, client.consume(), client.ended)

    def _relay(self, record: ConnectionRecord, client: Side, upstream: Side) -> IRelay:
        near, far = client.transport, upstream.transport
        if (
            self._poller is None
            or self._pool is None
            or client.is_screened
            or not (can_detach(near) and can_detach(far))
        ):
            record.relay = RelayKind.TRANSPORT
            return TransportRelay(client, upstream, record, self._clock)
        # The relay owns both sockets from here on. The sides keep nothing that could write to them or close them.
        client.detach()
        upstream.detach()
        one, other = channel_of(near), channel_of(far)
        if one is None and other is None:
            record.relay = RelayKind.SPLICE
            return SpliceRelay(near.detach(), far.detach(), record, self._poller, self._pool)
        record.relay = RelayKind.TRANSPORT
        return TlsRelay((near.detach(), one), (far.detach(), other), record, self._poller)
