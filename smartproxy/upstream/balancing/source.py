"""By client address: the same client gets the same target, with consistent hashing and bounded load.

Every candidate has points on a ring, at hashes of its name, as many as its weight asks for. A client gets the candidate
of the first point behind the hash of its address. Removing one of five targets therefore moves the clients of that one
and no others. The hash depends on names alone, so every process and every restart agrees.

Load is bounded as in "Consistent Hashing with Bounded Loads" (Mirrokni, Thorup, Zadimoghaddam, 2016): a candidate with
more than 1.25 times its share of the connections passes new clients on to the next one on the ring.
"""

from __future__ import annotations

from bisect import bisect
from hashlib import blake2b
from math import gcd
from struct import unpack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from smartproxy.upstream.candidate import Candidate

#: How far above its share a candidate's connections may be.
_BOUND = 1.25
#: Below this number of connections a candidate is never passed over: a few clients must not be moved by chance.
_FEW = 8
#: Points of a candidate of the least weight, and of every candidate where the ring would be longer than :data:`_LONGEST`.
#: A candidate's points are the first ones of a fixed sequence, so that another number of them moves few clients.
_POINTS, _LEAST_POINTS = 128, 16
_LONGEST = 1 << 15
#: How many clients' places are remembered.
_MOST_PLACES = 4096
#: A digest of blake2b has 64 bytes: sixteen points of 32 bits.
_PER_DIGEST = 16
_HIGHEST = (1 << 32) - 1


class SourceHash:
    """By client address."""

    def __init__(self) -> None:
        self._points: list[int] = []
        self._owners: list[Candidate] = []
        self._places: dict[str, tuple[int, int]] = {}
        #: Those that may be chosen, each with the connections that are in the sum.
        self._inside: dict[Candidate, int] = {}
        self._active = 0
        self._weight = 0

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._inside = {}
        self._active = self._weight = 0
        weighted = [candidate for candidate in candidates if candidate.weight]
        unit = gcd(*(candidate.weight for candidate in weighted)) or 1
        total = sum(candidate.weight for candidate in weighted) or 1
        each = min(_POINTS / unit, _LONGEST / total)
        ring = sorted(
            (point, candidate.index, candidate)
            for candidate in weighted
            for point in _points(candidate.name, max(_LEAST_POINTS, round(each * candidate.weight)))
        )
        self._points = [point for point, _, _ in ring]
        self._owners = [candidate for _, _, candidate in ring]
        self._places.clear()

    def enter(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._inside[candidate] = candidate.member.active
        self._active += candidate.member.active
        self._weight += candidate.weight

    def leave(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._active -= self._inside.pop(candidate)
        self._weight -= candidate.weight

    def changed(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._active += candidate.member.active - self._inside[candidate]
        self._inside[candidate] = candidate.member.active

    def choose(self, client: str, tried: Collection[Candidate]) -> Candidate | None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        if not self._inside:
            return None
        start, lot = self._places.get(client) or self._placed(client)
        owner = self._owners[start]
        # Nearly always so.
        if owner.inside and owner not in tried and not owner.is_ramping and not self._is_overloaded(owner):
            return owner
        return self._choose_from(start, lot, tried)

    def _placed(self, client: str) -> tuple[int, int]:
        """Where a client is on the ring, and its lot: remembered, because to find the place visits many of 32,768 points."""
        at, lot = unpack(">II", blake2b(client.encode(), digest_size=8).digest())
        place = bisect(self._points, at) % len(self._points), lot
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
        self._places[client] = place
        return place

    def _choose_from(self, start: int, lot: int, tried: Collection[Candidate]) -> Candidate | None:
        """The first one from ``start`` on that may be chosen; where all have too many, the first of them."""
        passed: set[Candidate] = set()
        first: Candidate | None = None
        for owner in self._from(start):
            if not owner.inside or owner in passed or owner in tried:
                continue
            if not self._is_overloaded(owner) and not (owner.is_ramping and lot > owner.share() * _HIGHEST):
                return owner
            first = first or owner
            passed.add(owner)
            if len(passed) == len(self._inside):
                break
        return first

    def owner(self, client: str) -> Candidate | None:
        """Whose client ``client`` is while every candidate may be chosen."""
        return self._owners[self._placed(client)[0]] if self._owners else None

    def _from(self, start: int) -> Iterator[Candidate]:
        """The owners of the points from ``start`` on, once around the ring."""
        owners = self._owners
        yield from map(owners.__getitem__, range(start, len(owners)))
        yield from map(owners.__getitem__, range(start))

    def _is_overloaded(self, candidate: Candidate) -> bool:
        connections = candidate.member.active + 1
        if connections <= _FEW:
            return False
        return connections > _BOUND * (self._active + 1) * candidate.weight / self._weight


def _points(name: str, count: int) -> list[int]:
    """``count`` points on the ring, the same in every process."""
    points: list[int] = []
    for number in range(-(-count // _PER_DIGEST)):
        digest = blake2b(f"{name}\0{number}".encode()).digest()
        points += unpack(f">{_PER_DIGEST}I", digest)
    return points[:count]
