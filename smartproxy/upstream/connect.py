"""Connecting to a target of a route: candidates are tried in turn until one is connected.

As long as nothing has been sent to a target, another can replace it. The client's bytes are buffered meanwhile; a
client that disconnects cancels the attempt in progress. All attempts of a connection share one :class:`DialBudget` of time:
with twenty dead targets, its client must not wait twenty times ``connectionTimeout``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from smartproxy.errors import DialAbandoned, DialFailed, LocalShortage, NameNotServed
from smartproxy.flow.coroutines import unfailed
from smartproxy.model.outcome import RejectReason
from smartproxy.upstream.budget import DialBudget, UnrecordedDials
from smartproxy.wire.postgres import ALPN

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.metrics.counters import Counters
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import RoutePlan, TargetPlan
    from smartproxy.upstream.attempt import Attempts
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.connected import Connected
    from smartproxy.upstream.dial_log import DialLog
    from smartproxy.upstream.group import Group
    from smartproxy.upstream.groups import Groups
    from smartproxy.upstream.interfaces import DialProgress
    from smartproxy.upstream.member import DialResult
    from smartproxy.upstream.pool import PooledAttempts

    #: A group, and which of its targets has its turn; ``None`` where the client has to wait for one.
    Turn: TypeAlias = tuple[Group, Candidate | None]

#: Targets that are tried for one connection. One client must not make a proxy dial a thousand dead ones.
MOST_TRIES = 32

_RESULTS: dict[RejectReason, DialResult] = {
    RejectReason.UPSTREAM_REFUSED: "refused",
    RejectReason.UPSTREAM_TIMEOUT: "timeout",
    RejectReason.UPSTREAM_UNREACHABLE: "unreachable",
    RejectReason.TLS_ERROR: "tls_error",
}


def _no_header(_: TargetPlan) -> bytes:
    return b""


def _always_live() -> None:
    """Do not raise: the caller has no client that could disconnect."""


class Connect:
    """Connects to the targets of routes.

    :param attempt: connects to one candidate.
    :param clock: of the reactor.
    :param groups: the targets; they outlive this configuration.
    :param postgres_routes: gets the names of routes by which a PostgreSQL client was connected; likewise.
    """

    def __init__(
        self,
        attempt: Attempts | PooledAttempts,
        clock: IReactorTime,
        counters: Counters,
        groups: Groups,
        dial_log: DialLog,
        postgres_routes: set[str],
    ) -> None:
        self._attempt = attempt
        self._clock = clock
        self._counters = counters
        self._groups = groups
        self._by_name = groups.by_name
        self._log = dial_log
        self._postgres_routes = postgres_routes

    async def __call__(
        self,
        routed: Routed,
        header: Callable[[TargetPlan], bytes] = _no_header,
        require_live: Callable[[], None] = _always_live,
        progress: DialProgress | None = None,
        turn: Turn | None = None,
    ) -> Connected:
        """A connection to one of the route's targets, paused. It counts for the target until :meth:`Connected.closed`.

        :param header: the PROXY header for a target; with both, it precedes the target's TLS.
        :param require_live: raises if the client's connection was ended; called after each wait.
        :param progress: gets what is dialed.
        :param turn: what :meth:`take` has returned for it, where that was called before.
        :raises DialFailed: where every target that was tried has failed, or no time is left for the next one; the
            reason is that of the last one tried, the detail that of all.
        :raises Refused: where no target may be used, or none has room.
        """
        route, client = routed.route, routed.detected.announced.client.host
        group, candidate = turn or self.take(routed)
        if candidate is None:
            candidate = await unfailed(group.wait_for_room(client, route.timeouts.connection))
        budget = DialBudget(
            self._clock, route.timeouts.connection, require_live, progress or UnrecordedDials()
        )
        tried: list[Candidate] = []
        failed: DialFailed | None = None
        try:
            while candidate is not None:
                try:
                    connected = await self._attempt(candidate, group, routed, header, budget)
                except DialFailed as why:
                    self._failed(candidate, group, route, why, failed)
                    failed = why
                    tried.append(candidate)
                    spent = budget.is_spent() or len(tried) >= MOST_TRIES
                    candidate = None if spent else group.take(client, tried)
                except BaseException:  # the client disconnected, or a callable raised
                    budget.progress.dial_seconds = budget.passed()
                    group.withdrawn(candidate)
                    raise
                else:
                    self._succeeded(connected, candidate, group, routed, budget)
                    return connected
            budget.progress.dial_seconds = budget.passed()
            raise cast("DialFailed", failed)
        finally:
            del failed  # its traceback refers to this frame: a reference cycle that holds the connection

    def take(self, routed: Routed) -> Turn:
        """Assign a target of the route's group.

        :raises Refused: where no target may be used.
        """
        plan = routed.route.group
        assert plan is not None  # noqa: S101 - the route forwards
        group = self._by_name.get(plan.name) or self._groups.of(plan)
        return group, group.take(routed.detected.announced.client.host)

    async def to(self, candidate: Candidate, routed: Routed, header: bytes) -> Connected:
        """A connection to one candidate of the route, paused. It takes no turn, and is not measured.

        :param header: the PROXY header.
        :raises DialFailed: where it cannot be connected.
        """
        budget = DialBudget(self._clock, routed.route.timeouts.connection, _always_live, UnrecordedDials())
        try:
            return await self._attempt(candidate, None, routed, lambda _: header, budget)
        except DialFailed as why:
            self._log.failed(candidate, routed.route, why)
            raise

    def candidates(self, route: RoutePlan) -> list[Candidate]:
        """Every host of every target of ``route``."""
        return [] if route.group is None else self._groups.of(route.group).candidates

    def _succeeded(
        self, connected: Connected, candidate: Candidate, group: Group, routed: Routed, budget: DialBudget
    ) -> None:
        budget.progress.member = candidate.member
        if connected.is_reused:  # nothing was dialed
            return
        seconds = budget.progress.dial_seconds = budget.passed()
        name, hello = routed.route.name, routed.detected.hello
        group.succeeded(candidate)
        self._counters.route(name).dial_seconds.observe(seconds)
        if hello is not None and (routed.detected.start_tls or ALPN in hello.alpn):
            self._postgres_routes.add(name)

    def _failed(
        self, candidate: Candidate, group: Group, route: RoutePlan, why: DialFailed, before: DialFailed | None
    ) -> None:
        """Count the failure of a candidate, and log it.

        :param before: the failure of the one that was tried before it, whose detail ``why`` gets, too.
        """
        self._log.failed(candidate, route, why)
        result, detail = _RESULTS.get(why.reason, "unreachable"), ascii(why.detail)[1:-1]
        group.failed(
            candidate,
            result,
            detail,
            blameless=isinstance(why, (LocalShortage, NameNotServed)),
            abandoned=isinstance(why, DialAbandoned),
        )
        if before is not None:
            why.detail = f"{before.detail}; {why.detail}"
