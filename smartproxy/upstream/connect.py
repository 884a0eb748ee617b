"""Connecting to a target of a route: candidates are tried in turn until one is connected.

As long as nothing has been sent to a target, another can replace it. The client's bytes are buffered meanwhile; a
client that disconnects cancels the attempt in progress. All attempts of a connection share one :class:`_Budget` of time:
with twenty dead targets, its client must not wait twenty times ``connectionTimeout``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from twisted.logger import Logger

from smartproxy.errors import DialFailed, NameNotResolved, ResumptionFailed
from smartproxy.model.address import Endpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.net.keep_alive import Option, options
from smartproxy.upstream.balance import Candidate, RoundRobin
from smartproxy.upstream.choice import chosen_host, chosen_port, chosen_target
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

#: ``connectionTimeout`` limits each step of an attempt, and this many times it limits all attempts of a connection together,
#: so that two dead targets still leave the third its full time. HAProxy makes at most four attempts of ``timeout connect``.
TOTAL = 3
#: A step has at least this time in seconds: 0 would be no limit.
_SHORTEST = 0.001

log = Logger()


class _Budget:
    """The time that a connection has for all its attempts, as long as its client is connected.

    :param limit: ``connectionTimeout`` in seconds; 0 is no limit.
    :ivar require_live: raises if the client's connection was ended.
    :ivar began: monotonic seconds.
    """

    __slots__ = ("_clock", "_limit", "began", "require_live")

    def __init__(self, clock: IReactorTime, limit: float, require_live: Callable[[], None]) -> None:
        self.require_live = require_live
        self._clock = clock
        self._limit = limit
        self.began = clock.seconds()

    def seconds(self) -> float:
        """The time that the next step may take, in seconds; 0 is no limit. It raises for an ended connection."""
        self.require_live()
        if not self._limit:
            return 0.0
        return max(min(self._limit, self._left()), _SHORTEST)

    def is_spent(self) -> bool:
        """Whether no time is left for another target."""
        return bool(self._limit) and self._left() <= _SHORTEST

    def _left(self) -> float:
        return self.began + TOTAL * self._limit - self._clock.seconds()


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
        :raises DialFailed: where every candidate failed, or no time is left for the next one; the reason is that of the
            last one tried.
        """
        route = routed.route
        budget = _Budget(self._clock, route.timeouts.connection, require_live)
        failed: DialFailed | None = None
        for candidate in self._candidates(route).order():
            try:
                connected = await self._try(candidate, routed, header, budget)
            except DialFailed as why:
                self._log(candidate, route, why)
                failed = why
                if budget.is_spent():
                    break
            else:
                self._counters.route(route.name).dial_seconds.observe(self._clock.seconds() - budget.began)
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
        if isinstance(why, NameNotResolved):
            return
        if self._turns.of(route.name).may_log(candidate.name, self._clock.seconds()):
            log.warn("route {route}: {why}", route=route.name, why=ascii(why.detail)[1:-1])

    def _log_refused_session(self, candidate: Candidate, route: RoutePlan, why: DialFailed) -> None:
        if self._turns.of(route.name).may_log(f"{candidate.name} session", self._clock.seconds()):
            log.warn(
                "route {route}: {why}: connecting again without the former session",
                route=route.name,
                why=ascii(why.detail)[1:-1],
            )

    async def _try(
        self, candidate: Candidate, routed: Routed, header: Callable[[TargetPlan], bytes], budget: _Budget
    ) -> Connected:
        if candidate.target.made is None:
            return await self._attempt(candidate, routed, header, budget)
        target = await chosen_target(candidate.target, routed, budget.seconds(), self._clock)
        hosts = cast("tuple[str, ...]", target.hosts)
        *others, last = [Candidate(target, host, 0) for host in hosts]
        for one in others:
            try:
                return await self._attempt(one, routed, header, budget)
            except DialFailed as why:
                self._log(candidate, routed.route, why)
        return await self._attempt(last, routed, header, budget)

    async def _attempt(
        self, candidate: Candidate, routed: Routed, header: Callable[[TargetPlan], bytes], budget: _Budget
    ) -> Connected:
        target, route = candidate.target, routed.route
        host, port = candidate.host, target.port
        if callable(host):
            host = await chosen_host(host, routed, budget.seconds(), self._clock)
        if callable(port):
            port = await chosen_port(port, routed, budget.seconds(), self._clock)
        attempt = partial(self._dial, routed.detected.port if port is None else port, route, budget)
        try:
            return await self._open(candidate, host, attempt, routed, budget, header(target))
        except ResumptionFailed as refused:
            # Some targets end the connection instead of declining a session. Nothing of the client was sent yet.
            self._log_refused_session(candidate, route, refused)
        return await self._open(candidate, host, attempt, routed, budget, header(target), resume=False)

    async def _open(
        self,
        candidate: Candidate,
        host: str,
        attempt: Callable[[str], Deferred[Upstream]],
        routed: Routed,
        budget: _Budget,
        header: bytes,
        *,
        resume: bool = True,
    ) -> Connected:
        """A connection to ``host``, with its TLS. ``attempt`` dials one address."""
        target = candidate.target
        if candidate.is_literal or is_address(host):
            side = await attempt(unmapped(host))
        else:
            addresses = await self._resolve(host, budget)
            if len(addresses) == 1:
                side = await attempt(addresses[0])
            else:
                side = await Race(addresses, attempt, self._clock).start()
        connected = Connected(side, side.address, target, header)
        try:
            budget.require_live()
            if target.tls is not None or routed.detected.start_tls:
                await self._begin_tls(connected, routed, host, resume=resume)
        except BaseException:  # the connection has no other owner yet
            side.transport.abortConnection()
            raise
        return connected

    async def _begin_tls(self, connected: Connected, routed: Routed, host: str, *, resume: bool) -> None:
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
            hello = routed.detected.hello
            name = tls.name_for(host, None if hello is None else hello.server_name)
            encrypted = await self._originate(connected.side, tls, name, seconds, resume=resume)
            connected.side, connected.on_closed = encrypted.side, encrypted.on_closed
        if asked and not terminated:
            connected.exchanged = await self._request_tls(connected.side, host, seconds)

    def _resolve(self, host: str, budget: _Budget) -> Deferred[Sequence[str]]:
        """Addresses of ``host``."""
        answer = self._resolver.resolve(host)

        def give_up(_: object, after: float) -> None:
            raise NameNotResolved(
                RejectReason.UPSTREAM_TIMEOUT, f"{host} is not resolved in {round(after, 3)} s"
            )

        if not answer.called:  # most answers are cached and need no timer
            timeout = budget.seconds()
            if timeout:
                answer.addTimeout(timeout, self._clock, give_up)
        return answer

    def _dial(self, port: int, route: RoutePlan, budget: _Budget, host: str) -> Deferred[Upstream]:
        keep_alive = self._keep_alive.get(route)
        if keep_alive is None:
            keep_alive = self._keep_alive[route] = (
                options(route.keep_alive) if route.keep_alive.enabled else ()
            )
        factory = UpstreamFactory(Endpoint(host, port), keep_alive=keep_alive)
        return factory.dial(self._dialer, budget.seconds())
