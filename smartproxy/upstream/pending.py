"""Dials that have not been answered yet, so that a target that does not answer costs one client its time and not all.

A target behind a filter drops what it is sent: a dial ends at ``connectionTimeout`` only, and until then as many clients
wait as were assigned to it. So a target that has not answered for :data:`SLOW` seconds hesitates: new connections go to
others, and so do those that wait for it, except the one that has waited longest. What comes of that one decides.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.connection import UpstreamFactory
    from smartproxy.upstream.member import Member

    #: The dial; what is told that the candidate does not answer, and returns whether others take its place; the candidate;
    #: whose the dial is, because the addresses of a name are dialed in parallel for one client; when it has begun.
    PendingDial: TypeAlias = tuple[UpstreamFactory, Callable[[Candidate], bool], Candidate, object, float]

#: Seconds without an answer. A lost SYN is sent again after one (RFC 6298, section 2), so less would be too hasty.
SLOW = 1.0


class PendingDials:
    """The dials in progress of all groups.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._dials: deque[PendingDial] = deque()
        #: Adds a dial that has begun. Most end within milliseconds: those that have ended are dropped by the next sweep.
        self.add = self._dials.append

    def __len__(self) -> int:
        return sum(dial[0].is_pending for dial in self._dials)

    def sweep(self) -> None:
        """Let the clients of targets that hesitate go to others; to be called about once per second."""
        latest = self._clock() - SLOW
        first: dict[Member, object] = {}
        pending = [dial for dial in self._dials if dial[0].is_pending]
        self._dials.clear()
        self._dials.extend(pending)
        for factory, hesitates, candidate, client, since in pending:
            if since > latest:
                break
            member = candidate.member
            if member not in first and hesitates(candidate):
                first[member] = client
            elif first.get(member, client) is not client:
                factory.give_up(SLOW)
