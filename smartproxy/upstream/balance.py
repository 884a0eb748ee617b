"""The order in which the targets of a route are tried.

Smooth weighted round robin, nginx's algorithm of 2012: in each step every candidate gains its weight as credit, the
one with the most credit is chosen and pays the sum of all weights. With weights 5, 1, 1 it gives ``a a b a c a a``,
not ``a a a a a b c``. The sequence repeats after as many turns as the weights add up to, so it is computed once.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

from smartproxy.wire.host import is_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.model.plan import Choice, TargetPlan
    from smartproxy.upstream.turns import RouteTurn

#: Turns that are computed in advance. Weights that add up to more are scaled down to it; each candidate keeps at
#: least one turn.
_LONGEST_ROUND = 10_000


class Candidate:
    """One host of one target.

    :ivar name: ``host:port``, or the place among the targets where a callable chooses: the same after a reload.
    :ivar is_literal: whether the host is an address and needs no name resolution.
    """

    __slots__ = ("host", "is_literal", "name", "target", "weight")

    def __init__(self, target: TargetPlan, host: str | Choice, index: int) -> None:
        self.target = target
        self.host = host
        self.weight = target.weight
        self.is_literal = isinstance(host, str) and is_address(host)
        self.name = f"{index}" if callable(host) or callable(target.port) else f"{host}:{target.port}"


class RoundRobin:
    """The candidates of one route as one configuration has them.

    :param turn: how many turns the route has had; it outlives this object.
    :ivar candidates: all of them, those of weight 0 last.

    A candidate of weight 0 gets connections only when all others have failed.
    """

    def __init__(self, targets: tuple[TargetPlan, ...], turn: RouteTurn) -> None:
        candidates = [
            Candidate(target, host, index)
            for index, target in enumerate(targets)
            for host in (target.hosts if isinstance(target.hosts, tuple) else (target.hosts,))
        ]
        self.candidates = sorted(candidates, key=lambda candidate: not candidate.weight)
        self._round = _round(self.candidates)
        self._turn = turn
        turn.keep({candidate.name for candidate in candidates})

    def order(self) -> Iterator[Candidate]:
        """The candidate whose turn it is, then the others in configured order, to be tried when it fails."""
        if not self._round:
            return
        chosen = self._round[self._turn.taken % len(self._round)]
        self._turn.taken += 1
        yield chosen
        for candidate in self.candidates:
            if candidate is not chosen:
                yield candidate


def _round(candidates: list[Candidate]) -> list[Candidate]:
    """One whole round: each candidate as often as its weight says, spread evenly."""
    weighted = [candidate for candidate in candidates if candidate.weight]
    if not weighted:
        return candidates
    divisor = max(
        gcd(*(candidate.weight for candidate in weighted)),
        sum(candidate.weight for candidate in weighted) // _LONGEST_ROUND,
    )
    weights = [max(1, candidate.weight // divisor) for candidate in weighted]
    return [weighted[index] for index in _smooth(weights)]


def _smooth(weights: list[int]) -> Iterator[int]:
    """Indices of ``weights``, one round of smooth weighted round robin."""
    credit = [0] * len(weights)
    total = sum(weights)
    for _ in range(total):
        for index, weight in enumerate(weights):
            credit[index] += weight
        richest = max(range(len(weights)), key=credit.__getitem__)
        credit[richest] -= total
        yield richest
