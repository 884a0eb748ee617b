"""Which target is next.

Smooth weighted round robin, nginx's algorithm of 2012: every candidate earns its weight each time, the
richest is chosen and pays the sum of all. With weights 5, 1, 1 it gives ``a a b a c a a``, not ``a a a a a b c``.
The order repeats itself after as many turns as the weights add up to, so it is worked out once.
"""

from __future__ import annotations

from itertools import cycle
from math import gcd
from typing import TYPE_CHECKING

from smartproxy.wire.host import is_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.model.plan import Choice, TargetPlan

#: Turns that are worked out in advance. Weights that add up to more are divided down to it; each keeps at
#: least one turn.
_LONGEST = 10_000


class Candidate:
    """One host of one target.

    :ivar literal: whether the host is an address, and needs no resolving.
    :ivar tell_at: when the next failure may be logged, in monotonic seconds.
    """

    __slots__ = ("host", "literal", "target", "tell_at", "weight")

    def __init__(self, target: TargetPlan, host: str | Choice) -> None:
        self.target = target
        self.host = host
        self.weight = target.weight
        self.literal = isinstance(host, str) and is_address(host)
        self.tell_at = float("-inf")


class RoundRobin:
    """The candidates of one route, and whose turn it is.

    A weight of 0 gets connections only when all others have failed.
    """

    def __init__(self, targets: tuple[TargetPlan, ...]) -> None:
        candidates = (candidate for target in targets for candidate in _hosts(target))
        self._candidates = sorted(candidates, key=lambda candidate: not candidate.weight)
        self._turns = cycle(_turns(self._candidates))

    def order(self) -> Iterator[Candidate]:
        """Whose turn it is, and then the others in the order of the file, for when that one fails."""
        chosen = next(self._turns, None)
        if chosen is None:
            return
        yield chosen
        for candidate in self._candidates:
            if candidate is not chosen:
                yield candidate


def _hosts(target: TargetPlan) -> Iterator[Candidate]:
    if callable(target.hosts):
        yield Candidate(target, target.hosts)
    else:
        for host in target.hosts:
            yield Candidate(target, host)


def _turns(candidates: list[Candidate]) -> list[Candidate]:
    """One whole round."""
    weighted = [candidate for candidate in candidates if candidate.weight]
    if not weighted:
        return candidates
    divisor = max(
        gcd(*(candidate.weight for candidate in weighted)),
        sum(candidate.weight for candidate in weighted) // _LONGEST,
    )
    weights = [max(1, candidate.weight // divisor) for candidate in weighted]
    return [weighted[index] for index in _smooth(weights)]


def _smooth(weights: list[int]) -> Iterator[int]:
    credit = [0] * len(weights)
    total = sum(weights)
    for _ in range(total):
        for index, weight in enumerate(weights):
            credit[index] += weight
        richest = max(range(len(weights)), key=credit.__getitem__)
        credit[richest] -= total
        yield richest
