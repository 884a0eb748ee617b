"""Choosing the route of a connection, by the route table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from smartproxy.errors import Refused
from smartproxy.model.facts import Detected, Routed
from smartproxy.model.outcome import RejectReason

if TYPE_CHECKING:
    from smartproxy.model.plan import RoutePlan


class RouteFinder(Protocol):
    """Finds routes: :class:`~smartproxy.routing.table.RouteTable`."""

    def find(self, facts: Detected) -> RoutePlan | None: ...


class ChooseRoute:
    """Chooses the route of a connection."""

    def __init__(self, table: RouteFinder) -> None:
        self._find = table.find

    def __call__(self, detected: Detected) -> Routed:
        """The facts with the route.

        :raises Refused: where no route matches.
        """
        route = self._find(detected)
        if route is None:
            raise Refused(
                RejectReason.NO_ROUTE, f"no route of the listener matches, protocol {detected.protocol}"
            )
        return Routed(detected, route)
