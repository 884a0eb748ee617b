"""Connecting to a target of a route: candidates are tried in turn until one is connected.

As long as nothing has been sent to a target, another can replace it. The client's bytes are buffered meanwhile; a
client that disconnects cancels the attempt in progress. All attempts of a connection share one :class:`DialBudget` of time:
with twenty dead targets, its client must not wait twenty times ``connectionTimeout``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from twisted.internet.defer import fail
from twisted.logger import Logger

from smartproxy.errors import DialAbandoned, DialFailed, NameNotResolved, ResumptionFailed
from smartproxy.flow.coroutines import unfailed
from smartproxy.model.address import Endpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.net.keep_alive import Option, options, without_probes
from smartproxy.security.loops import own_source
from smartproxy.upstream.budget import DialBudget, UnrecordedDials
from smartproxy.upstream.choice import chosen_host, chosen_port, chosen_target
from smartproxy.upstream.connected import Connected
from smartproxy.upstream.connection import Upstream, UpstreamFactory
from smartproxy.upstream.race import Race
from smartproxy.wire.host import is_address, unmapped
from smartproxy.wire.postgres import ALPN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.metrics.counters import Counters
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import Choice, RoutePlan, TargetPlan
    from smartproxy.net.interfaces import IDialer
    from smartproxy.security.loops import Loops
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.group import Group, Groups
    from smartproxy.upstream.interfaces import DialProgress, IResolver
    from smartproxy.upstream.log_limit import LogLimit
    from smartproxy.upstream.member import DialResult
    from smartproxy.upstream.originate_tls import Originate
    from smartproxy.upstream.request_tls import RequestTls

#: Targets that are tried for one connection. One client must not make a proxy dial a thousand dead ones.
MOST_TRIES = 32

_RESULTS: dict[RejectReason, DialResult] = {
    RejectReason.UPSTREAM_REFUSED: "refused",
    RejectReason.UPSTREAM_TIMEOUT: "timeout",
    RejectReason.UPSTREAM_UNREACHABLE: "unreachable",
    RejectReason.TLS_ERROR: "tls_error",
}

log = Logger()


class _DialTerms(NamedTuple):
    """What is tried for one connection.

    :ivar candidate: whose turn it is.
    :ivar group: ``None`` where the connection takes no turn.
    :ivar target: that of the candidate, or what its callable has chosen.
    :ivar host: likewise.
    :ivar header: the PROXY header for a target.
    """

    candidate: Candidate
    group: Group | None
    target: TargetPlan
    host: str | Choice
    routed: Routed
    header: Callable[[TargetPlan], bytes]
    budget: DialBudget


def _no_header(_: TargetPlan) -> bytes:
    return b""


def _always_live() -> None:
    """Do not raise: the caller has no client that could disconnect."""


class Connect:
    """Connects to the targets of routes.

    :param clock: of the reactor: its ``seconds``, and its ``callLater`` for races between addresses.
    :param originate: begins TLS with targets that have TLS.
    :param request_tls: asks a target for TLS first, as PostgreSQL's clients do.
    :param groups: the targets; they outlive this configuration.
    :param log_limit: which failures are logged; likewise.
    :param loops: recognises connections to listeners of this proxy; likewise.
    :param postgres_routes: gets the names of routes by which a PostgreSQL client was connected; likewise.
    """

    def __init__(
        self,
        dialer: IDialer,
        resolver: IResolver,
        clock: IReactorTime,
        counters: Counters,
        originate: Originate,
        request_tls: RequestTls,
        groups: Groups,
        log_limit: LogLimit,
        loops: Loops,
        postgres_routes: set[str],
    ) -> None:
        self._dialer = dialer
        self._resolver = resolver
        self._clock = clock
        self._counters = counters
        self._originate = originate
        self._request_tls = request_tls
        self._groups = groups
        self._log_limit = log_limit
        self._loops = loops
        self._postgres_routes = postgres_routes
        self._keep_alive: dict[RoutePlan, tuple[Option, ...]] = {}

    async def __call__(
        self,
        routed: Routed,
        header: Callable[[TargetPlan], bytes] = _no_header,
        require_live: Callable[[], None] = _always_live,
        progress: DialProgress | None = None,
    ) -> Connected:
        """A connection to one of the route's targets, paused. It counts for the target until :meth:`Connected.closed`.

        :param header: the PROXY header for a target; with both, it precedes the target's TLS.
        :param require_live: raises if the client's connection was ended; called after each wait.
        :param progress: gets what is dialed.
        :raises DialFailed: where every target that was tried has failed, or no time is left for the next one; the
            reason is that of the last one tried, the detail that of all.
        :raises Refused: where no target may be used, or none has room.
        """
        route = routed.route
        assert route.group is not None  # noqa: S101 - the route forwards
        group, client = self._groups.of(route.group), routed.detected.announced.client.host
        candidate = group.take(client)
        if candidate is None:
            candidate = await unfailed(group.wait_for_room(client))
        budget = DialBudget(
            self._clock, route.timeouts.connection, require_live, progress or UnrecordedDials()
        )
        try:
            return await self._connected(group, candidate, routed, header, budget)
        finally:
            budget.progress.dial_seconds = budget.passed()

    async def _connected(
        self,
        group: Group,
        first: Candidate,
        routed: Routed,
        header: Callable[[TargetPlan], bytes],
        budget: DialBudget,
    ) -> Connected:
        """A connection to ``first``, which the group has assigned, or to one of those that follow it."""
        route, client = routed.route, routed.detected.announced.client.host
        candidate: Candidate | None = first
        tried: list[Candidate] = []
        failed: DialFailed | None = None
        while candidate is not None:
            try:
                connected = await self._try(candidate, group, routed, header, budget)
            except DialFailed as why:
                self._failed(candidate, group, route, why)
                if failed is not None:
                    why.detail = f"{failed.detail}; {why.detail}"
                failed = why
                tried.append(candidate)
                spent = budget.is_spent() or len(tried) >= MOST_TRIES
                candidate = None if spent else group.take(client, tried)
            except BaseException:  # the client disconnected, or a callable raised
                group.withdrawn(candidate)
                raise
            else:
                self._succeeded(candidate, group, routed, budget)
                return connected
        try:
            raise cast("DialFailed", failed)
        finally:
            del failed  # its traceback refers to this frame: a reference cycle that holds the connection

    async def to(self, candidate: Candidate, routed: Routed, header: bytes) -> Connected:
        """A connection to one candidate of the route, paused. It takes no turn, and is not measured.

        :param header: the PROXY header.
        :raises DialFailed: where it cannot be connected.
        """
        budget = DialBudget(self._clock, routed.route.timeouts.connection, _always_live, UnrecordedDials())
        try:
            return await self._try(candidate, None, routed, lambda _: header, budget)
        except DialFailed as why:
            self._log_failure(candidate, routed.route, why)
            raise

    def candidates(self, route: RoutePlan) -> list[Candidate]:
        """Every host of every target of ``route``."""
        return [] if route.group is None else self._groups.of(route.group).candidates

    def _succeeded(self, candidate: Candidate, group: Group, routed: Routed, budget: DialBudget) -> None:
        name, hello = routed.route.name, routed.detected.hello
        group.succeeded(candidate)
        self._counters.route(name).dial_seconds.observe(budget.passed())
        budget.progress.member = candidate.member
        if hello is not None and (routed.detected.start_tls or ALPN in hello.alpn):
            self._postgres_routes.add(name)

    def _failed(self, candidate: Candidate, group: Group, route: RoutePlan, why: DialFailed) -> None:
        """Count the failure of a candidate, and log it."""
        self._log_failure(candidate, route, why)
        gave_up = isinstance(why, DialAbandoned)
        group.failed(
            candidate, _RESULTS.get(why.reason, "unreachable"), ascii(why.detail)[1:-1], gave_up=gave_up
        )

    def _may_log(self, route: RoutePlan, what: str) -> bool:
        return self._log_limit.may_log(route.name, what, self._clock.seconds())

    def _log_failure(self, candidate: Candidate, route: RoutePlan, why: DialFailed) -> None:
        """Log the failure of a candidate, at most once per interval: a dead one may fail a thousand times a second."""
        if not isinstance(why, NameNotResolved) and self._may_log(route, candidate.name):
            log.warn("route {route}: {why}", route=route.name, why=ascii(why.detail)[1:-1])

    def _log_refused_session(self, candidate: Candidate, route: RoutePlan, why: DialFailed) -> None:
        if self._may_log(route, f"{candidate.name} session"):
            log.warn(
                "route {route}: {why}: connecting again without the former session",
                route=route.name,
                why=ascii(why.detail)[1:-1],
            )

    async def _try(
        self,
        candidate: Candidate,
        group: Group | None,
        routed: Routed,
        header: Callable[[TargetPlan], bytes],
        budget: DialBudget,
    ) -> Connected:
        target = candidate.target
        attempt = _DialTerms(candidate, group, target, candidate.host, routed, header, budget)
        if target.made is None:
            return await self._attempt(attempt)
        target = await chosen_target(target, routed, budget.seconds(), self._clock)
        *others, last = cast("tuple[str, ...]", target.hosts)
        for host in others:
            try:
                return await self._attempt(attempt._replace(target=target, host=host))
            except DialFailed as why:
                self._log_failure(candidate, routed.route, why)
        return await self._attempt(attempt._replace(target=target, host=last))

    async def _attempt(self, attempt: _DialTerms) -> Connected:
        target, routed, budget = attempt.target, attempt.routed, attempt.budget
        host, port = attempt.host, target.port
        if callable(host):
            host = await chosen_host(host, routed, budget.seconds(), self._clock)
        if callable(port):
            port = await chosen_port(port, routed, budget.seconds(), self._clock)
        if port is None:
            port = routed.detected.port
        try:
            return await self._open(attempt, host, port)
        except NameNotResolved:
            budget.progress.target = Endpoint(host, port)  # nothing was dialed
            raise
        except ResumptionFailed as refused:
            # Some targets end the connection instead of declining a session. Nothing of the client was sent yet.
            self._log_refused_session(attempt.candidate, routed.route, refused)
        return await self._open(attempt, host, port, resume=False)

    async def _open(self, attempt: _DialTerms, host: str, port: int, *, resume: bool = True) -> Connected:
        """A connection to ``host``, with its TLS."""
        candidate, target, routed = attempt.candidate, attempt.target, attempt.routed
        dial = partial(self._dial, attempt, port)
        if candidate.is_literal or is_address(host):
            address = unmapped(host)
            if target.source:
                _of_family(target.source, (address,), host)
            side = await unfailed(dial(address))
        else:
            addresses = await unfailed(self._resolve(host, attempt.budget))
            if target.source:
                addresses = _of_family(target.source, addresses, host)
            if len(addresses) == 1:
                side = await unfailed(dial(addresses[0]))
            else:
                side = await unfailed(Race(addresses, dial, self._clock).start())
        forget = side.on_closed
        connected = Connected(side, side.address, target, candidate, attempt.group, attempt.header(target))
        try:
            attempt.budget.require_live()
            if target.tls is not None or routed.detected.start_tls:
                await self._begin_tls(connected, routed, host, resume=resume)
        except BaseException:  # the connection has no other owner yet
            side.transport.abortConnection()
            if forget is not None:
                forget()
            raise
        if forget is not None:
            connected.also_on_closed(forget)
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

    def _dial(self, attempt: _DialTerms, port: int, host: str) -> Deferred[Upstream]:
        """Dial one address."""
        route, budget, group = attempt.routed.route, attempt.budget, attempt.group
        keep_alive = self._keep_alive.get(route)
        if keep_alive is None:
            keep_alive = self._keep_alive[route] = options(without_probes(route.keep_alive))
        factory = UpstreamFactory(Endpoint(host, port), keep_alive=keep_alive, source=attempt.target.source)
        budget.progress.target = factory.to
        budget.progress.attempts += 1
        if port in self._loops.ports:
            dialed = self._dial_own_port(factory, attempt.routed, budget)
        else:
            dialed = factory.dial(self._dialer, budget.seconds())
        if group is not None and not dialed.called:
            pending = self._groups.pending
            pending.add(factory, group.hesitates, attempt.candidate, budget)
            dialed.addBoth(pending.ended, factory)
        return dialed

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
