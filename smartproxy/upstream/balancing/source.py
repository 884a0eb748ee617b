"""By client address: the same client gets the same target, with consistent hashing and bounded load.

Every candidate has points on a ring, at hashes of its name; those of about the same weight share a ring. A client is at the
hash of its address, and gets the candidate whose point is the nearest one behind it, where each distance is divided by the
candidate's weight ("Weighted Distributed Hash Tables", Schindelhauer, Schomaker, 2005: the linear method). So the points of a
candidate do not depend on the weights of others. Removing one of five targets moves the clients of that one and no others, and a higher weight moves clients
to that target only. The hash depends on names alone, so every process and every restart agrees.

Load is bounded as in "Consistent Hashing with Bounded Loads" (Mirrokni, Thorup, Zadimoghaddam, 2016): a candidate with
more than 1.25 times its share of the connections passes new clients on to the next one on the ring.
"""

from __future__ import annotations

from bisect import bisect_left
from hashlib import blake2b
from heapq import heappop, heappush, merge
from itertools import chain
from math import ceil
from struct import unpack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from smartproxy.upstream.candidate import Candidate

#: How far above its share a candidate's connections may be.
_BOUND = 1.25
#: Below this number of connections a candidate is never passed over: a few clients must not be moved by chance.
_FEW = 8
#: Points of a candidate, and the least number of them where the ring would be longer than :data:`_LONGEST`. A candidate's
#: points are the first ones of a fixed sequence, so that another number of them moves few clients.
_POINTS, _LEAST_POINTS = 128, 16
_LONGEST = 1 << 15
#: Candidates that are passed over for one client: with a thousand in their slow start, it would be all of them.
_MOST_PASSED = 64
#: How many clients' places are remembered.
_MOST_PLACES = 4096
#: A digest of blake2b has 64 bytes: sixteen points of 32 bits.
_PER_DIGEST = 16
_HIGHEST = (1 << 32) - 1


class SourceHash:
    """By client address."""

    def __init__(self) -> None:
        self._rings: list[_HashRing] = []
        self._places: dict[str, tuple[Candidate, int, int]] = {}
        #: Those that may be chosen, each with the connections that are in the sum.
        self._inside: dict[Candidate, int] = {}
        self._active = 0
        self._weight = 0

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._inside = {}
        self._active = self._weight = 0
        self._places.clear()
        alike: dict[int, list[Candidate]] = {}
        for candidate in candidates:
            if candidate.weight:
                alike.setdefault(candidate.weight.bit_length(), []).append(candidate)
        number = sum(map(len, alike.values())) or 1
        each = min(_POINTS, max(_LEAST_POINTS, _LONGEST / number))
        self._rings = [_HashRing(some, each) for some in alike.values()]

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
        owner, at, lot = self._places.get(client) or self._placed(client)
        # Nearly always so.
        if owner.inside and owner not in tried and not owner.is_ramping and not self._is_overloaded(owner):
            return owner
        return self._choose_from(at, lot, tried)

    def _placed(self, client: str) -> tuple[Candidate, int, int]:
        """Whose client it is, its position on the ring, and its lot.

        They are remembered: finding the owner visits several of 32,768 points.
        """
        at, lot = unpack(">II", blake2b(client.encode(), digest_size=8).digest())
        place = next(self._from(at)), at, lot
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
        self._places[client] = place
        return place

    def _choose_from(self, at: int, lot: int, tried: Collection[Candidate]) -> Candidate | None:
        """The first one from ``at`` on that may be chosen.

        Where each has too many or is in its slow start, the first one whose slow start admits the client.
        """
        passed: set[Candidate] = set()
        first: Candidate | None = None
        first_ready: Candidate | None = None
        for owner in self._from(at):
            if not owner.inside or owner in passed or owner in tried:
                continue
            if not (owner.is_ramping and lot > owner.share() * _HIGHEST):
                if not self._is_overloaded(owner):
                    return owner
                first_ready = first_ready or owner
            first = first or owner
            passed.add(owner)
            if len(passed) >= min(len(self._inside), _MOST_PASSED):
                break
        return first_ready or first

    def owner(self, client: str) -> Candidate | None:
        """Whose client ``client`` is while every candidate may be chosen."""
        return (self._places.get(client) or self._placed(client))[0] if self._rings else None

    def _from(self, at: int) -> Iterator[Candidate]:
        """The owners of all points, in the order of their distances from ``at`` divided by their weights."""
        return (owner for _, _, owner in merge(*(ring.owners_from(at) for ring in self._rings)))

    def _is_overloaded(self, candidate: Candidate) -> bool:
        connections = candidate.member.active + 1
        if connections <= _FEW:
            return False
        return connections > _BOUND * (self._active + 1) * candidate.weight / self._weight


class _HashRing:
    """The points of candidates of which none is twice as heavy as another: a search for the nearest one visits few of them.

    :param each: points of a candidate, on average.
    """

    def __init__(self, candidates: Sequence[Candidate], each: float) -> None:
        ring = sorted((point, one.index, one) for one in candidates for point in _points(one.name, each))
        self.points = [point for point, _, _ in ring]
        self._owners = [candidate for _, _, candidate in ring]
        self._heaviest = max(candidate.weight for candidate in candidates)

    def owners_from(self, at: int) -> Iterator[tuple[float, int, Candidate]]:
        """The owners of the points once around the ring, sorted by their distances from ``at`` divided by their weights."""
        points, owners, heaviest = self.points, self._owners, self._heaviest
        start = bisect_left(points, at)
        passed: list[tuple[float, int, Candidate]] = []
        for number in chain(range(start, len(points)), range(start)):
            distance, owner = (points[number] - at) & _HIGHEST, owners[number]
            # Not even a point of the heaviest candidate would come before these.
            while passed and passed[0][0] * heaviest <= distance:
                yield heappop(passed)
            heappush(passed, (distance / owner.weight, owner.index, owner))
        while passed:
            yield heappop(passed)


def _points(name: str, average: float) -> list[int]:
    """The points of a candidate on the ring, the same in every process.

    :param average: how many a candidate has. One of 109.2 has 109 or, by its name, 110: then a few more or less in the group
        change the points of few, and not those of all at once.
    """
    points: list[int] = []
    for number in range(ceil(average / _PER_DIGEST)):
        digest = blake2b(f"{name}\0{number}".encode()).digest()
        points += unpack(f">{_PER_DIGEST}I", digest)
    return points[: int(average + points[0] / (_HIGHEST + 1))]
