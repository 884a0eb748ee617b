"""Clients that wait while every target of a group is at its limit: first in, first out."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from smartproxy.errors import Refused
from smartproxy.model.outcome import RejectReason
from smartproxy.model.target_status import Upcoming

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from smartproxy.model.plan.group import QueuePlan
    from smartproxy.upstream.candidate import Candidate


#: Seconds that stand for no limit: nothing searches for as long.
_NO_LIMIT = 3600.0


class WaitingClients:
    """The queue of one group.

    One timer runs for all of them: they have the same timeout, unless a reload changes it. Another one runs until a target can be
    tried that may take the first of them.

    :ivar queue: always the same object. Every connection asks whether it is empty.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.queue: deque[_Waiting] = deque()
        self._timer: IDelayedCall | None = None
        self._expires_at = inf  # when the timer is due; its own time is one of the reactor's clock, which may be the wall clock
        self._serving: IDelayedCall | None = None
        self._serves_at = inf

    def __len__(self) -> int:
        return len(self.queue)

    @property
    def client(self) -> str:
        """The address of the first client."""
        return self.queue[0].client

    def upcoming(self, plan: QueuePlan | None) -> Upcoming:
        """What :meth:`add` would do with the next client."""
        if plan is None:
            return Upcoming("target_limit", [])
        return Upcoming("queue" if len(self.queue) < plan.size else "queue_full", [])

    def add(self, plan: QueuePlan | None, client: str, group: str) -> Deferred[Candidate]:
        """Queue a client. Cancelling the Deferred removes it.

        :param plan: ``None`` where the group has no queue.
        :raises Refused: where there is no queue, or it is full.
        """
        if plan is None:
            raise Refused(
                RejectReason.TARGET_LIMIT,
                f"every target of group {group} is at its maxConnections, and it has no queue",
            )
        if len(self.queue) >= plan.size:
            raise Refused(
                RejectReason.QUEUE_FULL, f"the queue of group {group} is full (queue.size {plan.size})"
            )
        why = f"no target of group {group} had room in {plan.timeout:g} s (queue.timeout)"
        return self._add(client, plan.timeout, Refused(RejectReason.QUEUE_TIMEOUT, why))

    def await_targets(self, client: str, seconds: float, group: str) -> Deferred[Candidate]:
        """Queue a client of a group whose targets are not known yet. Cancelling the Deferred removes it.

        :param seconds: the longest wait; 0 is no limit.
        """
        seconds = seconds or _NO_LIMIT
        late = Refused(RejectReason.NO_TARGET, f"no target of group {group} was found in {seconds:g} s")
        return self._add(client, seconds, late)

    def _add(self, client: str, seconds: float, late: Refused) -> Deferred[Candidate]:
        waiting = _Waiting(client, self._clock.seconds() + seconds, late)
        waiting.assigned = Deferred(lambda _: self._remove(waiting))
        self.queue.append(waiting)
        self._watch(waiting.until)
        return waiting.assigned

    def serve_at(self, when: float, serve: Callable[[], None]) -> None:
        """Call ``serve`` at ``when``, if clients wait then. It replaces the time of the last call.

        :param when: monotonic seconds; infinite: do not call it.
        """
        if not self.queue or when == self._serves_at:
            return
        self._stop_serving()
        if when < inf:
            self._serves_at = when
            self._serving = self._clock.callLater(max(0.0, when - self._clock.seconds()), self._serve, serve)

    def _serve(self, serve: Callable[[], None]) -> None:
        self._serving, self._serves_at = None, inf
        serve()

    def _stop_serving(self) -> None:
        if self._serving is not None:
            self._serving.cancel()
        self._serving, self._serves_at = None, inf

    def serve(self, candidate: Candidate) -> None:
        """Assign ``candidate`` to the first client."""
        waiting = self.queue.popleft()
        self._stop_if_empty()
        waiting.assigned.callback(candidate)

    def fail(self, why: Failure) -> None:
        """Fail the first client."""
        waiting = self.queue.popleft()
        self._stop_if_empty()
        waiting.assigned.errback(why)

    def refuse_all(self, why: str) -> None:
        """Refuse every client: the group has ended."""
        refused = list(self.queue)
        self.queue.clear()
        self._stop_if_empty()
        for waiting in refused:
            waiting.assigned.errback(Refused(RejectReason.NO_TARGET, why))

    def _remove(self, waiting: _Waiting) -> None:
        self.queue.remove(waiting)
        self._stop_if_empty()

    def _watch(self, until: float) -> None:
        """Let the timer run until ``until`` or less. A client that has left before is noticed when it fires."""
        left = max(0.0, until - self._clock.seconds())
        if self._timer is None:
            self._timer = self._clock.callLater(left, self._expire)
        elif until < self._expires_at:  # a reload has shortened the timeout
            self._timer.reset(left)
        else:
            return
        self._expires_at = until

    def _stop_if_empty(self) -> None:
        if self.queue:
            return
        self._stop_serving()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        expired = [waiting for waiting in self.queue if waiting.until <= now]
        left = [waiting for waiting in self.queue if waiting.until > now]
        self.queue.clear()
        self.queue.extend(left)
        self._stop_if_empty()
        if left:
            self._watch(min(waiting.until for waiting in self.queue))
        for waiting in expired:
            waiting.assigned.errback(waiting.late)


class _Waiting:
    """One client.

    :ivar until: monotonic seconds.
    :ivar late: why it is refused then.
    """

    __slots__ = ("assigned", "client", "late", "until")

    assigned: Deferred[Candidate]

    def __init__(self, client: str, until: float, late: Refused) -> None:
        self.client = client
        self.until = until
        self.late = late
