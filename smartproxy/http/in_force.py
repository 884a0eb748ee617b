"""HTTP connections across a reload: which configuration their next request is answered by.

A connection may be kept for hours, so its next request is answered by the routes that are in force then. Where it could not have
come to be as it is under these, it is answered once more by those that it has, and closed: the next connection of that client is
as they want it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from smartproxy.model.facts import Routed
from smartproxy.routing.matchers import is_heard_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartproxy.model.facts import Detected
    from smartproxy.model.plan import RoutePlan

T = TypeVar("T")


class InForce(Generic[T]):
    """What serves the connections of a listener now.

    Connections hold what served them last and this, so that one that is idle for long keeps one former configuration at most.

    :ivar served_by: ``None`` when the listener is closed.
    """

    __slots__ = ("served_by",)

    def __init__(self, served_by: T) -> None:
        self.served_by: T | None = served_by


class RequestRouter(Protocol):
    """Finds routes: :class:`~smartproxy.phases.look_inside.LookInside`."""

    def find(self, detected: Detected, route: RoutePlan) -> RoutePlan | None:
        """That of a request, on a connection of ``route``."""

    def outside(self, detected: Detected) -> RoutePlan | None:
        """That which terminates the TLS of a connection."""


def carried_over(
    first: Routed, listener: str, routes: Mapping[str, RoutePlan], finder: RequestRouter
) -> Routed | None:
    """The facts and the route of a connection under other routes; ``None`` where these would not have it as it is.

    They have it where its route is still there and speaks HTTP. That has to be on the same listener; within TLS, the ClientHello has to
    be given the same terms of TLS, by a route that speaks HTTP.

    :param first: what it has.
    :param listener: the name that its listener has now.
    :param routes: by name.
    """
    former, route = first.route, routes.get(first.route.name)
    if route is None or route.http is None:
        return None
    announced = first.detected.announced
    announced = announced._replace(accepted=announced.accepted._replace(listener=listener))
    detected = first.detected._replace(announced=announced, request=None)
    if former.tls is not None:
        route = finder.outside(detected)
    elif not _is_heard(route, listener, detected.port):
        return None
    terms, wanted = (None if one is None or one.tls is None else one.tls.terms for one in (route, former))
    if route is None or route.http is None or terms != wanted or not route.http.holds_at(detected.port):
        return None
    return Routed(detected, route)


def _is_heard(route: RoutePlan, listener: str, port: int) -> bool:
    """Whether ``route`` gets connections of that listener: it may have moved to another one."""
    address = listener.rpartition(":")[0]
    return any(port in ports for ports in route.match.ports) and is_heard_on(route.match, address)
