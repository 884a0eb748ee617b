"""The route table: finds the route for a connection, in a time independent of the number of routes for other domains.

Routes are checked in this order: higher ``priority`` first, then the more specific match
(:func:`~smartproxy.routing.matchers.specificity`), then the order in the file. The first one whose conditions are
all met gets the connection. The routes of a listener have an index of their own
(:class:`~smartproxy.routing.listener_routes.ListenerRoutes`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.routing.listener_routes import Entry, ListenerRoutes
from smartproxy.routing.matchers import NO_NAME, Condition, conditions_of, is_heard_on, ranked_patterns
from smartproxy.wire.http_head import HEAD_LIMITS, HeadLimits

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator, Sequence

    from smartproxy.model.facts import Detected
    from smartproxy.model.plan import RoutePlan


class RouteTable:
    """All routes of a configuration. Immutable: a reload builds another one.

    :raises ValueError: where a domain pattern of a route is invalid.
    """

    def __init__(self, routes: Sequence[RoutePlan]) -> None:
        self._listeners: dict[tuple[str, int], ListenerRoutes] = {}
        self._by_name: dict[str, ListenerRoutes] = {}
        conditions = {route: conditions_of(route.match) for route in routes}
        # Listeners with the same routes share one index: a route on a range of 10,000 ports needs one.
        shared: dict[tuple[RoutePlan, ...], ListenerRoutes] = {}
        for (address, port), heard in _heard(routes):
            if heard not in shared:
                shared[heard] = ListenerRoutes(_entries(heard, conditions))
            self._listeners[address, port] = self._by_name[listener_name(address, port)] = shared[heard]

    @property
    def ports(self) -> list[int]:
        """The ports of all listeners, ascending."""
        return sorted({port for _, port in self._listeners})

    def listeners(self) -> set[tuple[str, int]]:
        """The addresses (``""``: all) and ports to listen on."""
        return set(self._listeners)

    def needs_first_bytes(self, address: str, port: int) -> bool:
        """Whether some route of that listener can be chosen only when the client's first bytes are known."""
        routes = self._listeners.get((address, port))
        return routes is not None and routes.needs_first_bytes

    def first_bytes_timeout(self, address: str, port: int) -> float | None:
        """Seconds to wait for them, 0 for no limit; ``None`` where no route of that listener needs them."""
        routes = self._listeners.get((address, port))
        return None if routes is None else routes.first_bytes_timeout

    def starts_tls(self, address: str, port: int) -> bool:
        """Whether PostgreSQL's request for TLS is answered on that listener, because some route there expects TLS."""
        routes = self._listeners.get((address, port))
        return routes is not None and routes.starts_tls

    def has_addresses(self, address: str, port: int) -> bool:
        """Whether the local address of a connection to that listener matters, because a route has it among its domains."""
        routes = self._listeners.get((address, port))
        return routes is not None and routes.has_addresses

    def takes_silent(self, address: str, port: int) -> bool:
        """Whether some route of that listener takes clients that have sent nothing for a time."""
        routes = self._listeners.get((address, port))
        return routes is not None and routes.takes_silent

    def takes_only_tls(self, address: str, port: int) -> bool:
        """Whether plain bytes are a mistake of the client on that listener: its routes are for TLS, or block."""
        routes = self._listeners.get((address, port))
        return routes is not None and routes.takes_only_tls

    def head_limits(self, address: str, port: int) -> HeadLimits:
        """The limits of a request's head on that listener."""
        routes = self._listeners.get((address, port))
        return HEAD_LIMITS if routes is None else routes.head_limits

    def remembers_heads(self, address: str, port: int) -> bool:
        """Whether the heads of requests on that listener may be remembered."""
        routes = self._listeners.get((address, port))
        return routes is not None and routes.remembers_heads

    def find(self, facts: Detected) -> RoutePlan | None:
        """The route for a connection; ``None`` where no route matches, or there is no such listener."""
        routes = self._by_name.get(facts.announced.accepted.listener)
        entry = None if routes is None else routes.find(facts)
        return None if entry is None else entry.route

    def inside(self, facts: Detected, route: RoutePlan) -> ListenerRoutes | None:
        """The routes to choose from again after the TLS of a connection was terminated for ``route``.

        ``None`` where ``route`` keeps the connection, because it has no conditions on the decrypted content: routes
        before it that did not match the ClientHello cannot match now either.
        """
        routes = self._by_name.get(facts.announced.accepted.listener)
        return None if routes is None else routes.inside(route)

    def alike(self, facts: Detected, route: RoutePlan) -> ListenerRoutes | None:
        """The routes to choose from for a request within TLS that was terminated for one of them.

        ``route`` may have been chosen by a request before: its having no conditions says nothing about this one. ``None``
        where none of them has any.
        """
        routes = self._by_name.get(facts.announced.accepted.listener)
        return None if routes is None else routes.alike(route)

    def named(self, facts: Detected, names: Container[str]) -> list[RoutePlan]:
        """The routes of the connection's listener that have one of ``names`` and admit its client, whatever it sends."""
        routes = self._by_name.get(facts.announced.accepted.listener)
        found = {
            entry.route: None
            for entry in (routes.entries if routes is not None else ())
            if entry.route.name in names and entry.admits_client(facts)
        }
        return list(found)

    def routes_on(self, name: str) -> ListenerRoutes | None:
        """The routes of the listener with that :func:`listener_name`, for ``explain``."""
        return self._by_name.get(name)


def listener_name(address: str, port: int) -> str:
    """The name of a listener, as in :attr:`smartproxy.model.facts.Accepted.listener`: no brackets around IPv6."""
    return f"{address}:{port}"


def _heard(routes: Sequence[RoutePlan]) -> Iterator[tuple[tuple[str, int], tuple[RoutePlan, ...]]]:
    """Each listener, with the routes that get its connections."""
    for ports, there in _spans(routes):
        for address in dict.fromkeys(one for route in there for one in route.match.addresses):
            heard = tuple(route for route in there if is_heard_on(route.match, address))
            for port in ports:
                yield (address, port), heard


def _spans(routes: Sequence[RoutePlan]) -> Iterator[tuple[range, Collection[RoutePlan]]]:
    """Consecutive ports that have the same routes, with these, in their order.

    Ranges are cut only where one of them begins or ends: a thousand routes on the same ten thousand ports are looked at
    once, not once per port.
    """
    bounds = sorted(
        {bound for route in routes for ports in route.match.ports for bound in (ports.start, ports.stop)}
    )
    place = {bound: index for index, bound in enumerate(bounds)}
    spans: list[dict[RoutePlan, None]] = [{} for _ in bounds]
    for route in routes:
        for ports in route.match.ports:
            for span in spans[place[ports.start] : place[ports.stop]]:
                span[route] = None
    for begin, end, there in zip(bounds, bounds[1:], spans, strict=False):
        if there:
            yield range(begin, end), there


def _entries(
    routes: Iterable[RoutePlan], conditions: dict[RoutePlan, tuple[Condition, ...]]
) -> Iterator[Entry]:
    for route in routes:
        for pattern in ranked_patterns(route.match):
            yield Entry(
                route,
                pattern,
                conditions_of(route.match, fallback=True) if pattern == NO_NAME else conditions[route],
            )
