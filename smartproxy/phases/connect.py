"""Connecting to a target: whose turn it is, and the others where that fails.

While nothing has been sent to a target, another can take its place: each candidate of the route is tried
once, in turn, until one stands. The client's bytes are held meanwhile; a client that leaves cancels what is
under way.
"""

from __future__ import annotations

from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from smartproxy.errors import DialFailed
from smartproxy.model.address import Endpoint, is_address, unmapped
from smartproxy.model.outcome import RejectReason
from smartproxy.upstream.balance import Candidate, RoundRobin
from smartproxy.upstream.connection import Upstream, UpstreamFactory
from smartproxy.upstream.race import Race

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.interfaces import IDialer, IResolver
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import Choice, RoutePlan, TargetPlan
    from smartproxy.model.tallies import Tallies

log = Logger()

#: Seconds in which the failing of a target is logged once.
_TELL = 5.0


class Connected:
    """A target that has been connected to."""

    __slots__ = ("address", "side", "target")

    def __init__(self, side: Upstream, address: Endpoint, target: TargetPlan) -> None:
        self.side = side
        self.address = address
        self.target = target


class Connect:
    """Connects to the targets of routes.

    :param clock: of the reactor: its ``seconds`` and, to race several addresses, its ``callLater``.
    """

    def __init__(self, dialer: IDialer, resolver: IResolver, clock: IReactorTime, tallies: Tallies) -> None:
        self._dialer = dialer
        self._resolver = resolver
        self._clock = clock
        self._tallies = tallies
        self._balance: dict[RoutePlan, RoundRobin] = {}

    async def __call__(self, routed: Routed) -> Connected:
        """A connection to one of the route's targets, paused.

        :raises DialFailed: where none could be connected to; it is the last one's reason.
        """
        route = routed.route
        balance = self._balance.get(route)
        if balance is None:
            balance = self._balance[route] = RoundRobin(route.targets)
        began = self._clock.seconds()
        failed: DialFailed | None = None
        for candidate in balance.order():
            try:
                connected = await self._candidate(candidate, routed)
            except DialFailed as why:
                self._tell(candidate, route, why)
                failed = why
            else:
                self._tallies.route(route.name).dial_seconds.observe(self._clock.seconds() - began)
                return connected
        raise failed or DialFailed(RejectReason.UPSTREAM_UNREACHABLE, "the route has no target")

    def _tell(self, candidate: Candidate, route: RoutePlan, why: DialFailed) -> None:
        """One line a candidate and while: under load, a dead one fails a thousand times a second."""
        now = self._clock.seconds()
        if now >= candidate.tell_at:
            candidate.tell_at = now + _TELL
            log.warn("route {route}: {why}", route=route.name, why=ascii(why.detail)[1:-1])

    async def _candidate(self, candidate: Candidate, routed: Routed) -> Connected:
        target = candidate.target
        host = await _chosen(candidate.host, routed) if callable(candidate.host) else candidate.host
        port = await _chosen(target.port, routed) if callable(target.port) else target.port
        if port is None:
            port = routed.detected.port
        route = routed.route
        attempt = partial(self._attempt, port, route)
        if candidate.literal or is_address(host):
            side = await attempt(unmapped(host))
        else:
            addresses = await self._resolver.resolve(host)
            if len(addresses) == 1:
                side = await attempt(addresses[0])
            else:
                side = await Race(addresses, attempt, self._clock).start()
        return Connected(side, side.address, target)

    def _attempt(self, port: int, route: RoutePlan, host: str) -> Deferred[Upstream]:
        factory = UpstreamFactory(Endpoint(host, port), keep_alive=route.keep_alive.enabled)
        return factory.dial(self._dialer, route.timeouts.connection)


async def _chosen(choice: Choice, routed: Routed) -> Any:
    """What an embedder's callable chooses; what it raises ends the connection, and is logged there."""
    answer: Any = choice(routed)
    return await answer if isawaitable(answer) or isinstance(answer, Deferred) else answer
