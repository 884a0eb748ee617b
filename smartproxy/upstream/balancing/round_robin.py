"""Weighted round robin: in turn, in proportion to the weights, spread evenly.

Each candidate is due at a virtual time. The one that is due first is chosen, and is due again after 1/weight. With the
weights 5, 1, 1 that is ``a a b a a c a`` and not ``a a a a a b c``. haproxy's ``roundrobin`` works alike. Unlike a
sequence computed in advance, it follows each change of weights and candidates at once, and choosing one of a thousand
costs one step in a heap.

The virtual time at which a member is due is kept in the member, so that a reload changes no turn. It may be of an earlier
balancer, whose time was another one, where the group had another algorithm in between. So a candidate that enters is due within
one of its turns from now.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from smartproxy.upstream.candidate import Candidate

#: Turns that candidates in their slow start pass on before one of them is chosen: after an outage of a thousand targets, each
#: may pass on a hundred. As they are whole rounds, the one that is chosen is another one each time.
_MOST_PASSED = 1000


class RoundRobin:
    """In turn."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Candidate]] = []
        self._now = 0.0
        self._inside = 0

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._heap = []
        self._inside = 0
        for place, candidate in enumerate(candidates):
            if candidate.member.due is None:
                # Spread, so that several heavy ones do not all come before the first light one.
                candidate.member.due = self._now + candidate.stride * place / len(candidates)

    def enter(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`. One that was away does not catch up, and is not behind either."""
        self._inside += 1
        if not candidate.queued:
            candidate.queued = True
            due = min(max(candidate.member.due or 0.0, self._now), self._now + candidate.stride)
            candidate.member.due = due
            heappush(self._heap, (due, candidate.index, candidate))

    def leave(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`. It stays in the heap until it is due."""
        self._inside -= 1

    def changed(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`. The number of connections does not matter."""

    def choose(self, client: str, tried: Collection[Candidate]) -> Candidate | None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        heap = self._heap
        kept: list[tuple[float, int, Candidate]] | None = None
        chosen = None
        passed = 0
        while heap:
            due, index, candidate = heap[0]
            if not candidate.inside:
                heappop(heap)
                candidate.queued = False
                continue
            if tried and candidate in tried:
                kept = kept or []
                kept.append(heappop(heap))
                continue
            following = candidate.member.due = due + candidate.stride
            heapreplace(heap, (following, index, candidate))
            if not kept:  # else time has not come so far: those are due before
                self._now = due
            if not (candidate.is_ramping and candidate.passes()) or passed >= self._most_passed():
                chosen = candidate
                break
            passed += 1
        if kept:
            heap += kept
            heapify(heap)
        return chosen

    def _most_passed(self) -> int:
        return self._inside * max(1, _MOST_PASSED // max(self._inside, 1))
