"""Targets at a ``maxConnections`` that several processes share, whose room is found out by looking again.

Where every connection is one of this process, its end makes room, and the group notices. Other processes do not notify
this one. So a group looks at such targets again before it assigns a connection, and every 20 ms while clients wait: a
client waits so much longer than it had to, at most. Clients that wait in several processes are served in any order.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sized

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.shared_targets import SharedTargets

#: Seconds between two looks while clients wait.
_INTERVAL: Final = 0.02
#: Candidates that are looked at for one connection: of a thousand that are full, not all for each client.
_MOST: Final = 32


class CrowdedTargets(dict["Candidate", None]):
    """Those of one group: a dictionary, so that a connection pays nothing while there is none.

    :param queue: the clients that wait; always the same object.
    """

    def __init__(self, clock: IReactorTime, queue: Sized) -> None:
        super().__init__()
        self._clock = clock
        self._queue = queue
        self._next: IDelayedCall | None = None
        self._is_shared = False

    def note(self, candidate: Candidate, *, is_crowded: bool) -> None:
        """Whether ``candidate``, whose limit is shared, would get connections, but has no room."""
        self._is_shared = True
        self.pop(candidate, None)
        if is_crowded:
            self[candidate] = None  # behind the others: those are looked at first

    def look_again(self, place: Callable[[Candidate], None], most: int = _MOST) -> None:
        """Look at up to ``most`` candidates, those first that were looked at longest ago.

        :param place: lets the balancer choose a candidate if it has room, and calls :meth:`note`.
        """
        for candidate in list(islice(self, most)):
            place(candidate)

    def watch(self, place: Callable[[Candidate], None], serve: Callable[[], None]) -> None:
        """Look again soon, if clients wait.

        :param serve: assigns candidates to clients that wait, and calls this if some still do.
        """
        # Also where all candidates have room again: the one that was chosen may have been filled just then.
        if self._is_shared and self._queue and self._next is None:
            self._next = self._clock.callLater(_INTERVAL, self._look, place, serve)

    def _look(self, place: Callable[[Candidate], None], serve: Callable[[], None]) -> None:
        self._next = None
        if self._queue:
            self.look_again(place, len(self))
            serve()


def share_limits(candidates: Iterable[Candidate], shared: SharedTargets | None) -> None:
    """Share the limits of ``candidates`` with other processes, if there are any."""
    if shared is None:
        return
    for member in (candidate.member for candidate in candidates if candidate.limit):
        if member.shared is None:
            member.shared = shared.of_target(member.group, member.name)
            member.shared.set(member.active)
