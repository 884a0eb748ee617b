"""Choosing the route again by what is inside of TLS that was terminated here.

A ClientHello chooses the certificate, and a route only as far as its name and ALPN can. Where one of the routes that
terminate TLS in the same way asks for a path, a method, a header or a protocol, the first bytes of the plaintext are
detected like those of a connection without TLS, and the route is chosen again among them. Where none does, nothing
waits for the client: a server may send first. (A PostgreSQL client sends first. If its route has several servers, its first
bytes are inspected, because a request to cancel a query is for all of them.)

A Host header that differs from the name in the ClientHello does not choose a route. But the target may go by it, and
serve content for which other clients must show a certificate. So if a connection for this host would have been asked
for other client certificates than this one was, the request is refused (421: RFC 9110, 15.5.20).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from smartproxy.errors import Misdirected, Refused
from smartproxy.model.facts import Announced, ApplicationProtocol, Detected, Routed
from smartproxy.model.outcome import RejectReason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smartproxy.flow.side import Side
    from smartproxy.model.plan import RoutePlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.routing.listener_routes import ListenerRoutes


class InsideTable(Protocol):
    """Finds routes: :class:`~smartproxy.routing.table.RouteTable`."""

    def find(self, facts: Detected) -> RoutePlan | None: ...

    def inside(self, facts: Detected, route: RoutePlan) -> ListenerRoutes | None: ...

    def alike(self, facts: Detected, route: RoutePlan) -> ListenerRoutes | None: ...


class LookInside:
    """Chooses the route again.

    :param detect: detects the protocol of the first bytes: :class:`~smartproxy.phases.detect.Detect`.
    :param forward_cancel: forwards a request to cancel: :class:`~smartproxy.phases.forward_cancel.ForwardCancel`.
    """

    def __init__(
        self,
        table: InsideTable,
        detect: Callable[[Side, Announced], Awaitable[Detected]],
        forward_cancel: Callable[[ConnectionRecord, Side, Detected, RoutePlan], Awaitable[None]],
    ) -> None:
        self._table = table
        self._detect = detect
        self._forward_cancel = forward_cancel

    def is_due(self, routed: Routed) -> bool:
        """Whether the route has to be chosen again after the handshake."""
        return routed.route.tls is not None and self._routes(routed) is not None

    async def __call__(self, side: Side, routed: Routed, record: ConnectionRecord) -> Routed:
        """The route among those that terminate TLS in the same way. The detected bytes stay buffered.

        :param record: gets the request's Host, also where the request is refused.
        :raises Refused: if there is none, the bytes do not come in time, or the request is for a host with other client
            certificates.
        :raises Completed: if it was a request to cancel, and has been forwarded.
        """
        routes = self._routes(routed)
        detected = routed.detected._replace(secured=record.secured)
        if routes is None and not _may_cancel(routed):
            return Routed(detected, routed.route)
        side.transport.resumeProducing()
        seen = await self._detect(side, detected.announced)
        if seen.cancel:
            await self._forward_cancel(record, side, detected, routed.route)
        if routes is None:
            return Routed(detected, routed.route)
        detected = detected._replace(protocol=seen.protocol, request=seen.request, malformed=seen.malformed)
        record.note_names(detected)
        if record.host not in (None, detected.domain):
            self._check_host(routed, record.host)
        entry = routes.find(detected)
        if entry is None:
            raise Refused(
                RejectReason.NO_ROUTE, f"no route matches what is inside TLS, protocol {detected.protocol}"
            )
        return Routed(detected, entry.route)

    def find(self, detected: Detected, route: RoutePlan) -> RoutePlan | None:
        """The route of a later request on a connection of ``route``: among those that terminate TLS in the same way."""
        if route.tls is None:
            return self._table.find(detected)
        if detected.request is not None and detected.request.host not in (None, detected.domain):
            self._check_host(Routed(detected, route), detected.request.host)
        routes = self._table.alike(detected, route)
        if routes is None:
            return route
        entry = routes.find(detected)
        return None if entry is None else entry.route

    def outside(self, detected: Detected) -> RoutePlan | None:
        """The route that terminates the TLS of a connection, by its ClientHello; what is inside is not looked at."""
        return self._table.find(
            detected._replace(protocol=ApplicationProtocol.TLS, request=None, secured=None)
        )

    def _routes(self, routed: Routed) -> ListenerRoutes | None:
        return self._table.inside(routed.detected, routed.route)

    def _check_host(self, routed: Routed, host: str | None) -> None:
        """Check a request for a ``host`` other than the name in the ClientHello.

        :raises Misdirected: if a connection for ``host`` would have been asked for other client certificates.
        """
        known, ours = routed.detected, routed.route.tls
        if known.hello is None or ours is None:
            return
        hello = known.hello._replace(server_name=host)
        other = self.outside(known._replace(hello=hello, local=None))
        wanted = other.tls.client_auth if other is not None and other.tls is not None else None
        if wanted is not None and wanted != ours.client_auth:
            raise Misdirected


def _may_cancel(routed: Routed) -> bool:
    """Whether a PostgreSQL client may be connected to one of several servers: all of them get a request to cancel."""
    return routed.detected.start_tls and routed.route.has_several_hosts
