"""The second look: what is inside of a TLS that has ended here, and which route takes that.

A ClientHello chooses the certificate, and among the routes whose TLS ends in the same way no more than it can
know. Where one of those asks for a path, a method, a header or a protocol, the first bytes of the plaintext are
looked at as those of a connection without TLS are, and the route is chosen again. Where none does, nobody waits:
a server may speak first.

A Host unlike the name in the ClientHello chooses nothing. But the target may go by it, and serve what other
clients must show a certificate for; so where that is what a connection for this host would have been asked for,
and this one was not, the request is refused (421: RFC 9110, 15.5.20).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from smartproxy.errors import Misdirected, Refused
from smartproxy.model.facts import Announced, Detected, Routed
from smartproxy.model.outcome import RejectReason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smartproxy.flow.side import Side
    from smartproxy.model.plan import RoutePlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.routing.table import ListenerRoutes


class InnerRouteFinder(Protocol):
    """What is asked: :class:`~smartproxy.routing.table.RouteTable`."""

    def find(self, facts: Detected) -> RoutePlan | None: ...

    def inside(self, facts: Detected, route: RoutePlan) -> ListenerRoutes | None: ...


class LookInside:
    """Chooses the route again.

    :param detect: looks at first bytes: :class:`~smartproxy.phases.detect.Detect`.
    """

    def __init__(
        self, table: InnerRouteFinder, detect: Callable[[Side, Announced], Awaitable[Detected]]
    ) -> None:
        self._table = table
        self._detect = detect

    def is_due(self, routed: Routed) -> bool:
        """Whether ``routed`` is not the last word on the route."""
        return routed.route.tls is not None and self._routes(routed) is not None

    async def __call__(self, side: Side, routed: Routed, record: ConnectionRecord) -> Routed:
        """The route, of those that end TLS alike; the bytes looked at are still held.

        :param record: gets the request's Host, also where the request is refused.
        :raises Refused: where there is none, the bytes do not come in time, or are for a host with other certificates.
        """
        routes = self._routes(routed)
        detected = routed.detected._replace(secured=record.secured)
        if routes is None:
            return Routed(detected, routed.route)
        side.transport.resumeProducing()
        seen = await self._detect(side, detected.announced)
        detected = detected._replace(protocol=seen.protocol, request=seen.request)
        record.note_names(detected)
        if record.host not in (None, detected.domain):
            self._allow(routed, record.host)
        entry = routes.find(detected)
        if entry is None:
            raise Refused(RejectReason.NO_ROUTE)
        return Routed(detected, entry.route)

    def _allow(self, routed: Routed, host: str | None) -> None:
        """A request for ``host``, which is not the name that the certificate was chosen by."""
        known, ours = routed.detected, routed.route.tls
        if known.hello is None or ours is None:
            return
        other = self._table.find(known._replace(hello=known.hello._replace(server_name=host)))
        wanted = other.tls.client_auth if other is not None and other.tls is not None else None
        if wanted is not None and wanted != ours.client_auth:
            raise Misdirected

    def _routes(self, routed: Routed) -> ListenerRoutes | None:
        return self._table.inside(routed.detected, routed.route)
