"""The control path: one connection from accept to close, top to bottom.

::

    accepted -> PROXY header read -> client admitted -> first bytes detected -> route chosen -> route admitted
             -> TLS terminated -> looked inside -> target connected -> relayed -> closed

Instead of the last steps, HTTP is exchanged request by request, and a route with a handler is served in this process.

Where a look inside TLS may choose another route, the route is admitted after it.

:meth:`ConnectionPath.carry` is a coroutine that waits at most a few times in a connection's life; a phase that has
nothing to wait for costs no Deferred. Bytes do not come through here: once connected, the two sides are each other's
producer and consumer, or two descriptors and a pipe.

A client disconnect cancels the coroutine, as does every other end of the connection before it is relayed. A cancel may be
swallowed by what the coroutine waits for, or happen while the coroutine is executing. Therefore the client's side remembers
the end, and after each wait the path continues only for a live connection (``require_live``). Refusals, disconnects and
failures of every phase are handled here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from smartproxy.errors import Completed, PeerClosed, Refused
from smartproxy.model.ending import about, in_words, refusal
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.net.keep_alive import apply_keepalive, differ, options

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.connections.registry import Registry
    from smartproxy.connections.timeouts import ConnectionTimeouts
    from smartproxy.downstream.connection import Downstream
    from smartproxy.flow.side import Side
    from smartproxy.model.facts import Accepted
    from smartproxy.model.plan import KeepAlive
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.observe.refusal_log import RefusalLog
    from smartproxy.phases.admit import Admit
    from smartproxy.phases.detect import Detect
    from smartproxy.phases.exchange import ExchangeHttp
    from smartproxy.phases.forward_cancel import ForwardCancel
    from smartproxy.phases.look_inside import LookInside
    from smartproxy.phases.proxy_header import ReadProxyHeader
    from smartproxy.phases.reject import RejectConnection
    from smartproxy.phases.relay import StartRelay
    from smartproxy.phases.route import ChooseRoute
    from smartproxy.phases.serve import Serve
    from smartproxy.phases.terminate_tls import Terminate
    from smartproxy.upstream.connect import Connect
    from smartproxy.upstream.connected import Connected
    from smartproxy.upstream.proxy_header import SendProxyHeader

log = Logger()


@dataclass(frozen=True, slots=True)
class ConnectionPath:
    """The phases of one listener, in one configuration. A connection keeps the path that it was accepted with.

    :ivar clock: monotonic seconds.
    :ivar keep_alive: TCP keep-alive of the listener's connections; a route may want another.
    """

    registry: Registry
    refusals: RefusalLog
    clock: Callable[[], float]
    admit: Admit
    read_proxy_header: ReadProxyHeader
    detect: Detect
    route: ChooseRoute
    connect: Connect
    send_proxy_header: SendProxyHeader
    terminate: Terminate
    look_inside: LookInside
    relay: StartRelay
    serve: Serve
    exchange: ExchangeHttp
    forward_cancel: ForwardCancel
    timeouts: ConnectionTimeouts
    reject: RejectConnection
    keep_alive: KeepAlive

    async def carry(self, client: Downstream, accepted: Accepted) -> None:
        """Take one connection from its accept to its close."""
        record = self.registry.open(accepted, client)
        outcome: CloseReason | RejectReason = CloseReason.ERROR
        linked: Connected | None = None
        side: Side = client
        try:
            announced = await self.read_proxy_header(client, accepted)
            client.require_live()
            self.admit.client(record, announced)
            detected = await self.detect(client, announced)
            client.require_live()
            record.note_detected(detected)
            if detected.cancel:
                await self.forward_cancel(record, client, detected)
            routed = self.route(detected)
            may_change = self.look_inside.is_due(routed)
            if may_change:
                record.refused_by = routed.route.name  # if its TLS fails, or nothing matches what is inside
            else:
                self.admit.route(record, routed)
            if routed.route.tls is not None:
                side, record.secured = await self.terminate(client, routed)
                client.require_live()
                routed = await self.look_inside(side, routed, record)
                client.require_live()
            if may_change:
                self.admit.route(record, routed)
            self._probe(client, routed.route.keep_alive)
            # What was found in the first bytes may take megabytes, and a connection may last for days.
            routed = routed.shortened()
            del detected
            header = partial(self.send_proxy_header, side=client)
            if routed.speaks_http:
                served = self.exchange(record, side, routed, header)
                del routed
                outcome = await served
            elif routed.route.handler is not None:
                outcome = await self.serve(record, side, routed, client.require_live, self.exchange, header)
            else:
                linked = await self.connect(routed, partial(header, routed), client.require_live, record)
                client.require_live()
                self.timeouts.watch(record, routed.route)
                del routed
                outcome = await self.relay(record, side, linked.side, linked.address, *linked.first)
            client.require_live()  # a late PROXY header refuses a connection that is relayed or served already
        except Exception as failed:
            outcome = self._ended_by(failed, client, side, linked, record)
        finally:
            self._close(record, outcome, linked)

    def unwanted(self, peer: str, listener: str) -> RejectReason | None:
        """Why a connection just accepted from ``peer`` is refused before anything is read; ``None``: it is not."""
        refused = self.admit.accept()
        if refused is None:
            return None
        self.registry.counters.reject(refused.reason)
        self.refusals.note(refused.reason, peer, f"listener {listener}: {refused.detail}")
        return refused.reason

    def _close(
        self, record: ConnectionRecord, outcome: CloseReason | RejectReason, linked: Connected | None
    ) -> None:
        """Release what was kept for the connection to the target, and close the record: the last one may end a stop."""
        if linked is not None:
            linked.closed(record)
        self.registry.close(record, outcome, self.clock())

    def _probe(self, client: Downstream, wanted: KeepAlive) -> None:
        """Apply the route's TCP keep-alive where it differs from the listener's."""
        if differ(wanted, self.keep_alive):
            apply_keepalive(client.transport, options(wanted, self.keep_alive))

    def _ended_by(
        self,
        failed: Exception,
        client: Downstream,
        side: Side,
        linked: Connected | None,
        record: ConnectionRecord,
    ) -> CloseReason | RejectReason:
        """End a connection whose path an exception has left. Returns the outcome."""
        if isinstance(failed, Completed):
            return failed.reason
        if isinstance(failed, Refused):
            return self._refuse(side, record, failed)
        return self._cut(client, linked, record, failed)

    def _refuse(self, side: Side, record: ConnectionRecord, refused: Refused) -> RejectReason:
        """Count a refusal, answer the client and close. Returns the outcome."""
        self.registry.counters.reject(refused.reason)
        answer = self.reject.refuse(side, record.protocol, refused, record.client.host, record.refused_by)
        record.explain(refused.reason, "; ".join(filter(None, (refused.detail, answer))), refused.side)
        self.refusals.note(refused.reason, record.client.host, refusal(record, refused.reason))
        return refused.reason

    def _cut(
        self, client: Downstream, linked: Connected | None, record: ConnectionRecord, failed: Exception
    ) -> CloseReason | RejectReason:
        """Reset both sides of a path that ``failed``. Returns the outcome."""
        outcome = self._explain(client, record, failed)
        self.reject.cut(client)
        if linked is not None:
            self.reject.cut(linked.side)
        return outcome

    def _explain(
        self, client: Downstream, record: ConnectionRecord, failed: Exception
    ) -> CloseReason | RejectReason:
        """The outcome of a path that ``failed``. It is logged, unless the end of the connection explains it."""
        explained = isinstance(failed, PeerClosed) or (
            isinstance(failed, CancelledError) and not client.is_live
        )
        if not explained:
            log.failure(
                "connection {id} on route {route} failed: {about}",
                id=record.id,
                route=record.route,
                about=about(record),
            )
            if client.is_live:
                record.explain(CloseReason.ERROR, in_words(failed))
                return CloseReason.ERROR
        if isinstance(client.why, RejectReason):
            self.registry.counters.reject(client.why)
            record.explain(client.why, client.detail)
            self.refusals.note(client.why, record.client.host, refusal(record, client.why))
        return client.why
