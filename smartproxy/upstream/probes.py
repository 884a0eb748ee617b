"""Which ejected candidates wait for a connection that tries them, in the order in which they may be tried."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from smartproxy.upstream.member import Dials
from smartproxy.upstream.state_log import log_up_again

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from smartproxy.model.plan import PassiveHealthPlan
    from smartproxy.upstream.candidate import Candidate

_EJECTED = Dials.EJECTED


class DueProbes(OrderedDict["Candidate", None]):
    """The ejected candidates of one group: a dictionary, so that a connection pays nothing while none is ejected."""

    def note(self, candidate: Candidate, now: float) -> None:
        """The state of ``candidate`` may have changed; ``now`` is in monotonic seconds."""
        member = candidate.member
        self.pop(candidate, None)
        if member.dials is _EJECTED and member.passed and member.by_hand is None and candidate.weight:
            self[candidate] = None
            if member.probe_at <= now:  # the client of its probe has left
                self.move_to_end(candidate, last=False)

    def due(
        self, now: float, tried: Collection[Candidate], may_probe: Callable[[Candidate], bool]
    ) -> Candidate | None:
        """The first one whose time is over, which was not ``tried``, and which the group lets the client probe."""
        for candidate in self:
            if candidate.member.probe_at > now:
                return None
            if may_probe(candidate) and candidate not in tried:
                return candidate
        return None


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
