"""Connecting to a target of a route: candidates are tried in turn until one is connected.

As long as nothing has been sent to a target, another can replace it. The client's bytes are buffered meanwhile; a
client that disconnects cancels the attempt in progress. All attempts of a connection share one :class:`_Budget` of time:
with twenty dead targets, its client must not wait twenty times ``connectionTimeout``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.errors import DialAbandoned, DialFailed, NameNotResolved, ResumptionFailed
from smartproxy.model.address import Endpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.net.keep_alive import Option, options
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
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.net.interfaces import IDialer
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.group import Group, Groups
    from smartproxy.upstream.interfaces import IResolver
    from smartproxy.upstream.log_limit import LogLimit
    from smartproxy.upstream.member import DialResult, Member
    from smartproxy.upstream.originate_tls import Originate
    from smartproxy.upstream.request_tls import RequestTls

#: ``connectionTimeout`` limits each step of an attempt, and this many times it limits all attempts of a connection together,
#: so that two dead targets still leave the third its full time. HAProxy makes at most four attempts of ``timeout connect``.
TOTAL = 3
#: Targets that are tried for one connection. One client must not make a proxy dial a thousand dead ones.
MOST_TRIES = 32
#: A step has at least this time in seconds: 0 would be no limit.
_SHORTEST = 0.001

_RESULTS: dict[RejectReason, DialResult] = {
    RejectReason.UPSTREAM_REFUSED: "refused",
    RejectReason.UPSTREAM_TIMEOUT: "timeout",
    RejectReason.UPSTREAM_UNREACHABLE: "unreachable",
    RejectReason.TLS_ERROR: "tls_error",
}

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
    :ivar on_closed: to be called when the connection has ended: its TLS session may be used again.
    """

    __slots__ = ("_candidate", "_group", "address", "exchanged", "header", "on_closed", "side", "target")

    def __init__(
        self, side: Side, address: Endpoint, candidate: Candidate, group: Group, header: bytes
    ) -> None:
        self.side = side
        self.address = address
        self.target = candidate.target
        self.header = header
        self.exchanged = (0, 0)
        self.on_closed: Callable[[], None] = _nothing
        self._candidate = candidate
        self._group = group

    @property
    def member(self) -> Member:
        """The member of the group that it is connected to."""
        return self._candidate.member

    def closed(self, record: ConnectionRecord) -> None:
        """The connection has ended. Its bytes are added to those of the target."""
        member = self._candidate.member
        member.received += record.bytes_received
        member.sent += record.bytes_sent
        self._group.release(self._candidate)
        self.on_closed()


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
    :param groups: the targets; they outlive this configuration.
    :param log_limit: which failures are logged; likewise.
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
    ) -> None:
        self._dialer = dialer
        self._resolver = resolver
        self._clock = clock
        self._counters = counters
        self._originate = originate
        self._request_tls = request_tls
        self._groups = groups
        self._log_limit = log_limit
        self._keep_alive: dict[RoutePlan, tuple[Option, ...]] = {}

    async def __call__(
        self,
        routed: Routed,
        header: Callable[[TargetPlan], bytes] = _no_header,
        require_live: Callable[[], None] = _always_live,
    ) -> Connected:
        """A connection to one of the route's targets, paused. It counts for the target until :meth:`Connected.closed`.

        :param header: the PROXY header for a target; with both, it precedes the target's TLS.
        :param require_live: raises if the client's connection was ended; called after each wait.
        :raises DialFailed: where every target that was tried has failed, or no time is left for the next one; the
            reason is that of the last one tried.
        :raises Refused: where no target may be used, or none has room.
        """
        route = routed.route
        assert route.group is not None  # noqa: S101 - the route forwards
        group, client = self._groups.of(route.group), routed.detected.announced.client.host
        candidate = group.take(client) or await group.wait_for_room(client)
        budget = _Budget(self._clock, route.timeouts.connection, require_live)
        tried: list[Candidate] = []
        while True:
            try:
                connected = await self._try(candidate, group, routed, header, budget)
            except DialFailed as why:
                self._failed(candidate, group, route, why)
                tried.append(candidate)
                following = (
                    None if budget.is_spent() or len(tried) >= MOST_TRIES else group.take(client, tried)
                )
                if following is None:
                    raise
                candidate = following
            except BaseException:
                group.withdrawn(candidate)
                raise
            else:
                group.succeeded(candidate)
                self._counters.route(route.name).dial_seconds.observe(self._clock.seconds() - budget.began)
                return connected

    def _failed(self, candidate: Candidate, group: Group, route: RoutePlan, why: DialFailed) -> None:
        """Count the failure of a candidate. It is logged, at most once per interval."""
        detail = ascii(why.detail)[1:-1]
        if not isinstance(why, NameNotResolved) and self._may_log(route, candidate.name):
            log.warn("route {route}: {why}", route=route.name, why=detail)
        gave_up = isinstance(why, DialAbandoned)
        group.failed(candidate, _RESULTS.get(why.reason, "unreachable"), detail, gave_up=gave_up)

    def _may_log(self, route: RoutePlan, what: str) -> bool:
        return self._log_limit.may_log(route.name, what, self._clock.seconds())

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
        group: Group,
        routed: Routed,
        header: Callable[[TargetPlan], bytes],
        budget: _Budget,
    ) -> Connected:
        target, route = candidate.target, routed.route
        host, port = candidate.host, target.port
        if callable(host):
            host = await chosen_host(host, routed, budget.seconds(), self._clock)
        if callable(port):
            port = await chosen_port(port, routed, budget.seconds(), self._clock)
        attempt = partial(
            self._dial, candidate, group, routed.detected.port if port is None else port, route, budget
        )
        try:
            return await self._open(candidate, group, host, attempt, routed, budget, header(target))
        except ResumptionFailed as refused:
            # Some targets end the connection instead of declining a session. Nothing of the client was sent yet.
            self._log_refused_session(candidate, route, refused)
        return await self._open(candidate, group, host, attempt, routed, budget, header(target), resume=False)

    async def _open(
        self,
        candidate: Candidate,
        group: Group,
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
        connected = Connected(side, side.address, candidate, group, header)
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

    def _dial(
        self, candidate: Candidate, group: Group, port: int, route: RoutePlan, budget: _Budget, host: str
    ) -> Deferred[Upstream]:
        keep_alive = self._keep_alive.get(route)
        if keep_alive is None:
            keep_alive = self._keep_alive[route] = (
                options(route.keep_alive) if route.keep_alive.enabled else ()
            )
        factory = UpstreamFactory(Endpoint(host, port), keep_alive=keep_alive)
        dialed = factory.dial(self._dialer, budget.seconds())
        if not dialed.called:
            pending = self._groups.pending
            pending.add(factory, group.hesitates, candidate, budget)
            dialed.addBoth(pending.ended, factory)
        return dialed
