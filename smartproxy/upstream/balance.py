"""Which target is next.

Smooth weighted round robin, nginx's algorithm of 2012: every candidate earns its weight each time, the richest is
chosen and pays the sum of all. With weights 5, 1, 1 it gives ``a a b a c a a``, not ``a a a a a b c``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.model.plan import Choice, TargetPlan


class Candidate:
    """One host of one target."""

    __slots__ = ("credit", "host", "target", "weight")

    def __init__(self, target: TargetPlan, host: str | Choice) -> None:
        self.target = target
        self.host = host
        self.weight = target.weight
        self.credit = 0


class RoundRobin:
    """The candidates of one route, and whose turn it is."""

    def __init__(self, targets: tuple[TargetPlan, ...]) -> None:
        self._candidates = [candidate for target in targets for candidate in _hosts(target)]
        self._total = sum(candidate.weight for candidate in self._candidates)

    def order(self) -> Iterator[Candidate]:
        """Whose turn it is, and then the others in the order of the file, for when that one fails.

        A weight of 0 gets connections only when all others have failed.
        """
        chosen = self._next()
        yield chosen
        for candidate in self._candidates:
            if candidate is not chosen:
                yield candidate

    def _next(self) -> Candidate:
        if len(self._candidates) == 1:
            return self._candidates[0]
        for candidate in self._candidates:
            candidate.credit += candidate.weight
        chosen = max(self._candidates, key=_credit)
        chosen.credit -= self._total
        return chosen


def _credit(candidate: Candidate) -> int:
    return candidate.credit


def _hosts(target: TargetPlan) -> Iterator[Candidate]:
    if callable(target.hosts):
        yield Candidate(target, target.hosts)
    else:
        for host in target.hosts:
            yield Candidate(target, host)
