"""The reasons why a connection is given to a route, and not to one that comes earlier in the order.

``explain`` reads the same entries in the same order as ``RouteTable.find``, and checks the same conditions::

    route web
      on :443
      domain: wants *.example.com, has www.example.com
    not api: domain: wants api.example.com, has www.example.com
    not office: client address: wants 10.0.0.0/8, has 192.0.2.1
    not old: disabled

Routes behind the one that matched are not checked, and not listed. Disabled routes are not in the table; the caller names
those that would be on the listener.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smartproxy.model.facts import Detected
    from smartproxy.model.plan import RoutePlan
    from smartproxy.routing.listener_routes import Entry, ListenerRoutes
    from smartproxy.routing.matchers import Condition
    from smartproxy.routing.table import RouteTable


class Passed(NamedTuple):
    """A route earlier in the order, and why it did not match."""

    route: RoutePlan
    because: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The result of ``find``, and its reasons.

    :ivar route: the route that matched; ``None`` where none did.
    :ivar because: why it matched, or why none did: one line each.
    :ivar earlier: the routes before it in their order; all routes of the listener where none matched.
    :ivar disabled: the names of routes of the listener that are not used.
    """

    route: RoutePlan | None
    because: tuple[str, ...]
    earlier: tuple[Passed, ...] = ()
    disabled: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """The explanation as text. The first line is ``route NAME`` or ``no route``."""
        yield "no route" if self.route is None else f"route {self.route.name}"
        yield from (f"  {line}" for line in self.because)
        yield from (f"not {passed.route.name}: {passed.because}" for passed in self.earlier)
        yield from (f"not {name}: disabled" for name in self.disabled)


def explain(table: RouteTable, facts: Detected, disabled: tuple[str, ...] = ()) -> Explanation:
    """Explain the result of ``table.find(facts)``.

    :param disabled: the names of disabled routes that would be on the listener.
    """
    name = facts.announced.accepted.listener
    routes = table.routes_on(name)
    if routes is None:
        where = name if facts.port in table.ports else f"port {facts.port}"
        ports = format_ports(table.ports) or "none"
        none = f"no listener on {where}; the listening ports are: {ports}"
        return Explanation(None, (none,), disabled=disabled)
    found = routes.find(facts)
    earlier = tuple(_earlier(routes, found, facts))
    if found is None:
        return Explanation(None, (f"no route on {name} matches",), earlier, disabled)
    met = [_compared(condition, facts) for condition in found.asked(facts)]
    because = (f"on {name}", *(met or ["it has no other conditions"]))
    return Explanation(found.route, because, earlier, disabled)


def explain_inside(outside: Explanation, routes: ListenerRoutes, facts: Detected) -> Explanation:
    """Explain the result of ``routes.find(facts)``: the second choice, by what is inside TLS.

    :param outside: the first choice, by the ClientHello. Its reasons against earlier routes are kept.
    """
    assert outside.route is not None  # noqa: S101 - a second choice follows a first one
    name = facts.announced.accepted.listener
    found = routes.find(facts)
    inside = tuple(_earlier(routes, found, facts))
    again = {passed.route for passed in inside}
    earlier = (*(passed for passed in outside.earlier if passed.route not in again), *inside)
    terms = f"chosen by what is inside TLS, among the routes that terminate it as {outside.route.name} does"
    if found is None:
        return Explanation(None, (f"no route on {name} matches", terms), earlier, outside.disabled)
    met = (_compared(condition, facts) for condition in found.asked(facts))
    return Explanation(found.route, (f"on {name}", *met, terms), earlier, outside.disabled)


def format_ports(ports: Iterable[int]) -> str:
    """Ascending ports as text, with ranges: ``80, 443, 8000-8010``."""
    runs: list[list[int]] = []
    for port in ports:
        if runs and runs[-1][1] == port - 1:
            runs[-1][1] = port
        else:
            runs.append([port, port])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _earlier(routes: ListenerRoutes, found: Entry | None, facts: Detected) -> Iterator[Passed]:
    # A route with several domains has several entries; it is listed once, at its first.
    listed = {found.route} if found is not None else set()
    for entry in routes.entries:
        if entry is found:
            return
        if entry.route not in listed:
            listed.add(entry.route)
            yield Passed(entry.route, _why_not(entry, facts))


def _why_not(entry: Entry, facts: Detected) -> str:
    for condition in entry.asked(facts):
        if not condition.is_met(facts):
            return _compared(condition, facts)
    # The entry is here for a narrow domain of the route; the connection matches a wider one, whose entry comes later.
    return f"also matches, but not by {entry.pattern}, and its other domains are less specific"


def _compared(condition: Condition, facts: Detected) -> str:
    return f"{condition.subject}: wants {condition.wanted}, has {condition.seen(facts)}"
