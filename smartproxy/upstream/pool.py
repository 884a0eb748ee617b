"""Connections to targets that wait for another request: the one that was used last is used first.

::

    pooled = PooledAttempts(attempts, pool)      # in the place of attempts, for requests: an idle connection or a new one
    pool.put(connected)                          # after an answer, if both sides let the connection persist

The last one first, so that those above the present need idle until they are closed. A connection is used again only for the
same member, host, port, source and TLS; where a target gets a PROXY header, never, because the header is for one client.

A target may close an idle connection at any time. Its FIN, or bytes that nobody asked for, remove the connection; that it
closes while a request is on its way cannot be excluded, and is for the sender to repair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from twisted.python.failure import Failure

    from smartproxy.flow.deadline import Deadline, Deadlines
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import TargetPlan
    from smartproxy.upstream.attempt import Attempts
    from smartproxy.upstream.budget import DialBudget
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.connected import Connected
    from smartproxy.upstream.group import Group


class Pool:
    """The idle connections to all targets. It outlives reloads."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._idle: dict[Hashable, list[_Idle]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._idle.values()))

    def put(self, connected: Connected, idle_timeout: float, most: int) -> None:
        """Keep a connection, whose use has ended.

        :param idle_timeout: seconds. Servers close theirs after 5 s (Node), 60 s (AWS) or 75 s (nginx).
        :param most: how many of the same kind are kept; one more closes the oldest.
        """
        key = connected.pool_key
        if key is None or connected.side.is_lost:
            connected.close()
            return
        waiting = self._idle.setdefault(key, [])
        waiting.append(_Idle(self, connected, key, self._deadlines.call_later, idle_timeout))
        if len(waiting) > most:
            waiting[0].close()

    def take(self, key: Hashable) -> Connected | None:
        """The connection of ``key`` that was used last, paused; ``None`` where there is none."""
        waiting = self._idle.get(key)
        return waiting[-1].take() if waiting else None

    def remove(self, idle: _Idle, key: Hashable) -> None:
        """Forget one that is closed or taken."""
        waiting = self._idle[key]
        waiting.remove(idle)
        if not waiting:
            del self._idle[key]

    def close(self) -> None:
        """Close all."""
        for waiting in list(self._idle.values()):
            for idle in list(waiting):
                idle.close()


class _Idle:
    """One idle connection: the receiver of its side."""

    __slots__ = ("_connected", "_due", "_key", "_pool")

    def __init__(
        self,
        pool: Pool,
        connected: Connected,
        key: Hashable,
        call_later: Callable[[float, Callable[[], object]], Deadline],
        idle_timeout: float,
    ) -> None:
        self._pool = pool
        self._connected = connected
        self._key = key
        self._due = call_later(idle_timeout, self.close)
        connected.side.attach(self)
        connected.side.transport.resumeProducing()

    def take(self) -> Connected:
        """Give it to a request."""
        self._leave()
        self._connected.side.transport.pauseProducing()
        return self._connected

    def close(self) -> None:
        """Close it."""
        self._leave()
        self._connected.close()

    def _leave(self) -> None:
        self._due.cancel()
        self._connected.side.receiver = None
        self._pool.remove(self, self._key)

    def data_received(self, data: bytes) -> None:
        """Bytes that were not asked for: what follows could not be told from an answer."""
        self.close()

    def input_ended(self) -> None:
        """The target has closed it."""
        self.close()

    def output_ended(self) -> None:
        """Our direction has ended."""

    def lost(self, why: Failure) -> None:
        """It is lost."""
        self.close()


class PooledAttempts:
    """Connects to one candidate, or takes an idle connection to it."""

    def __init__(self, attempts: Attempts, pool: Pool) -> None:
        self._attempts = attempts
        self._pool = pool

    async def __call__(
        self,
        candidate: Candidate,
        group: Group | None,
        routed: Routed,
        header: Callable[[TargetPlan], bytes],
        budget: DialBudget,
    ) -> Connected:
        """See :class:`~smartproxy.upstream.attempt.Attempts`."""
        key = _key(candidate, routed)
        idle = None if key is None else self._pool.take(key)
        if idle is not None:
            idle.use_again(candidate, group)
            budget.progress.target = idle.address
            return idle
        connected = await self._attempts(candidate, group, routed, header, budget)
        connected.pool_key = key
        return connected


def _key(candidate: Candidate, routed: Routed) -> Hashable:
    """What connections must have in common to be used for each other's requests; ``None`` where they must not be."""
    target = candidate.target
    is_fixed = not candidate.is_chosen and not callable(candidate.host)
    by_client = target.send_header is not None or (target.tls is not None and target.tls.client_name)
    if not is_fixed or by_client or target.made is not None or routed.detected.start_tls:
        return None
    port = routed.detected.port if target.port is None else target.port
    return candidate.member, candidate.host, port, target.source, target.tls
