"""Which route takes the connection? The table's answer, and nothing of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from smartproxy.errors import Refused
from smartproxy.model.facts import Detected, Routed
from smartproxy.model.outcome import RejectReason

if TYPE_CHECKING:
    from smartproxy.model.plan import RoutePlan


class RouteFinder(Protocol):
    """What is asked: :class:`~smartproxy.routing.table.RouteTable`."""

    def find(self, facts: Detected) -> RoutePlan | None: ...


class ChooseRoute:
    """Finds the route of a connection."""

    def __init__(self, table: RouteFinder) -> None:
        self._find = table.find

    def __call__(self, detected: Detected) -> Routed:
        """The route.

        :raises Refused: where there is none.
        """
        route = self._find(detected)
        if route is None:
            raise Refused(RejectReason.NO_ROUTE)
        return Routed(detected, route)
