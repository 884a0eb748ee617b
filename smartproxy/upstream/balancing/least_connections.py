"""Least connections: the candidate with the fewest connections for its weight, ties by turn.

The candidates are in a heap by load. Each change of a candidate's connections adds a new entry, and the former one is
skipped when it comes to the top: it has an older stamp.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from smartproxy.upstream.candidate import Candidate

#: Load, when it was last chosen, its place, its stamp.
_Entry: TypeAlias = "tuple[float, int, int, int, Candidate]"
#: Entries for each candidate before those that are out of date are removed.
_MOST_PER_CANDIDATE = 8


class LeastConnections:
    """The one with the fewest connections."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._most = 0
        self._turns = 0

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._heap = []
        self._most = _MOST_PER_CANDIDATE * (len(candidates) + 1)
        # Turns of members may be those of an earlier balancer.
        self._turns = max((candidate.member.turn for candidate in candidates), default=self._turns)

    def enter(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self.changed(candidate)

    def leave(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        candidate.stamp += 1

    def changed(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        candidate.stamp += 1
        heappush(
            self._heap, (candidate.load, candidate.member.turn, candidate.index, candidate.stamp, candidate)
        )
        if len(self._heap) > self._most:
            self._heap = [entry for entry in self._heap if entry[3] == entry[4].stamp]
            heapify(self._heap)

    def choose(self, client: str, tried: Collection[Candidate]) -> Candidate | None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        heap = self._heap
        kept: list[_Entry] = []
        chosen = ramping = passed = None
        while heap:
            entry = heap[0]
            candidate = entry[4]
            if entry[3] != candidate.stamp:
                heappop(heap)
                continue
            if not (tried and candidate in tried):
                if not candidate.is_ramping:
                    chosen = candidate
                    break
                passed = passed or candidate
                if not candidate.passes() and (ramping is None or _crowding(candidate) < _crowding(ramping)):
                    ramping = candidate
            kept.append(heappop(heap))
        for entry in kept:
            heappush(heap, entry)
        # One that comes back has the fewest connections: without the comparison it would get its share of those of all.
        if ramping is not None and (chosen is None or _crowding(ramping) < chosen.load):
            chosen = ramping
        chosen = chosen or passed  # all pass their turns on: the first of them has the lowest load
        if chosen is not None:
            self._turns += 1
            chosen.member.turn = self._turns
        return chosen


def _crowding(candidate: Candidate) -> float:
    """Connections per weight, as much of it as ``candidate`` has in its slow start."""
    return candidate.member.active * candidate.stride / candidate.share()
