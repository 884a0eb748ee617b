"""Connecting to a target of a route: candidates are tried in turn until one is connected.

As long as nothing has been sent to a target, another can replace it. The client's bytes are buffered meanwhile; a
client that disconnects cancels the attempt in progress.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.errors import DialFailed
from smartproxy.model.address import Endpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.net.keep_alive import Option, options
from smartproxy.upstream.balance import Candidate, RoundRobin
from smartproxy.upstream.choice import chosen_host, chosen_port
from smartproxy.upstream.connection import Upstream, UpstreamFactory
from smartproxy.upstream.race import Race
from smartproxy.wire.host import is_address, unmapped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.flow.side import Side
    from smartproxy.metrics.counters import Counters
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import RoutePlan, TargetPlan
    from smartproxy.net.interfaces import IDialer
    from smartproxy.upstream.interfaces import IResolver
    from smartproxy.upstream.originate_tls import Originate
    from smartproxy.upstream.request_tls import RequestTls
    from smartproxy.upstream.turns import Turns

log = Logger()


class Connected:
    """A connection to a target, with its TLS established where the target has any.

    :ivar header: PROXY header that is still to be sent, before the client's bytes.
    :ivar exchanged: payload bytes already sent to the target, and already received from it.
    :ivar on_closed: to be called when the connection has ended.
    """

    __slots__ = ("address", "exchanged", "header", "on_closed", "side", "target")

    def __init__(self, side: Side, address: Endpoint, target: TargetPlan, header: bytes) -> None:
        self.side = side
        self.address = address
        self.target = target
        self.header = header
        self.exchanged = (0, 0)
        self.on_closed: Callable[[], None] = _nothing


def _nothing() -> None:
    """A connection without TLS has no session to keep."""


def _no_header(_: TargetPlan) -> bytes:
    return b""


def _always_live() -> None:
    """Do not raise: the caller has no client that could disconnect."""


class Connect:
    """Connects to the targets of routes.

    :param clock: of the reactor: its ``seconds``, and its ``callLater`` for races between addresses.
    :param originate: begins TLS with targets that have TLS.
    :param request_tls: asks a target for TLS first, as PostgreSQL's clients do.
    :param turns: the state of balancing, which outlives this configuration.
    """

    def __init__(
        self,
        dialer: IDialer,
        resolver: IResolver,
        clock: IReactorTime,
        counters: Counters,
        originate: Originate,
        request_tls: RequestTls,
        turns: Turns,
    ) -> None:
        self._dialer = dialer
        self._resolver = resolver
        self._clock = clock
        self._counters = counters
        self._originate = originate
        self._request_tls = request_tls
        self._turns = turns
        self._balance: dict[RoutePlan, RoundRobin] = {}
        self._keep_alive: dict[RoutePlan, tuple[Option, ...]] = {}

    async def __call__(
        self,
        routed: Routed,
        header: Callable[[TargetPlan], bytes] = _no_header,
        require_live: Callable[[], None] = _always_live,
    ) -> Connected:
        """A connection to one of the route's targets, paused.

        :param header: the PROXY header for a target; with both, it precedes the target's TLS.
        :param require_live: raises if the client's connection was ended; called after each wait.
        :raises DialFailed: where every candidate failed; the reason is that of the last one.
        """
        route = routed.route
        began = self._clock.seconds()
        failed: DialFailed | None = None
        for candidate in self._candidates(route).order():
            try:
                connected = await self._try(candidate, routed, header, require_live)
            except DialFailed as why:
                self._log(candidate, route, why)
                failed = why
            else:
                self._counters.route(route.name).dial_seconds.observe(self._clock.seconds() - began)
                return connected
        try:
            raise failed or DialFailed(RejectReason.UPSTREAM_UNREACHABLE, "the route has no target")
        finally:
            del failed  # its traceback refers to this frame: a reference cycle that holds the connection

    def _candidates(self, route: RoutePlan) -> RoundRobin:
        balance = self._balance.get(route)
        if balance is None:
            balance = self._balance[route] = RoundRobin(route.targets, self._turns.of(route.name))
        return balance

    def _log(self, candidate: Candidate, route: RoutePlan, why: DialFailed) -> None:
        """Log the failure of a candidate, at most once per interval: a dead one may fail a thousand times a second."""
        if self._turns.of(route.name).may_log(candidate.name, self._clock.seconds()):
            log.warn("route {route}: {why}", route=route.name, why=ascii(why.detail)[1:-1])

    async def _try(
        self,
        candidate: Candidate,
        routed: Routed,
        header: Callable[[TargetPlan], bytes],
        require_live: Callable[[], None],
    ) -> Connected:
        side, host = await self._reach(candidate, routed, require_live)
        try:
            require_live()
            target = candidate.target
            connected = Connected(side, side.address, target, header(target))
            if target.tls is not None or routed.detected.start_tls:
                await self._begin_tls(connected, routed, host)
        except BaseException:  # this connection has no other owner yet
            side.transport.abortConnection()
            raise
        return connected

    async def _reach(
        self, candidate: Candidate, routed: Routed, require_live: Callable[[], None]
    ) -> tuple[Upstream, str]:
        """A TCP connection to a candidate, and the host that was chosen."""
        target, route = candidate.target, routed.route
        host, port = candidate.host, target.port
        if callable(host):
            host = await chosen_host(host, routed, self._clock)
            require_live()
        if callable(port):
            port = await chosen_port(port, routed, self._clock)
        require_live()
        attempt = partial(self._dial, routed.detected.port if port is None else port, route)
        if candidate.is_literal or is_address(host):
            return await attempt(unmapped(host)), host
        addresses = await self._resolve(host, route)
        require_live()
        if len(addresses) == 1:
            return await attempt(addresses[0]), host
        return await Race(addresses, attempt, self._clock).start(), host

    async def _begin_tls(self, connected: Connected, routed: Routed, host: str) -> None:
        """Begin the target's TLS, if it has any, and ask for it where the client asked.

        A client that asked for TLS (PostgreSQL) has been answered in the target's place. In passthrough the target
        must still be asked, and its question and answer are payload. Where TLS is terminated here, question and answer
        were ours; a target with TLS of its own is then asked as the client asked us.
        """
        tls, seconds = connected.target.tls, routed.route.timeouts.tls_handshake
        asked, terminated = routed.detected.start_tls, routed.route.tls is not None
        # Whatever is in front of the target's TLS reads the PROXY header in plain text.
        connected.side.transport.write(connected.header)
        connected.header = b""
        if asked and terminated and tls is not None:
            await self._request_tls(connected.side, host, seconds)
        if tls is not None:
            encrypted = await self._originate(connected.side, tls, host, seconds)
            connected.side, connected.on_closed = encrypted.side, encrypted.on_closed
        if asked and not terminated:
            connected.exchanged = await self._request_tls(connected.side, host, seconds)

    def _resolve(self, host: str, route: RoutePlan) -> Deferred[Sequence[str]]:
        """Addresses of ``host``, within ``connectionTimeout``."""
        answer, timeout = self._resolver.resolve(host), route.timeouts.connection

        def give_up(_: object, after: float) -> None:
            raise DialFailed(RejectReason.UPSTREAM_TIMEOUT, f"{host} is not resolved in {after} s")

        if timeout and not answer.called:  # most answers are cached and need no timer
            answer.addTimeout(timeout, self._clock, give_up)
        return answer

    def _dial(self, port: int, route: RoutePlan, host: str) -> Deferred[Upstream]:
        keep_alive = self._keep_alive.get(route)
        if keep_alive is None:
            keep_alive = self._keep_alive[route] = (
                options(route.keep_alive) if route.keep_alive.enabled else ()
            )
        factory = UpstreamFactory(Endpoint(host, port), keep_alive=keep_alive)
        return factory.dial(self._dialer, route.timeouts.connection)
