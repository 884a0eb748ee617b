"""The better of two: two candidates drawn at random by weight, and of these the one with the lower load.

Several proxies in front of the same targets do not all choose the same one, as they may with least connections
(Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
"""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from smartproxy.upstream.candidate import Candidate


class RandomTwo:
    """The better of two.

    :param random: returns numbers from 0 to 1.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._inside: dict[Candidate, None] = {}
        self._drawn_from: list[Candidate] = []
        self._sums: list[int] = []

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._inside = {}
        self._drawn_from = []

    def enter(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._inside[candidate] = None
        self._drawn_from = []

    def leave(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        self._inside.pop(candidate, None)
        self._drawn_from = []

    def changed(self, candidate: Candidate) -> None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`. The load is read when two are drawn."""

    def choose(self, client: str, tried: Collection[Candidate]) -> Candidate | None:
        """See :class:`~smartproxy.upstream.interfaces.Balancer`."""
        if not self._inside:
            return None
        if not self._drawn_from:
            self._drawn_from = list(self._inside)
            self._sums = list(accumulate(candidate.weight for candidate in self._drawn_from))
        one, other = self._draw(), self._draw()
        chosen = other if other.load < one.load else one
        if (tried and chosen in tried) or (chosen.is_ramping and chosen.passes()):
            left = [candidate for candidate in self._inside if candidate not in tried]
            settled = [candidate for candidate in left if not candidate.is_ramping]
            return min(settled or left, key=lambda candidate: candidate.load, default=None)
        return chosen

    def _draw(self) -> Candidate:
        # The product may round up to the whole sum.
        at = bisect(self._sums, self._random() * self._sums[-1])
        return self._drawn_from[min(at, len(self._drawn_from) - 1)]
