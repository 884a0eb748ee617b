"""Connecting to a target of a route: candidates are tried in turn until one is connected.

As long as nothing has been sent to a target, another can replace it. The client's bytes are buffered meanwhile; a
client that disconnects cancels the attempt in progress. All attempts of a connection share one :class:`DialBudget` of time:
with twenty dead targets, its client must not wait twenty times ``connectionTimeout``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import fail
from twisted.logger import Logger

from smartproxy.errors import DialFailed, NameNotResolved, ResumptionFailed
from smartproxy.flow.coroutines import unfailed
from smartproxy.model.address import Endpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.net.keep_alive import Option, options, without_probes
from smartproxy.security.loops import own_source
from smartproxy.upstream.balance import Candidate, RoundRobin
from smartproxy.upstream.budget import DialBudget, UnrecordedDials
from smartproxy.upstream.choice import chosen_host, chosen_port, chosen_target
from smartproxy.upstream.connection import Upstream, UpstreamFactory
from smartproxy.upstream.race import Race
from smartproxy.wire.host import is_address, unmapped
from smartproxy.wire.postgres import ALPN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.flow.side import Side
    from smartproxy.metrics.counters import Counters
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import RoutePlan, TargetPlan
    from smartproxy.net.interfaces import IDialer
    from smartproxy.security.loops import Loops
    from smartproxy.upstream.interfaces import DialProgress, IResolver
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


def _call_both(first: Callable[[], None], second: Callable[[], None]) -> None:
    first()
    second()


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
    :param loops: recognises connections to listeners of this proxy; likewise.
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
        loops: Loops,
    ) -> None:
        self._dialer = dialer
        self._resolver = resolver
        self._clock = clock
        self._counters = counters
        self._originate = originate
        self._request_tls = request_tls
        self._turns = turns
        self._loops = loops
        self._balance: dict[RoutePlan, RoundRobin] = {}
        self._keep_alive: dict[RoutePlan, tuple[Option, ...]] = {}

    async def __call__(
        self,
        routed: Routed,
        header: Callable[[TargetPlan], bytes] = _no_header,
        require_live: Callable[[], None] = _always_live,
        progress: DialProgress | None = None,
    ) -> Connected:
        """A connection to one of the route's targets, paused.

        :param header: the PROXY header for a target; with both, it precedes the target's TLS.
        :param require_live: raises if the client's connection was ended; called after each wait.
        :param progress: gets what is dialed.
        :raises DialFailed: where every candidate failed, or no time is left for the next one; the reason is that of the
            last one tried, the detail that of all.
        """
        route = routed.route
        budget = DialBudget(
            self._clock, route.timeouts.connection, require_live, progress or UnrecordedDials()
        )
        failed: DialFailed | None = None
        for candidate in self._candidates(route).order():
            try:
                connected = await self._try(candidate, routed, header, budget)
            except DialFailed as why:
                self._log(candidate, route, why)
                if failed is not None:
                    why.detail = f"{failed.detail}; {why.detail}"
                failed = why
                if budget.is_spent():
                    break
            except BaseException:  # the client disconnected, or a callable raised
                budget.progress.dial_seconds = budget.passed()
                raise
            else:
                seconds = budget.progress.dial_seconds = budget.passed()
                self._counters.route(route.name).dial_seconds.observe(seconds)
                hello = routed.detected.hello
                if hello is not None and (routed.detected.start_tls or ALPN in hello.alpn):
                    self._turns.postgres.add(route.name)
                return connected
        budget.progress.dial_seconds = budget.passed()
        try:
            raise failed or DialFailed(RejectReason.UPSTREAM_UNREACHABLE, "the route has no target")
        finally:
            del failed  # its traceback refers to this frame: a reference cycle that holds the connection

    async def to(self, candidate: Candidate, routed: Routed, header: bytes) -> Connected:
        """A connection to one candidate of the route, paused. It takes no turn, and is not measured.

        :param header: the PROXY header.
        :raises DialFailed: where it cannot be connected.
        """
        budget = DialBudget(self._clock, routed.route.timeouts.connection, _always_live, UnrecordedDials())
        try:
            return await self._try(candidate, routed, lambda _: header, budget)
        except DialFailed as why:
            self._log(candidate, routed.route, why)
            raise

    def candidates(self, route: RoutePlan) -> list[Candidate]:
        """Every host of every target of ``route``."""
        return self._candidates(route).candidates

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
        self, candidate: Candidate, routed: Routed, header: Callable[[TargetPlan], bytes], budget: DialBudget
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
        self, candidate: Candidate, routed: Routed, header: Callable[[TargetPlan], bytes], budget: DialBudget
    ) -> Connected:
        target, route = candidate.target, routed.route
        host, port = candidate.host, target.port
        if callable(host):
            host = await chosen_host(host, routed, budget.seconds(), self._clock)
        if callable(port):
            port = await chosen_port(port, routed, budget.seconds(), self._clock)
        if port is None:
            port = routed.detected.port
        attempt = partial(self._dial, port, routed, target.source, budget)
        try:
            return await self._open(candidate, host, attempt, routed, budget, header(target))
        except NameNotResolved:
            budget.progress.target = Endpoint(host, port)  # nothing was dialed
            raise
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
        budget: DialBudget,
        header: bytes,
        *,
        resume: bool = True,
    ) -> Connected:
        """A connection to ``host``, with its TLS. ``attempt`` dials one address."""
        target = candidate.target
        if candidate.is_literal or is_address(host):
            address = unmapped(host)
            if target.source:
                _of_family(target.source, (address,), host)
            side = await unfailed(attempt(address))
        else:
            addresses = await unfailed(self._resolve(host, budget))
            if target.source:
                addresses = _of_family(target.source, addresses, host)
            if len(addresses) == 1:
                side = await unfailed(attempt(addresses[0]))
            else:
                side = await unfailed(Race(addresses, attempt, self._clock).start())
        forget = side.on_closed
        connected = Connected(side, side.address, target, header)
        try:
            budget.require_live()
            if target.tls is not None or routed.detected.start_tls:
                await self._begin_tls(connected, routed, host, resume=resume)
        except BaseException:  # the connection has no other owner yet
            side.transport.abortConnection()
            if forget is not None:
                forget()
            raise
        if forget is not None:
            connected.on_closed = partial(_call_both, connected.on_closed, forget)
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

    def _resolve(self, host: str, budget: DialBudget) -> Deferred[Sequence[str]]:
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

    def _dial(
        self, port: int, routed: Routed, source: str, budget: DialBudget, host: str
    ) -> Deferred[Upstream]:
        route = routed.route
        keep_alive = self._keep_alive.get(route)
        if keep_alive is None:
            keep_alive = self._keep_alive[route] = options(without_probes(route.keep_alive))
        factory = UpstreamFactory(Endpoint(host, port), keep_alive=keep_alive, source=source)
        budget.progress.target = factory.to
        budget.progress.attempts += 1
        if port in self._loops.ports:
            return self._dial_own_port(factory, routed, budget)
        return factory.dial(self._dialer, budget.seconds())

    def _dial_own_port(
        self, factory: UpstreamFactory, routed: Routed, budget: DialBudget
    ) -> Deferred[Upstream]:
        """Dial the port number of a listener of this proxy, on this machine or another one."""
        to, peer, loops = factory.to, routed.detected.announced.accepted.peer, self._loops
        try:
            loops.check(to, peer, routed.route.name)
        except DialFailed as loop:
            return fail(loop)
        # The reactor connects later, and is to choose the port now: the connection may be accepted before it is reported.
        if not factory.source and not self._dialer.connects_at_once:
            factory.source = own_source(to.host)
        dialed = factory.dial(self._dialer, budget.seconds())
        local = factory.local_address()
        if local is not None and loops.add(local, to, peer, routed.route.name):
            factory.on_end = partial(loops.forget, local)
        return dialed


def _of_family(source: str, addresses: Sequence[str], host: str) -> Sequence[str]:
    """Those of ``addresses`` that can be reached from the local address ``source``: of its family.

    :raises DialFailed: if ``host`` has none.
    """
    fitting = [address for address in addresses if (":" in address) == (":" in source)]
    if not fitting:
        family = "IPv6" if ":" in source else "IPv4"
        why = f"{host} has no {family} address to connect to from {source}"
        raise DialFailed(RejectReason.UPSTREAM_UNREACHABLE, why)
    return fitting
