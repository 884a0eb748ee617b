"""Connections to targets that wait for another request: the one that was used last is used first.

::

    group, candidate = connect.take(routed)               # whose turn it is
    connected = pool.take(candidate, group, routed)       # an idle connection to it, or None
    pool.put(connected, idle_timeout=60, most=64)         # after an answer, if both sides let the connection persist

The last one first, so that those above the present need idle until they are closed. A connection is used again only for the
same member, host, port, source and TLS; where a target gets a PROXY header, never, because the header is for one client. The
request that tries an ejected target gets a new connection: an idle one does not tell whether the target accepts connections.

A target may close an idle connection at any time. Who reads it (:attr:`Connected.reader`) removes it then, and also when bytes
are received that nobody asked for; that a target closes while a request is on its way cannot be excluded, and is for the
sender to repair.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from smartproxy.upstream.connected import IdleConnections
from smartproxy.upstream.member import Dials

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import TargetPlan
    from smartproxy.upstream.attempt import Attempts
    from smartproxy.upstream.budget import DialBudget
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.connected import Connected
    from smartproxy.upstream.group import Group

_PROBING = Dials.PROBING


class Pool:
    """The idle connections to all targets. It outlives reloads."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._alike: WeakValueDictionary[Hashable, IdleConnections] = WeakValueDictionary()

    def __len__(self) -> int:
        return sum(len(alike.waiting) for alike in list(self._alike.values()))

    def idle_by_group(self) -> Counter[str]:
        """The number of idle connections to the targets of each group."""
        found: Counter[str] = Counter()
        for alike in list(self._alike.values()):
            if alike.waiting:
                found[alike.waiting[0].member.group] += len(alike.waiting)
        return found

    def put(self, connected: Connected, idle_timeout: float, most: int) -> None:
        """Keep a connection, whose use has ended.

        :param idle_timeout: seconds. Servers close theirs after 5 s (Node), 60 s (AWS) or 75 s (nginx).
        :param most: how many of the same kind are kept; one more closes the oldest.
        """
        alike = connected.alike
        if alike is None or connected.side.is_lost:
            connected.close()
        else:
            alike.put(connected, idle_timeout, most)

    def take(self, candidate: Candidate, group: Group | None, routed: Routed) -> Connected | None:
        """The connection to ``candidate`` that was used last; ``None`` where none is idle, or ``candidate`` is to be dialed."""
        alike = candidate.alike if candidate.is_alike_known else self.alike(candidate, routed)
        if alike is None or not alike.waiting or candidate.member.dials is _PROBING:
            return None
        connected = alike.waiting.pop()
        connected.use_again(candidate, group)
        return connected

    def alike(self, candidate: Candidate, routed: Routed) -> IdleConnections | None:
        """Those to which a connection to ``candidate`` belongs while it is idle; ``None`` where it is used once."""
        if routed.detected.start_tls:
            return None
        key = _key(candidate, routed)
        alike = None if key is None else self._alike.get(key)
        if key is not None and alike is None:
            alike = self._alike[key] = IdleConnections(self._deadlines)
        if candidate.target.port is not None:
            candidate.alike, candidate.is_alike_known = alike, True
        return alike

    def close(self) -> None:
        """Close all."""
        for alike in list(self._alike.values()):
            alike.close_all()


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
        connected = self._pool.take(candidate, group, routed)
        if connected is not None:
            budget.progress.target = connected.address
            return connected
        connected = await self._attempts(candidate, group, routed, header, budget)
        connected.alike = self._pool.alike(candidate, routed)
        return connected


def _key(candidate: Candidate, routed: Routed) -> Hashable:
    """What connections must have in common to be used for each other's requests; ``None`` where they must not be."""
    target = candidate.target
    by_client = target.send_header is not None or (target.tls is not None and target.tls.client_name)
    if by_client or candidate.is_chosen or target.made is not None:
        return None
    port = routed.detected.port if target.port is None else target.port
    return candidate.member, candidate.host, port, target.source, target.tls
