"""Connecting to a target: whose turn it is, and the others where that fails.

While nothing has been sent to a target, another can take its place: each candidate of the route is tried
once, in turn, until one stands. The client's bytes are held meanwhile; a client that leaves cancels what is
under way.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from twisted.logger import Logger

from smartproxy.errors import DialFailed
from smartproxy.flow.callables import ask
from smartproxy.model.address import Endpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.net.keep_alive import Option, options
from smartproxy.upstream.balance import Candidate, RoundRobin
from smartproxy.upstream.connection import Upstream, UpstreamFactory
from smartproxy.upstream.race import Race
from smartproxy.wire.host import host_name, is_address, unmapped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.flow.side import Side
    from smartproxy.metrics.counters import Counters
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import Choice, OriginationPlan, RoutePlan, TargetPlan
    from smartproxy.net.interfaces import IDialer
    from smartproxy.upstream.interfaces import IResolver

#: RFC 9293, 3.1: sixteen bits.
_HIGHEST_PORT = 65535

log = Logger()

#: Seconds in which the failing of a target is logged once.
_TELL = 5.0


class Begun(Protocol):
    """TLS with a target that stands: :class:`~smartproxy.upstream.originate_tls.Encrypted`."""

    @property
    def side(self) -> Side: ...

    @property
    def over(self) -> Callable[[], None]: ...


#: Begins TLS on a connection, with the host of that name, within so many seconds.
Originate: TypeAlias = "Callable[[Side, OriginationPlan, str, float], Awaitable[Begun]]"

#: Asks the host of that name for TLS, as its clients do; how many bytes went to it and came from it.
RequestTls: TypeAlias = "Callable[[Side, str, float], Awaitable[tuple[int, int]]]"


class Connected:
    """A target that has been connected to.

    :ivar header: what it is still to be sent before the client's bytes.
    :ivar exchanged: payload that has gone to it already, and that has come from it, in bytes.
    :ivar over: to be called when the connection is at its end.
    """

    __slots__ = ("address", "exchanged", "header", "over", "side", "target")

    def __init__(self, side: Side, address: Endpoint, target: TargetPlan, header: bytes) -> None:
        self.side = side
        self.address = address
        self.target = target
        self.header = header
        self.exchanged = (0, 0)
        self.over: Callable[[], None] = _nothing


def _nothing() -> None:
    """A connection without TLS leaves nothing behind."""


def _no_header(_: TargetPlan) -> bytes:
    return b""


class Connect:
    """Connects to the targets of routes.

    :param clock: of the reactor: its ``seconds`` and, to race several addresses, its ``callLater``.
    :param originate: begins TLS, for those that want it. :param ask_for_tls: for those that are to be asked first.
    """

    def __init__(
        self,
        dialer: IDialer,
        resolver: IResolver,
        clock: IReactorTime,
        counters: Counters,
        originate: Originate,
        ask_for_tls: RequestTls,
    ) -> None:
        self._dialer = dialer
        self._resolver = resolver
        self._clock = clock
        self._counters = counters
        self._originate = originate
        self._ask_for_tls = ask_for_tls
        self._balance: dict[RoutePlan, RoundRobin] = {}
        self._keep_alive: dict[RoutePlan, tuple[Option, ...]] = {}

    async def __call__(self, routed: Routed, header: Callable[[TargetPlan], bytes] = _no_header) -> Connected:
        """A connection to one of the route's targets, paused.

        :param header: the PROXY header for a target. It goes before the TLS of one that wants both.
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
                connected = await self._candidate(candidate, routed, header)
            except DialFailed as why:
                self._tell(candidate, route, why)
                failed = why
            else:
                self._counters.route(route.name).dial_seconds.observe(self._clock.seconds() - began)
                return connected
        try:
            raise failed or DialFailed(RejectReason.UPSTREAM_UNREACHABLE, "the route has no target")
        finally:
            del failed  # it holds this frame, with all that the connection has

    def _tell(self, candidate: Candidate, route: RoutePlan, why: DialFailed) -> None:
        """One line a candidate and while: under load, a dead one fails a thousand times a second."""
        now = self._clock.seconds()
        if now >= candidate.tell_at:
            candidate.tell_at = now + _TELL
            log.warn("route {route}: {why}", route=route.name, why=ascii(why.detail)[1:-1])

    async def _candidate(
        self, candidate: Candidate, routed: Routed, header: Callable[[TargetPlan], bytes]
    ) -> Connected:
        target, route = candidate.target, routed.route
        host, port = candidate.host, target.port
        if callable(host):
            host = _host(await self._ask("host", host, routed), route)
        if callable(port):
            port = _port(await self._ask("port", port, routed), route)
        if port is None:
            port = routed.detected.port
        attempt = partial(self._attempt, port, route)
        if candidate.literal or is_address(host):
            side = await attempt(unmapped(host))
        else:
            addresses = await self._addresses(host, route)
            if len(addresses) == 1:
                side = await attempt(addresses[0])
            else:
                side = await Race(addresses, attempt, self._clock).start()
        connected = Connected(side, side.address, target, header(target))
        if target.tls is not None or routed.detected.start_tls:
            await self._begin_tls(connected, routed, host)
        return connected

    async def _begin_tls(self, connected: Connected, routed: Routed, host: str) -> None:
        """Go on to where the TLS of the target begins, if it has any.

        A client that asked for TLS has been answered in the target's place. Where its TLS passes through, the
        target still has to be asked, and its question and the answer are payload. Where it ends here, they
        were ours; and a target with TLS of its own is asked as the client asked us.
        """
        tls, seconds = connected.target.tls, routed.route.timeouts.tls_handshake
        asked, ended = routed.detected.start_tls, routed.route.tls is not None
        connected.side.transport.write(connected.header)  # for whoever stands before the one that decrypts
        connected.header = b""
        if asked and ended and tls is not None:
            await self._ask_for_tls(connected.side, host, seconds)
        if tls is not None:
            begun = await self._originate(connected.side, tls, host, seconds)
            connected.side, connected.over = begun.side, begun.over
        if asked and not ended:
            connected.exchanged = await self._ask_for_tls(connected.side, host, seconds)

    def _addresses(self, host: str, route: RoutePlan) -> Deferred[Sequence[str]]:
        """To dial one target takes no longer than the route allows, whatever it is that takes so long."""
        answer, timeout = self._resolver.resolve(host), route.timeouts.connection

        def give_up(_: object, after: float) -> None:
            raise DialFailed(RejectReason.UPSTREAM_TIMEOUT, f"{host} is not resolved in {after} s")

        if timeout and not answer.called:  # most are known already, and need no timer
            answer.addTimeout(timeout, self._clock, give_up)
        return answer

    def _ask(self, what: str, choice: Choice, routed: Routed) -> Coroutine[Deferred[Any], Any, Any]:
        """What it raises, or an answer that cannot be, ends the connection, and is logged there with its route."""
        return ask(what, choice, routed, routed.route.timeouts.connection, self._clock)

    def _attempt(self, port: int, route: RoutePlan, host: str) -> Deferred[Upstream]:
        keep_alive = self._keep_alive.get(route)
        if keep_alive is None:
            keep_alive = self._keep_alive[route] = (
                options(route.keep_alive) if route.keep_alive.enabled else ()
            )
        factory = UpstreamFactory(Endpoint(host, port), keep_alive=keep_alive)
        return factory.dial(self._dialer, route.timeouts.connection)


def _host(answer: Any, route: RoutePlan) -> str:
    """What a callable has answered, if it can be connected to."""
    if isinstance(answer, str) and (is_address(answer) or host_name(answer.encode("utf-8", "replace"))):
        return answer
    raise ValueError(_unfit("host", "a host name or an IP address", answer, route))


def _port(answer: Any, route: RoutePlan) -> int | None:
    if answer == "preserve":
        return None
    if isinstance(answer, int) and not isinstance(answer, bool) and 1 <= answer <= _HIGHEST_PORT:
        return answer
    raise ValueError(_unfit("port", '1..65535 or "preserve"', answer, route))


def _unfit(what: str, needed: str, answer: object, route: RoutePlan) -> str:
    return f"the {what} callable of route {route.name!a} gave {answer!a}: must be {needed}"
