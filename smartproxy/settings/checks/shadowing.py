"""Finds routes that no connection can ever reach, because earlier ones cover everything that they match.

A route is compared in pieces: each of its domains on each of its ports. A piece is covered if a route that is tried earlier,
in the order of :mod:`smartproxy.routing.table`, has the same or weaker conditions. A route is unreachable if all of its
pieces are covered.

To compare thousands of routes on one port, an index holds the earlier pieces by domain and by the literal prefix of the
path: a piece can only be covered by one that is filed under its own domain or a wildcard above it, and under a prefix of its
path. A route that is covered only by several others together is not found: there are no false alarms.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.routing import domains, paths
from smartproxy.routing.matchers import NO_NAME, ranked_patterns, specificity
from smartproxy.routing.queries import ANY_VALUE
from smartproxy.security.address_ranges import covers, ranges_of
from smartproxy.settings.compile.plans import match_plan
from smartproxy.settings.tables.rules import ADDRESS_FILE
from smartproxy.wire.host import is_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smartproxy.model.plan import MatchPlan, TlvMatch
    from smartproxy.security.address_ranges import Ranges
    from smartproxy.settings.tables.route import Route

#: Of the pieces with the same domain and path prefix, only this many are compared, so that the time stays linear.
_MAX_COMPARED: Final = 64
_WILDCARD = re.compile(r"\*|(?<=/):[A-Za-z_]\w*", re.ASCII)
#: Stand-ins for a ``*``: nothing, one segment, several. NUL is in no pattern, so it matches wildcards only.
_STAND_INS = ("", "\0", "\0/\0")

#: In place of an IP version: not addresses, but a file with some.
_FILE: Final = 0


class Unreachable(NamedTuple):
    """A route that is never reached.

    :ivar place: its index in the file.
    :ivar covering: the names of the routes that cover it.
    """

    place: int
    covering: tuple[str, ...]


class _Conditions(NamedTuple):
    """What is compared of a route."""

    place: int
    name: str
    priority: int
    match: MatchPlan
    takes_silent: bool
    clients: Ranges | None
    headers: frozenset[tuple[str, str]]


class _Piece(NamedTuple):
    """A route with one of its domain patterns.

    :ivar pattern: ``None`` for a route without domains, ``NO_NAME`` for what a fallback takes.
    :ivar order: sorts pieces as the routing table does.
    """

    order: tuple[int, tuple[int, ...], int]
    pattern: str | None
    conditions: _Conditions


def unreachable(routes: Iterable[tuple[int, Route]]) -> Iterator[Unreachable]:
    """The unreachable ones of the enabled routes.

    :param routes: each with its index in the file.
    """
    compared = [_conditions(index, route) for index, route in routes]
    reachable: set[int] = set()
    covering: dict[int, dict[str, None]] = defaultdict(dict)  # an ordered set of names for each route
    for pieces in _by_ports(compared):
        earlier = _Index()
        for piece in pieces:
            found = earlier.find_covering(piece)
            if found is None:
                reachable.add(piece.conditions.place)
            else:
                covering[piece.conditions.place][found.name] = None
            earlier.add(piece)
    for one in compared:
        if one.place not in reachable and covering[one.place]:
            yield Unreachable(one.place, tuple(covering[one.place]))


def _conditions(index: int, route: Route) -> _Conditions:
    match = match_plan(route.match, fallback=route.fallback)
    headers = frozenset((name.lower(), value) for name, value in match.headers)
    clients = _ranges(route.match.client_ip) if route.match.client_ip else None
    takes_silent = route.silence is not None
    return _Conditions(index, route.name, route.priority, match, takes_silent, clients, headers)


def _by_ports(compared: list[_Conditions]) -> Iterator[list[_Piece]]:
    """The pieces on each interval of ports on which the same routes listen, in the order of the routing table."""
    starting: dict[int, list[_Conditions]] = defaultdict(list)
    ending: dict[int, list[_Conditions]] = defaultdict(list)
    for one in compared:
        for ports in one.match.ports:
            starting[ports.start].append(one)
            ending[ports.stop].append(one)
    pieces = {one.place: list(_pieces(one)) for one in compared}
    # A sweep over the bounds. A route is counted, because its own port ranges may overlap.
    active: dict[int, int] = defaultdict(int)
    for port in sorted(starting.keys() | ending.keys()):
        for one in ending[port]:
            active[one.place] -= 1
        for one in starting[port]:
            active[one.place] += 1
        active = defaultdict(int, {index: count for index, count in active.items() if count})
        yield sorted((piece for index in active for piece in pieces[index]), key=lambda piece: piece.order)


def _pieces(one: _Conditions) -> Iterator[_Piece]:
    for pattern in ranked_patterns(one.match):
        domain, path, *flags = specificity(one.match, pattern)
        most_specific_first = tuple(-part for part in (*domain, *path, *flags))
        yield _Piece((-one.priority, most_specific_first, one.place), pattern, one)


class _Index:
    """The earlier pieces, by domain pattern and by the literal prefix of their path."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str | None, str], list[_Conditions]] = {}
        self._prefix_lengths: set[int] = set()

    def add(self, piece: _Piece) -> None:
        prefix = _literal_prefix(piece.conditions.match.path)
        self._prefix_lengths.add(len(prefix))
        self._by_key.setdefault((piece.pattern, prefix), []).append(piece.conditions)

    def find_covering(self, piece: _Piece) -> _Conditions | None:
        """An earlier route that covers ``piece``."""
        prefix = _literal_prefix(piece.conditions.match.path)
        lengths = [length for length in self._prefix_lengths if length <= len(prefix)]
        for pattern in _covering_patterns(piece.pattern):
            for length in lengths:
                for earlier in self._by_key.get((pattern, prefix[:length]), ())[:_MAX_COMPARED]:
                    if _covers(earlier, piece.conditions):
                        return earlier
        return None


def _literal_prefix(path: str | None) -> str:
    return "" if path is None else _WILDCARD.split(path, maxsplit=1)[0]


def _covering_patterns(pattern: str | None) -> Iterator[str | None]:
    """Every domain pattern that matches all names that ``pattern`` matches; ``None`` matches also without a name."""
    if pattern == NO_NAME or (pattern and is_address(pattern)):
        yield pattern  # "*" matches an address in Host, but not a client without SNI
    elif pattern is not None:
        yield pattern
        yield from (f"*.{parent}" for parent in domains.parents(pattern.removeprefix("*.")))
        yield "*"
    yield None


def _covers(wide: _Conditions, narrow: _Conditions) -> bool:
    """Whether every connection that meets ``narrow`` meets ``wide``, domains and ports aside."""
    a, b = wide.match, narrow.match
    return (
        ("" in a.addresses or set(b.addresses) <= set(a.addresses))
        and (wide.takes_silent or not narrow.takes_silent)
        and _covers_protocol(a, b)
        and (not a.alpn or (bool(b.alpn) and b.alpn <= a.alpn))
        and (not a.methods or (bool(b.methods) and b.methods <= a.methods))
        and wide.headers <= narrow.headers
        and all(
            (name, value) in b.query or (value == ANY_VALUE and name in dict(b.query))
            for name, value in a.query
        )
        and _covers_clients(wide.clients, narrow.clients)
        and all(any(_covers_tlv(one, other) for other in b.proxy_tlv) for one in a.proxy_tlv)
        and _covers_path(a.path, b.path)
    )


def _covers_protocol(wide: MatchPlan, narrow: MatchPlan) -> bool:
    return wide.protocol in (None, narrow.protocol) or (wide.protocol == "http" and narrow.needs_request)


def _covers_tlv(wide: TlvMatch, narrow: TlvMatch) -> bool:
    """Whether a header that meets ``narrow`` meets ``wide``."""
    return (
        wide.type == narrow.type
        and set(narrow.values) <= set(wide.values)
        and all(
            not wide.domains or set(_covering_patterns(name)) & set(wide.domains) for name in narrow.domains
        )
    )


def _covers_path(wide: str | None, narrow: str | None) -> bool:
    if wide is None or narrow is None or wide == narrow:
        return wide is None or wide == narrow
    # Patterns are compared by example: paths that match ``narrow`` in each possible way must match ``wide`` too.
    matches = paths.matcher(wide)
    return all(matches(_example(narrow, star)) for star in _STAND_INS)


def _example(pattern: str, star: str) -> str:
    """A path that matches ``pattern``, with ``star`` for each ``*``."""
    return _WILDCARD.sub(lambda found: star if found[0] == "*" else "\0", pattern)


def _covers_clients(wide: Ranges | None, narrow: Ranges | None) -> bool:
    if wide is None or narrow is None:
        return wide is None
    return covers(wide, narrow)


def _ranges(entries: list[str]) -> Ranges:
    """The ranges of an address list. What a file contains may change: it covers nothing but the same file."""
    files = {entry for entry in entries if entry.startswith(ADDRESS_FILE)}
    numbers = sorted(int.from_bytes(name.encode()) for name in files)
    return (
        *((_FILE, number, number) for number in numbers),
        *ranges_of(entry for entry in entries if entry not in files),
    )
