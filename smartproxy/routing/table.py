"""Which route takes a connection, in a time that does not grow with the number of routes that name a domain.

The order in which routes are asked: higher ``priority`` first, then the more specific match
(:func:`~smartproxy.routing.matchers.specificity`), then the order in the file. The first whose conditions are all
met takes the connection.

How specific a route matches depends on which of its domains was met, so a route has one entry in the order
for each of its domain patterns, or a single one without any. The entries of a listener are numbered by
that order and filed by pattern: a look-up for exact names, one for wildcards that is asked once a
label of the name, and a list of those that ask for no domain. A connection is held against the few entries
filed under its own name, in their order, and what 10,000 routes for other names cost it is nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.routing import domains
from smartproxy.routing.matchers import (
    Condition,
    conditions_of,
    is_heard_on,
    patterns_of,
    ports_of,
    specificity,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from smartproxy.model.facts import Detected
    from smartproxy.model.plan import RoutePlan, TerminationPlan


class Entry:
    """A route under one of its domain patterns.

    :ivar rank: its place in the order of its listener.
    :ivar outside: of the conditions, those that a ClientHello can meet: all, but where TLS ends here.
    """

    __slots__ = ("_asked_outside", "_questions", "conditions", "outside", "pattern", "rank", "route")

    def __init__(self, route: RoutePlan, pattern: str | None, conditions: tuple[Condition, ...]) -> None:
        self.route = route
        self.pattern = pattern
        self.conditions = conditions
        self.rank = 0
        self._questions = tuple(condition.is_met for condition in conditions)
        self.outside = conditions
        if route.tls is not None:
            self.outside = tuple(condition for condition in conditions if not condition.inside)
        self._asked_outside = tuple(condition.is_met for condition in self.outside)

    @property
    def asks_inside(self) -> bool:
        """Whether it asks for something that is only seen when its TLS has ended."""
        return len(self.outside) < len(self.conditions)

    def asked(self, facts: Detected) -> tuple[Condition, ...]:
        """What is asked of ``facts``, as far as the connection is now."""
        return self.outside if _from_outside(facts) else self.conditions

    def matches(self, facts: Detected) -> bool:
        """Whether all that the route asks is met, by whichever of its patterns."""
        questions = self._asked_outside if _from_outside(facts) else self._questions
        for is_met in questions:  # noqa: SIM110 - all() makes a generator, which doubles the time
            if not is_met(facts):
                return False
        return True


class ListenerRoutes:
    """The routes that are heard on one address and port, in order.

    :ivar starts_tls: whether first bytes are looked at, and may well become TLS.
    """

    __slots__ = (
        "_by_suffix",
        "_exact",
        "_inside",
        "_nameless",
        "_names_matter",
        "entries",
        "needs_first_bytes",
        "starts_tls",
    )

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = sorted(entries, key=_order)
        self.needs_first_bytes = any(entry.route.needs_first_bytes for entry in self.entries)
        self.starts_tls = self.needs_first_bytes and any(entry.route.expects_tls for entry in self.entries)
        self._exact: dict[str, list[Entry]] = {}
        self._by_suffix: dict[str, list[Entry]] = {}
        self._nameless: list[Entry] = []
        for rank, entry in enumerate(self.entries):
            entry.rank = rank
            self._filed_under(entry.pattern).append(entry)
        self._names_matter = bool(self._exact or self._by_suffix)
        self._inside: dict[RoutePlan, ListenerRoutes] | None = None

    def inside(self, route: RoutePlan) -> ListenerRoutes | None:
        """Those that end TLS as ``route`` does; ``None`` where it asks for nothing within its TLS."""
        if self._inside is None:
            self._inside = _alike(self.entries)
        return self._inside.get(route)

    def find(self, facts: Detected) -> Entry | None:
        """The first entry in order that matches."""
        best = _first(self._nameless, facts, None)
        if self._names_matter and (name := facts.domain):
            for entries in self._filed_for(name):
                best = _first(entries, facts, best)
        return best

    def _filed_under(self, pattern: str | None) -> list[Entry]:
        # A lone * is filed with those that ask for no name: its condition still wants one.
        if pattern is None or pattern == "*":
            return self._nameless
        if pattern.startswith("*."):
            return self._by_suffix.setdefault(pattern[2:], [])
        return self._exact.setdefault(pattern, [])

    def _filed_for(self, name: str) -> Iterator[list[Entry]]:
        if name in self._exact:
            yield self._exact[name]
        if self._by_suffix:
            for parent in domains.parents(name):
                if parent in self._by_suffix:
                    yield self._by_suffix[parent]


class RouteTable:
    """All routes of a configuration. It never changes: a reload makes another.

    :raises ValueError: where a route's domain pattern is none.
    """

    def __init__(self, routes: Sequence[RoutePlan]) -> None:
        self._listeners: dict[tuple[str, int], ListenerRoutes] = {}
        self._by_name: dict[str, ListenerRoutes] = {}
        conditions = {route: conditions_of(route.match) for route in routes}
        shared: dict[tuple[RoutePlan, ...], ListenerRoutes] = {}
        for (address, port), heard in _heard(routes):
            if heard not in shared:
                shared[heard] = ListenerRoutes(_entries(heard, conditions))
            self._listeners[address, port] = self._by_name[listener_name(address, port)] = shared[heard]

    @property
    def ports(self) -> list[int]:
        """The ports that some route listens on, ascending."""
        return sorted({port for _, port in self._listeners})

    def listeners(self) -> set[tuple[str, int]]:
        """The addresses (``""``: every one) and ports to listen on."""
        return set(self._listeners)

    def needs_first_bytes(self, address: str, port: int) -> bool:
        """Whether some route of that listener can only be chosen when the first bytes are known."""
        routes = self._listeners.get((address, port))
        return routes is not None and routes.needs_first_bytes

    def starts_tls(self, address: str, port: int) -> bool:
        """Whether a client of that listener that asks for TLS is answered there, because some route has to do with it."""
        routes = self._listeners.get((address, port))
        return routes is not None and routes.starts_tls

    def find(self, facts: Detected) -> RoutePlan | None:
        """The route that takes the connection; ``None`` where there is none, or no such listener."""
        routes = self._by_name.get(facts.announced.accepted.listener)
        entry = None if routes is None else routes.find(facts)
        return None if entry is None else entry.route

    def inside(self, facts: Detected, route: RoutePlan) -> ListenerRoutes | None:
        """Who is asked when the TLS of a connection has ended as ``route`` wants; ``None``: ``route`` is the answer.

        It is where it asks for nothing more: what its hello has not met before, a connection does not meet now.
        """
        routes = self._by_name.get(facts.announced.accepted.listener)
        return None if routes is None else routes.inside(route)

    def routes_on(self, name: str) -> ListenerRoutes | None:
        """The routes heard on the listener of that :func:`listener_name`, for whoever explains them."""
        return self._by_name.get(name)


def _from_outside(facts: Detected) -> bool:
    """Whether a ClientHello is all that is known of what the client says."""
    return facts.hello is not None and facts.secured is None


def _alike(entries: Iterable[Entry]) -> dict[RoutePlan, ListenerRoutes]:
    """For each route that asks for something within its TLS, those that end it on the same terms."""
    kinds: dict[TerminationPlan, list[Entry]] = {}
    for entry in entries:
        if entry.route.tls is not None:
            fresh = Entry(entry.route, entry.pattern, entry.conditions)  # its rank is another one here
            kinds.setdefault(entry.route.tls.terms, []).append(fresh)
    return {
        entry.route: routes
        for routes in (ListenerRoutes(alike) for alike in kinds.values())
        for entry in routes.entries
        if entry.asks_inside
    }


def listener_name(address: str, port: int) -> str:
    """What :attr:`smartproxy.model.facts.Accepted.listener` says of a listener: no brackets around IPv6."""
    return f"{address}:{port}"


def _heard(routes: Sequence[RoutePlan]) -> Iterator[tuple[tuple[str, int], tuple[RoutePlan, ...]]]:
    """Each listener, with the routes that see what comes in on it."""
    by_port: dict[int, dict[RoutePlan, None]] = {}
    for route in routes:
        for port in ports_of(route.match):
            by_port.setdefault(port, {})[route] = None
    for port, there in by_port.items():
        for address in dict.fromkeys(route.match.address for route in there):
            yield (address, port), tuple(route for route in there if is_heard_on(route.match, address))


def _entries(
    routes: Iterable[RoutePlan], conditions: dict[RoutePlan, tuple[Condition, ...]]
) -> Iterator[Entry]:
    for route in routes:
        for pattern in patterns_of(route.match) or (None,):
            yield Entry(route, pattern, conditions[route])


def _order(entry: Entry) -> tuple[int, tuple[int, ...], int]:
    """Ascending: negated, since the greater priority and specificity come first."""
    domain, path, *flags = specificity(entry.route.match, entry.pattern)
    return (-entry.route.priority, tuple(-part for part in (*domain, *path, *flags)), entry.route.index)


def _first(entries: Iterable[Entry], facts: Detected, best: Entry | None) -> Entry | None:
    """The first that matches, or ``best`` where that stands before it in the order."""
    for entry in entries:
        if best is not None and entry.rank > best.rank:
            return best
        if entry.matches(facts):
            return entry
    return best
