"""Linking the two sides: choose a relay, and start it.

A target with TLS 1.3 may refuse our certificate after the handshake, as far as we can see it. Where it has not answered a
byte, the client is refused as if the target had failed the handshake: the relay does not close its connection then.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.errors import DialFailed
from smartproxy.model.outcome import CloseReason, RejectReason, RelayKind
from smartproxy.net.detach import Detached, can_detach
from smartproxy.net.poller import MARKED, READABLE
from smartproxy.net.stream import Stream
from smartproxy.relays.copying import CopyRelay
from smartproxy.relays.splice import SpliceRelay
from smartproxy.relays.tls import TlsRelay
from smartproxy.relays.transport import TransportRelay
from smartproxy.tls.transport import TlsTransport, channel_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.flow.event import AwaitableEvent
    from smartproxy.flow.side import Side, SideTransport
    from smartproxy.model.address import TargetAddress
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.net.poller import Poller
    from smartproxy.relays.interfaces import IRelay
    from smartproxy.relays.pipes import PipePool

log = Logger()


def _always(_route: str, _now: float) -> bool:
    return True


class StartRelay:
    """Relays between sockets if both sides have one of the poller's, else between transports.

    :param poller: ``None`` if there is none on this system, or for this reactor.
    :param pool: of pipes; ``None`` if the configuration turns acceleration off: plain sockets are copied.
    :param may_log: whether a failure of a target of the route is logged now, at a time in monotonic seconds.
    """

    def __init__(
        self,
        poller: Poller | None,
        pool: PipePool | None,
        clock: Callable[[], float],
        may_log: Callable[[str, float], bool] = _always,
    ) -> None:
        self._poller = poller
        self._pool = pool
        self._clock = clock
        self._may_log = may_log

    def __call__(
        self,
        record: ConnectionRecord,
        client: Side,
        upstream: Side,
        target: TargetAddress,
        header: bytes,
        exchanged: tuple[int, int] = (0, 0),
    ) -> AwaitableEvent[CloseReason]:
        """Start the relay. Its end happens with the reason when the connection has ended.

        It fails with :class:`~smartproxy.errors.DialFailed` when the target's TLS failed before a byte of an answer. ``client``
        still has its connection then.

        :param exchanged: payload bytes that were handed on before the link, each way; they are counted here.
        """
        near, has_tls = client.transport, channel_of(upstream.transport) is not None
        relay = self._relay(record, client, upstream)
        record.target = target
        if exchanged[0] or exchanged[1]:
            record.moved_in(exchanged[0], self._clock())
            record.moved_out(exchanged[1], self._clock())
        record.link(relay, RelayKind.SPLICE if isinstance(relay, SpliceRelay) else RelayKind.TRANSPORT)
        done = relay.start(header, client.consume(), client.ended)
        if has_tls and isinstance(relay, (TlsRelay, TransportRelay)):
            return done.then(partial(self._ended, relay, client, near))
        return done

    def _ended(
        self, relay: TlsRelay | TransportRelay, client: Side, near: SideTransport, reason: CloseReason
    ) -> CloseReason:
        """The reason; a failure where the client is to be refused."""
        if not relay.problem:
            return reason
        record, why = relay.record, ascii(relay.problem)[1:-1]
        if self._may_log(record.route or "", self._clock()):
            log.warn(
                "route {route}: TLS with {target} failed after the handshake: {why}",
                route=record.route,
                target=record.target,
                why=why,
            )
        if not relay.spared:
            return reason
        if isinstance(relay.spared, Detached):
            self._attach(client, near, relay.spared)
        client.buffered = relay.first  # tells the protocol that it is refused in
        raise DialFailed(RejectReason.TLS_ERROR, f"TLS with {record.target}: {why}")

    def _attach(self, client: Side, near: SideTransport, spared: Detached) -> None:
        """Give ``client`` its socket back, with its TLS if ``near``, its former transport, had any."""
        assert self._poller is not None  # noqa: S101 - there was a relay over its sockets
        lower = near.lower if isinstance(near, TlsTransport) else client
        seen = READABLE | MARKED if spared.marked else READABLE
        transport = Stream(spared.sock, self._poller, lower, seen=seen)
        transport.pauseProducing()
        transport.write(spared.unsent)
        lower.transport = transport
        if isinstance(near, TlsTransport):
            TlsTransport(near.channel, lower, client)

    def _relay(self, record: ConnectionRecord, client: Side, upstream: Side) -> IRelay:
        near, far = client.transport, upstream.transport
        if self._poller is None or client.is_screened or not (can_detach(near) and can_detach(far)):
            return TransportRelay(client, upstream, record, self._clock)
        # The relay owns both sockets from here on. The sides keep nothing that could write to them or close them.
        client.detach()
        upstream.detach()
        one, other = channel_of(near), channel_of(far)
        is_plain = one is None and other is None
        if is_plain and self._pool is not None:
            return SpliceRelay(near.detach(), far.detach(), record, self._poller, self._pool)
        if is_plain:
            return CopyRelay(near.detach(), far.detach(), record, self._poller)
        return TlsRelay((near.detach(), one), (far.detach(), other), record, self._poller)
