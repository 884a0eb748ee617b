"""Which ejected candidates wait for a connection that tries them, in the order in which they may be tried."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from math import inf
from operator import itemgetter
from typing import TYPE_CHECKING

from smartproxy.upstream.member import Dials
from smartproxy.upstream.state_log import log_up_again

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from smartproxy.model.plan import PassiveHealthPlan
    from smartproxy.upstream.candidate import Candidate

_EJECTED = Dials.EJECTED


class DueProbes(list["tuple[float, int, Candidate]"]):
    """The ejected candidates of one group, each with its ``probe_at``, sorted.

    A list, so that a connection pays nothing while none is ejected.
    """

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[Candidate, tuple[float, int, Candidate]] = {}

    def clear(self) -> None:
        """Forget all."""
        super().clear()
        self._entries.clear()

    def note(self, candidate: Candidate) -> None:
        """The state of ``candidate`` may have changed."""
        entry = self._entries.pop(candidate, None)
        if entry is not None:
            del self[bisect_left(self, entry)]
        member = candidate.member
        if member.dials is _EJECTED and member.passed and member.by_hand is None and candidate.weight:
            entry = self._entries[candidate] = member.probe_at, candidate.index, candidate
            insort(self, entry)

    def due(
        self, now: float, tried: Collection[Candidate], may_probe: Callable[[Candidate], bool]
    ) -> Candidate | None:
        """The first one whose time is over, which was not ``tried``, and which the group lets the client probe.

        :param now: monotonic seconds.
        """
        for probe_at, _, candidate in self:
            if probe_at > now:
                return None
            if may_probe(candidate) and candidate not in tried:
                return candidate
        return None

    def next_at(self, since: float) -> float:
        """When the first one may be tried that could not be at ``since``; infinite where there is none. In monotonic seconds."""
        at = bisect_right(self, since, key=itemgetter(0))
        return self[at][0] if at < len(self) else inf


def readmit(
    group: str, candidates: Iterable[Candidate], passive: PassiveHealthPlan | None, now: float
) -> None:
    """End the ejections of candidates of ``group`` that failed dials do not eject any more.

    :param passive: when dials eject; ``None``: never.
    """
    for candidate in candidates:
        if candidate.member.dials is not Dials.HEALTHY and (passive is None or candidate.is_chosen):
            candidate.member.readmit(now)
            log_up_again(group, candidate.name, "passiveHealth is off")
