"""Dials that have not been answered yet, so that a target that does not answer costs one client its time and not all.

A target behind a filter drops what it is sent: a dial ends at ``connectionTimeout`` only, and until then as many clients
wait as were assigned to it. So a target that has not answered for :data:`SLOW` seconds hesitates: new connections go to
others, and so do those that wait for it, except the one that has waited longest. What comes of that one decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.connection import UpstreamFactory
    from smartproxy.upstream.member import Member

ResultT = TypeVar("ResultT")
#: Seconds without an answer. A lost SYN is sent again after one (RFC 6298, section 2), so less would be too hasty.
SLOW = 1.0


class PendingDials:
    """The dials in progress of all groups, oldest first.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._dials: dict[UpstreamFactory, _Dial] = {}

    def add(
        self,
        dial: UpstreamFactory,
        hesitates: Callable[[Candidate], bool],
        candidate: Candidate,
        client: object,
    ) -> None:
        """``dial`` has begun.

        :param hesitates: is told that the candidate does not answer. Returns whether others take its place.
        :param client: whose it is: the addresses of a name are dialed in parallel for one client.
        """
        self._dials[dial] = _Dial(hesitates, candidate, client, self._clock())

    def ended(self, result: ResultT, dial: UpstreamFactory) -> ResultT:
        """``dial`` has ended with ``result``."""
        del self._dials[dial]
        return result

    def sweep(self) -> None:
        """Let the clients of targets that hesitate go to others; to be called about once per second."""
        latest = self._clock() - SLOW
        first: dict[Member, object] = {}
        for factory, dial in list(self._dials.items()):
            if dial.since > latest:
                break
            member = dial.candidate.member
            if member not in first and dial.hesitates(dial.candidate):
                first[member] = dial.client
            elif first.get(member, dial.client) is not dial.client:
                factory.give_up(SLOW)


class _Dial(NamedTuple):
    hesitates: Callable[[Candidate], bool]
    candidate: Candidate
    client: object
    since: float
