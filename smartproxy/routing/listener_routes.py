"""The routes of one listener, in the order in which they are checked, and the search for the one of a connection or request.

How specific a route is depends on which of its domains matched. So a route has one entry in the order for each of its
domain patterns, or a single one if it has none; a fallback has one more, for clients without a name. The entries are numbered
in that order (``rank``) and indexed by pattern: a dict of exact names, a dict of wildcards that is asked once for each parent
domain, and a list of entries without a domain. A connection is checked against the entries of its own name only, and the match
with the lowest rank wins: a look-up among 10,000 routes takes the same time as among 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from smartproxy.model.plan import ActionKind
from smartproxy.routing import domains
from smartproxy.routing.matchers import NO_NAME, Condition, silence, specificity
from smartproxy.wire.host import is_address
from smartproxy.wire.http_head import HEAD_LIMITS, HeadLimits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smartproxy.model.facts import Detected
    from smartproxy.model.plan import RoutePlan, TerminationPlan

#: How many requests a listener remembers the route of, and with which path at the most.
_MOST_KNOWN: Final = 1024
_LONGEST_KNOWN: Final = 512
#: Found in place of an entry, or of ``None`` for no entry, where a request is not known.
_UNKNOWN: Final[Any] = object()


class Entry:
    """A route with one of its domain patterns.

    :ivar route: the route.
    :ivar pattern: the domain pattern; ``None`` for a route without domains, ``NO_NAME`` for a client without a name.
    :ivar conditions: all conditions of the route.
    :ivar rank: position in the order of its listener.
    :ivar outside: the conditions that can be checked on the ClientHello: all, unless the route terminates TLS.
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
        """Whether it has conditions on the decrypted content."""
        return len(self.outside) < len(self.conditions)

    def asked(self, facts: Detected) -> tuple[Condition, ...]:
        """The conditions that can be checked on ``facts``."""
        if facts.silent:
            early = (condition for condition in self.conditions if condition.is_early)
            return (*early, silence(self.silence))
        return self.outside if _from_outside(facts) else self.conditions

    @property
    def silence(self) -> float:
        """Seconds after which it takes a silent client: a fallback does so in the place where it takes one without a name."""
        return self.route.silence if self.pattern == NO_NAME else 0.0

    def admits_client(self, facts: Detected) -> bool:
        """Whether the conditions that need no first bytes are met."""
        return all(condition.is_met(facts) for condition in self.conditions if condition.is_early)

    def matches(self, facts: Detected) -> bool:
        """Whether all conditions are met. The condition on the domain is met by any pattern of the route."""
        questions = self._asked_outside if _from_outside(facts) else self._questions
        for is_met in questions:  # noqa: SIM110 - all() makes a generator, which doubles the time
            if not is_met(facts):
                return False
        return True


class ListenerRoutes:
    """The routes of one listener, in order.

    :ivar entries: in the order in which they are checked.
    :ivar needs_first_bytes: whether some route can be chosen only when the client's first bytes are known.
    :ivar first_bytes_timeout: seconds to wait for them: the route is not known before, so the longest timeout of the routes
        that need them applies; 0 is no limit, ``None`` where no route needs them.
    :ivar starts_tls: whether first bytes are read, and some route expects TLS in them.
    :ivar head_limits: the widest limits of a request's head that a route has: its route is not known before it was read.
    :ivar remembers_heads: whether heads may be remembered: some route speaks HTTP, and all that do permit it.
    :ivar takes_silent: whether some route takes clients that have sent nothing for a time.
    :ivar has_addresses: whether some route that terminates TLS has an IP address among its domains.
    :ivar takes_only_tls: whether there are routes for TLS, and beside them none but such as block.
    """

    __slots__ = (
        "_alike",
        "_asking",
        "_by_suffix",
        "_exact",
        "_known",
        "_nameless",
        "_names_matter",
        "_silent",
        "entries",
        "first_bytes_timeout",
        "has_addresses",
        "head_limits",
        "needs_first_bytes",
        "remembers_heads",
        "starts_tls",
        "takes_only_tls",
        "takes_silent",
    )

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = sorted(entries, key=_order)
        timeouts = {
            entry.route.timeouts.initial_data for entry in self.entries if entry.route.needs_first_bytes
        }
        self.needs_first_bytes = bool(timeouts)
        self.first_bytes_timeout = 0.0 if 0.0 in timeouts else max(timeouts, default=None)
        self.starts_tls = self.needs_first_bytes and any(entry.route.expects_tls for entry in self.entries)
        speaking = [entry.route.http for entry in self.entries if entry.route.http is not None]
        heads = {plan.head for plan in speaking}
        self.head_limits = HeadLimits(*map(max, zip(*heads, strict=True))) if heads else HEAD_LIMITS
        self.remembers_heads = bool(speaking) and all(plan.remembers for plan in speaking)
        self._exact: dict[str, list[Entry]] = {}
        self._by_suffix: dict[str, list[Entry]] = {}
        self._nameless: list[Entry] = []
        for rank, entry in enumerate(self.entries):
            entry.rank = rank
            self._filed_under(entry.pattern).append(entry)
        self.has_addresses = any(
            entry.route.tls is not None and is_address(entry.pattern or "") for entry in self.entries
        )
        self._silent = [entry for entry in self.entries if entry.silence]
        self.takes_silent = bool(self._silent)
        serving = {entry.route for entry in self.entries if entry.route.kind is not ActionKind.BLOCK}
        self.takes_only_tls = bool(serving) and all(route.takes_only_tls for route in serving)
        self._names_matter = bool(self._exact or self._by_suffix)
        self._alike: dict[RoutePlan, ListenerRoutes] | None = None
        self._asking = {entry.route for entry in self.entries if entry.asks_inside}
        is_by_request = all(condition.is_of_line for entry in self.entries for condition in entry.conditions)
        self._known: dict[tuple[object, ...], Entry | None] | None = {} if is_by_request else None

    def alike(self, route: RoutePlan) -> ListenerRoutes | None:
        """Routes that terminate TLS as ``route`` does; ``None`` where none of them has conditions on the decrypted content."""
        if self._alike is None:
            self._alike = _alike(self.entries) if self._asking else {}
        return self._alike.get(route)

    def inside(self, route: RoutePlan) -> ListenerRoutes | None:
        """The same where ``route`` itself has such conditions, and else ``None``."""
        return self.alike(route) if route in self._asking else None

    def find(self, facts: Detected) -> Entry | None:
        """The first entry in order that matches.

        Where no condition is about anything but host, path, method and protocol, it is remembered by these.
        """
        known, request = self._known, facts.request
        if known is None or request is None or facts.silent:
            return self._search(facts)
        hello = facts.hello
        name = None if hello is None else facts.domain
        key = (
            request.host,
            request.path,
            request.method,
            facts.protocol,
            hello is None,
            name,
            facts.secured is None,
        )
        remembered: object = known.get(key, _UNKNOWN)
        if remembered is None or isinstance(remembered, Entry):
            return remembered
        found = self._search(facts)
        if len(request.path) <= _LONGEST_KNOWN:
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[key] = found
        return found

    def _search(self, facts: Detected) -> Entry | None:
        if facts.silent:
            return next((entry for entry in self._silent if entry.admits_client(facts)), None)
        best = _first(self._nameless, facts, None)
        if self._names_matter and (name := facts.domain):
            for entries in self._filed_for(name):
                best = _first(entries, facts, best)
        return best

    def _filed_under(self, pattern: str | None) -> list[Entry]:
        # "*" is indexed with the entries without a domain; its condition still requires a name.
        if pattern is None or pattern in ("*", NO_NAME):
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


def _from_outside(facts: Detected) -> bool:
    """Whether only the ClientHello is known yet, and not the decrypted content."""
    return facts.hello is not None and facts.secured is None


def _alike(entries: Iterable[Entry]) -> dict[RoutePlan, ListenerRoutes]:
    """For each route the routes that terminate TLS on the same terms, where one of these has conditions on what is inside.

    The choice is made again among these only, because the handshake was made on the terms of the first choice.
    """
    kinds: dict[TerminationPlan, list[Entry]] = {}
    for entry in entries:
        if entry.route.tls is not None:
            fresh = Entry(entry.route, entry.pattern, entry.conditions)  # it has another rank here
            kinds.setdefault(entry.route.tls.terms, []).append(fresh)
    return {
        entry.route: routes
        for routes in map(ListenerRoutes, kinds.values())
        if any(entry.asks_inside for entry in routes.entries)
        for entry in routes.entries
    }


def _order(entry: Entry) -> tuple[int, tuple[int, ...], int]:
    """An ascending sort key; negated, since greater priority and specificity come first."""
    domain, path, *flags = specificity(entry.route.match, entry.pattern)
    return (-entry.route.priority, tuple(-part for part in (*domain, *path, *flags)), entry.route.index)


def _first(entries: Iterable[Entry], facts: Detected, best: Entry | None) -> Entry | None:
    """The first entry that matches, or ``best`` where that has a lower rank."""
    for entry in entries:
        if best is not None and entry.rank > best.rank:
            return best
        if entry.matches(facts):
            return entry
    return best
