"""Choosing the route of a connection, by the route table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from smartproxy.errors import NotTls, Refused
from smartproxy.model.facts import ApplicationProtocol, Detected, Routed
from smartproxy.model.outcome import RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.plan import RoutePlan


class RouteFinder(Protocol):
    """Finds routes: :class:`~smartproxy.routing.table.RouteTable`."""

    def find(self, facts: Detected) -> RoutePlan | None: ...


class ChooseRoute:
    """Chooses the route of a connection.

    :param not_tls: counts a client that sent a request without TLS, where all routes of the listener are for TLS. ``None`` where
        they are not.
    """

    def __init__(self, table: RouteFinder, not_tls: Callable[[], object] | None = None) -> None:
        self._find = table.find
        self._not_tls = not_tls

    def __call__(self, detected: Detected) -> Routed:
        """The facts with the route.

        :raises Refused: where no route matches.
        """
        route = self._find(detected)
        if route is not None:
            return Routed(detected, route)
        is_request = detected.protocol is ApplicationProtocol.HTTP or detected.malformed
        if self._not_tls is not None and is_request:
            self._not_tls()
            raise NotTls
        raise Refused(
            RejectReason.NO_ROUTE, f"no route of the listener matches, protocol {detected.protocol}"
        )
