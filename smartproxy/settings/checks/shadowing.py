"""Routes that no connection can ever reach, because earlier ones take all that they match.

What a route matches is looked at in pieces: for each of its domains, on each of its ports. A piece is taken if a route
that goes first, in the order of :mod:`smartproxy.routing.table`, asks the same or less. A route all of whose
pieces are taken is never reached.

Thousands of routes on one port are compared through an index by domain and by the literal beginning of the path: what
takes a piece stands under the piece's own domain or a wildcard above it, and under a beginning of its path. The
answer errs on the side of silence: a route that several others take only together is not found.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from smartproxy.routing import domains, paths
from smartproxy.routing.matchers import patterns_of, specificity
from smartproxy.security.address_set import networks_of
from smartproxy.settings.compile.plans import match_plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smartproxy.model.plan import MatchPlan
    from smartproxy.settings.tables.route import Route

#: Of so many routes with the same domain and path, only the first are compared: the time stays linear.
_COMPARED = 64
_WILD = re.compile(r"\*|(?<=/):[A-Za-z_]\w*", re.ASCII)
#: What may stand for a ``*``, with a character that no pattern has: nothing, one segment, several.
_STAND_INS = ("", "\0", "\0/\0")

#: Address ranges of one family: first and last, ascending, apart from each other.
_Ranges: TypeAlias = tuple[tuple[int, int, int], ...]


class Unreached(NamedTuple):
    """A route that is never reached: its place in the file, and the names of those that are in its way."""

    place: int
    takers: tuple[str, ...]


class _Requirements(NamedTuple):
    """A route, as far as it is compared."""

    place: int
    name: str
    priority: int
    match: MatchPlan
    clients: _Ranges | None
    headers: frozenset[tuple[str, str]]


class _Piece(NamedTuple):
    """A route under one of its domains. ``order`` is that of the routing table."""

    order: tuple[int, tuple[int, ...], int]
    pattern: str | None
    asked: _Requirements


def unreached(routes: Iterable[tuple[int, Route]]) -> Iterator[Unreached]:
    """Those of the enabled routes, given with their indices, that are never reached."""
    asked = [_asked(index, route) for index, route in routes]
    open_to: set[int] = set()
    takers: dict[int, dict[str, None]] = defaultdict(dict)
    for pieces in _by_ports(asked):
        index = _Index()
        for piece in pieces:
            receiver = index.taker_of(piece)
            if receiver is None:
                open_to.add(piece.asked.place)
            else:
                takers[piece.asked.place][receiver.name] = None
            index.add(piece)
    for one in asked:
        if one.place not in open_to and takers[one.place]:
            yield Unreached(one.place, tuple(takers[one.place]))


def _asked(index: int, route: Route) -> _Requirements:
    match = match_plan(route.match)
    headers = frozenset((name.lower(), value) for name, value in match.headers)
    clients = _ranges(route.match.client_ip) if route.match.client_ip else None
    return _Requirements(index, route.name, route.priority, match, clients, headers)


def _by_ports(asked: list[_Requirements]) -> Iterator[list[_Piece]]:
    """In order, the pieces on each stretch of ports that belongs to the same routes."""
    starting: dict[int, list[_Requirements]] = defaultdict(list)
    ending: dict[int, list[_Requirements]] = defaultdict(list)
    for one in asked:
        for ports in one.match.ports:
            starting[ports.start].append(one)
            ending[ports.stop].append(one)
    pieces = {one.place: list(_pieces(one)) for one in asked}
    here: dict[int, int] = defaultdict(int)
    for port in sorted(starting.keys() | ending.keys()):
        for one in ending[port]:
            here[one.place] -= 1
        for one in starting[port]:
            here[one.place] += 1
        here = defaultdict(int, {index: count for index, count in here.items() if count})
        yield sorted((piece for index in here for piece in pieces[index]), key=lambda piece: piece.order)


def _pieces(one: _Requirements) -> Iterator[_Piece]:
    for pattern in patterns_of(one.match) or (None,):
        domain, path, *flags = specificity(one.match, pattern)
        narrow = tuple(-part for part in (*domain, *path, *flags))
        yield _Piece((-one.priority, narrow, one.place), pattern, one)


class _Index:
    """The pieces so far, by domain pattern, and by the literal beginning of their path."""

    def __init__(self) -> None:
        self._filed: dict[tuple[str | None, str], list[_Requirements]] = {}
        self._lengths: set[int] = set()

    def add(self, piece: _Piece) -> None:
        beginning = _beginning(piece.asked.match.path)
        self._lengths.add(len(beginning))
        self._filed.setdefault((piece.pattern, beginning), []).append(piece.asked)

    def taker_of(self, piece: _Piece) -> _Requirements | None:
        beginning = _beginning(piece.asked.match.path)
        lengths = [length for length in self._lengths if length <= len(beginning)]
        for pattern in _wider(piece.pattern):
            for length in lengths:
                for earlier in self._filed.get((pattern, beginning[:length]), ())[:_COMPARED]:
                    if _covers(earlier, piece.asked):
                        return earlier
        return None


def _beginning(path: str | None) -> str:
    return "" if path is None else _WILD.split(path, maxsplit=1)[0]


def _wider(pattern: str | None) -> Iterator[str | None]:
    """Every domain pattern that is met wherever this one is."""
    if pattern is not None:
        yield pattern
        yield from (f"*.{parent}" for parent in domains.parents(pattern.removeprefix("*.")))
        yield "*"
    yield None


def _covers(wide: _Requirements, narrow: _Requirements) -> bool:
    """Whether ``wide`` asks nothing that ``narrow`` does not, domains and ports aside."""
    a, b = wide.match, narrow.match
    return (
        a.address in ("", b.address)
        and _covers_protocol(a, b)
        and (not a.methods or (bool(b.methods) and b.methods <= a.methods))
        and wide.headers <= narrow.headers
        and _covers_clients(wide.clients, narrow.clients)
        and _covers_path(a.path, b.path)
    )


def _covers_protocol(wide: MatchPlan, narrow: MatchPlan) -> bool:
    asks_http = narrow.path is not None or bool(narrow.methods or narrow.headers)
    return wide.protocol in (None, narrow.protocol) or (wide.protocol == "http" and asks_http)


def _covers_path(wide: str | None, narrow: str | None) -> bool:
    if wide is None or narrow is None or wide == narrow:
        return wide is None or wide == narrow
    meets = paths.matcher(wide)
    return all(meets(_filled(narrow, star)) for star in _STAND_INS)


def _filled(pattern: str, star: str) -> str:
    """A path that meets ``pattern``, with ``star`` for each ``*``."""
    return _WILD.sub(lambda found: star if found[0] == "*" else "\0", pattern)


def _covers_clients(wide: _Ranges | None, narrow: _Ranges | None) -> bool:
    if wide is None or narrow is None:
        return wide is None
    return all(any(a[0] == b[0] and a[1] <= b[1] and b[2] <= a[2] for a in wide) for b in narrow)


def _ranges(entries: list[str]) -> _Ranges:
    networks = {network for entry in entries for network in networks_of(entry)}
    found = sorted((n.version, int(n.network_address), int(n.broadcast_address)) for n in networks)
    merged: list[tuple[int, int, int]] = []
    for version, first, last in found:
        if merged and merged[-1][0] == version and first <= merged[-1][2] + 1:
            merged[-1] = (version, merged[-1][1], max(last, merged[-1][2]))
        else:
            merged.append((version, first, last))
    return tuple(merged)
