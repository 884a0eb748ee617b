"""The narrator: one connection's whole path, top to bottom.

::

    accepted -> admitted -> PROXY header -> detected -> routed -> connected -> relayed -> closed

:meth:`Path.carry` is the control path: a coroutine that waits at most a few times in a connection's life. The
bytes do not come through here: once linked, the two sides are each other's producer and consumer, or two
descriptors and a pipe. A client that leaves cancels the coroutine; ``except`` stands in this one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from smartproxy.errors import Refused
from smartproxy.flow.keep_alive import differ, give, options
from smartproxy.flow.side import Ended
from smartproxy.model.outcome import CloseReason, RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.connections.registry import Registry
    from smartproxy.connections.timeouts import ConnectionTimeouts
    from smartproxy.model.facts import Accepted
    from smartproxy.model.plan import KeepAlive
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.phases.admit import Admit
    from smartproxy.phases.close import LetGo
    from smartproxy.phases.connect import Connect, Connected
    from smartproxy.phases.detect import Detect
    from smartproxy.phases.listen import Downstream
    from smartproxy.phases.proxy_header import ReadProxyHeader
    from smartproxy.phases.relay import StartRelay
    from smartproxy.phases.route import Route
    from smartproxy.phases.send_header import SendProxyHeader
    from smartproxy.phases.serve import Serve
    from smartproxy.security.refusals import RefusalLog

log = Logger()


@dataclass(frozen=True, slots=True)
class Path:
    """The phases of one listener, in one configuration. A connection keeps the path that it began on.

    :ivar keep_alive: what the listener's sockets have; a route may want otherwise.
    """

    registry: Registry
    refusals: RefusalLog
    clock: Callable[[], float]
    admit: Admit
    read_proxy_header: ReadProxyHeader
    detect: Detect
    route: Route
    connect: Connect
    send_proxy_header: SendProxyHeader
    relay: StartRelay
    serve: Serve
    timeouts: ConnectionTimeouts
    let_go: LetGo
    keep_alive: KeepAlive

    async def carry(self, client: Downstream, accepted: Accepted) -> None:
        """Take one connection from its socket to its end."""
        record = self.registry.open(accepted)
        record.end, record.gone = client.end, client.gone
        outcome: CloseReason | RejectReason = CloseReason.ERROR
        linked: Connected | None = None
        try:
            announced = await self.read_proxy_header(client, accepted)
            self.admit.client(record, announced)
            detected = await self.detect(client, announced)
            record.protocol, record.sni = detected.protocol, detected.domain
            routed = self.route(detected)
            self.admit.route(record, routed)
            if differ(routed.route.keep_alive, self.keep_alive):
                give(client.transport, options(routed.route.keep_alive, self.keep_alive))
            if routed.route.handler is not None:
                self.timeouts.watch(record, routed.route)
                outcome = await self.serve(record, client, routed)
                return
            linked = await self.connect(routed)
            header = self.send_proxy_header(routed, linked.target, client)
            self.timeouts.watch(record, routed.route)
            outcome = await self.relay(record, client, linked.side, linked.address, header)
        except Refused as refused:
            outcome = refused.reason
            self._refused(client, record, refused)
        except (CancelledError, Ended):
            outcome = client.why
            self.let_go.cut(client)
        except Exception:
            log.failure("connection {id} on route {route} failed", id=record.id, route=record.route)
            self.let_go.cut(client)
            if linked is not None:
                self.let_go.cut(linked.side)
        finally:
            self.registry.close(record, outcome, self.clock())

    def unwanted(self, peer: str) -> RejectReason | None:
        """Why a socket that has just come in from ``peer`` is not even begun, if it is not."""
        reason = self.admit.accept()
        if reason is not None:
            self._count(reason, peer)
        return reason

    def _refused(self, client: Downstream, record: ConnectionRecord, refused: Refused) -> None:
        self._count(refused.reason, record.client.host, refused.detail)
        self.let_go.refuse(client, record.protocol, refused.reason)

    def _count(self, reason: RejectReason, client: str, detail: str = "") -> None:
        self.registry.tallies.reject(reason)
        self.refusals.note(reason, client, detail)
