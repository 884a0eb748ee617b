"""Serving a connection as HTTP: each of its requests gets a route, and an answer, of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from smartproxy.errors import NotTls, Refused
from smartproxy.flow.work_budget import WorkBudget
from smartproxy.http.downstream1 import HttpDownstream
from smartproxy.http.forward import Forwarding
from smartproxy.http.in_force import InForce, carried_over
from smartproxy.http.local.chosen import ChosenAnswers
from smartproxy.http.local.services import LocalServices
from smartproxy.http.services import HttpServices, TargetServices
from smartproxy.http.tracing import id_of
from smartproxy.model.ending import detail_of
from smartproxy.model.facts import ApplicationProtocol, Detected, Routed
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.upstream.connected import Connected
from smartproxy.wire.http_answer import parse_head
from smartproxy.wire.http_head import parse_block, parse_line

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.connections.timeouts import ConnectionTimeouts
    from smartproxy.flow.deadline import Deadlines
    from smartproxy.flow.event import AwaitableEvent
    from smartproxy.flow.side import Side
    from smartproxy.flow.threads import Call
    from smartproxy.http.in_force import RequestRouter
    from smartproxy.http.interfaces import Answerer, AnswerReceiver, TunnelEnd
    from smartproxy.http.memo import RememberedHeads
    from smartproxy.http.services import HttpClient
    from smartproxy.http.splice import Splicer
    from smartproxy.model.exchange import Exchange
    from smartproxy.model.plan import ErrorPage, HttpPlan, RoutePlan, TargetPlan
    from smartproxy.model.record import ConnectionRecord, RouteShare
    from smartproxy.upstream.connect import Connect, Turn
    from smartproxy.upstream.pool import Pool
    from smartproxy.wire.http_head import HeadLimits, RequestHead

_HTTP = ApplicationProtocol.HTTP
#: Seconds of each event loop iteration in which files are read and written on, and pipelined requests are answered: a megabyte with
#: TLS takes one millisecond.
_READING: Final = 0.005


class ExchangeRecorder(Protocol):
    """Records exchanges: :class:`~smartproxy.connections.registry.Registry`."""

    def share(self, record: ConnectionRecord, route: str) -> ConnectionRecord | RouteShare: ...

    def count_rest_for(self, record: ConnectionRecord, route: str) -> None: ...

    def begin_exchange(self, exchange: Exchange) -> None: ...

    def end_exchange(self, exchange: Exchange, now: float) -> None: ...

    def end_tunnel(self, exchange: Exchange, now: float) -> None: ...


class ExchangeHttp:
    """Serves connections as HTTP.

    :param connect: connects an exchange to a target.
    :param connect_new: likewise, without the idle connections.
    :param pool: idle connections to targets.
    :param recorder: counts and logs exchanges.
    :param relay: relays a connection that has switched to another protocol.
    :param timeouts: of such connections.
    :param listener: its name.
    :param routes: of the configuration, by name.
    :param finder: finds the route of a request: of the table, or of the routes inside of the same TLS.
    :param admits: whether a route's address lists admit the client.
    :param trusted: addresses of the proxies whose forwarded fields are believed (``proxyIPs``).
    :param draining: whether each connection is to end after the exchange under way.
    :param clients: gets the connections of all clients.
    :param heads: parses heads.
    :param head_limits: the widest of the listener's routes.
    :param error_pages: for requests without a route.
    :param splicer: moves bodies from socket to socket.
    """

    def __init__(
        self,
        connect: Connect,
        connect_new: Connect,
        pool: Pool,
        recorder: ExchangeRecorder,
        relay: Callable[..., AwaitableEvent[CloseReason]],
        timeouts: ConnectionTimeouts,
        listener: str,
        routes: Mapping[str, RoutePlan],
        finder: RequestRouter,
        admits: Callable[[Routed], bool],
        trusted: Container[str] | None,
        draining: Callable[[], bool],
        clients: set[HttpClient],
        heads: RememberedHeads,
        head_limits: HeadLimits,
        error_pages: Mapping[int, ErrorPage],
        splicer: Splicer,
        deadlines: Deadlines,
        clock: IReactorTime,
        in_thread: Call,
    ) -> None:
        self._connect = connect
        self._connect_new = connect_new
        self._pool = pool
        self._recorder = recorder
        self._relay = relay
        self._timeouts = timeouts
        self._in_force: InForce[ExchangeHttp] = InForce(self)
        self._listener = listener
        self._routes = routes
        self._finder = finder
        self._admits = admits
        self._trusted = frozenset() if trusted is None else trusted
        self._clock = clock
        self._call_soon = partial(clock.callLater, 0)
        self._deadlines = deadlines
        self._draining = draining
        self._clients = clients
        in_turn = WorkBudget(_READING, clock).call_soon
        self._local = LocalServices(clock, deadlines, self._call_soon, in_turn, in_thread, splicer)
        self._heads = heads
        self._head_limits = head_limits
        self._error_pages = error_pages
        self._splicer = splicer
        #: By name: the routes whose callable chooses, for requests.
        self._choosing: dict[str, RoutePlan] = {}
        self._services: dict[tuple[bool, bool, bool], HttpServices] = {}

    def __call__(
        self,
        record: ConnectionRecord,
        side: Side,
        routed: Routed,
        header: Callable[[Routed, TargetPlan], bytes],
    ) -> AwaitableEvent[CloseReason]:
        """Serve the connection. Its end happens with the reason when it has ended.

        :param header: the PROXY header for a target.
        """
        plan = routed.route.http
        assert plan is not None  # noqa: S101 - the route speaks HTTP
        services = self._services_for(routed, plan, checks=False)
        # Deadlines of HTTP hold instead: an answer may be late without its connection being stuck.
        record.stuck_detection = False
        record.is_http = True
        served = HttpDownstream(record, side, routed, plan, header, services)
        record.link(served)
        return served.start()

    def replace(self, former: ExchangeHttp) -> None:
        """Serve the connections of ``former`` from their next request on."""
        self._in_force = former._in_force
        self._in_force.served_by = self

    def retire(self) -> None:
        """The listener is closed: the next answer of each connection is its last one."""
        self._in_force.served_by = None

    def _carried_over(self, first: Routed) -> tuple[Routed, HttpPlan, HttpServices] | None:
        """See :class:`~smartproxy.http.services.HttpServices`. What serves the connection now decides."""
        now = self._in_force.served_by
        return None if now is None else now.take_over(first)

    def take_over(self, first: Routed) -> tuple[Routed, HttpPlan, HttpServices] | None:
        """The same, for a connection that another one has served."""
        routed = carried_over(first, self._listener, self._routes, self._finder)
        plan = self._routes[first.route.name].http if routed is not None else None
        if routed is None or plan is None:
            return None
        # It was admitted by other lists.
        return routed, plan, self._services_for(routed, plan, checks=True)

    def _services_for(self, routed: Routed, plan: HttpPlan, *, checks: bool) -> HttpServices:
        """What a connection asks of its surroundings: the same for all of a kind, so that an idle one holds little.

        :param checks: whether the address lists of a request's route are checked where it is the connection's own, too.
        """
        trusted = routed.detected.announced.client.host in self._trusted
        kind = plan.remembers, trusted, checks
        services = self._services.get(kind)
        if services is None:
            services = self._services[kind] = self._made(plan, trusted=trusted, checks=checks)
        return services

    def _made(self, plan: HttpPlan, *, trusted: bool, checks: bool) -> HttpServices:
        return HttpServices(
            self._clock.seconds,
            trusted,
            self._deadlines,
            self._route,
            self._check if checks else self._check_another,
            self._recorder.share,
            self._answerer(plan),
            self._draining,
            self._local.in_turn,
            self._clients,
            self._heads.block_of if plan.remembers else parse_block,
            self._heads.line_of if plan.remembers else parse_line,
            self._head_limits,
            self._error_pages,
            self._recorder.begin_exchange,
            self._finished,
            self._splicer,
            self._tunnel,
            self._in_force,
            self,
            self._carried_over,
        )

    def _answerer(self, plan: HttpPlan) -> Callable[[Exchange, AnswerReceiver], Answerer]:
        """What makes the answerers of exchanges."""
        targets = TargetServices(
            self._take,
            self._connected,
            self._pool,
            self._call_soon,
            self._heads.head_of if plan.remembers else parse_head,
            self._splicer,
        )

        def answerer(exchange: Exchange, client: AnswerReceiver) -> Answerer:
            answers = exchange.routed.route.answers
            if answers is None:
                return Forwarding(exchange, client, targets)
            local: Answerer = answers(exchange, client, self._local)
            return local

        return answerer

    def _route(self, first: Routed, head: RequestHead) -> Routed:
        """The facts with the route of a request.

        :raises Refused: where there is none, or it is for connections with TLS.
        """
        before = first.detected
        if head is before.request:
            return first  # it was found by this very head
        detected = Detected(
            before.announced,
            _HTTP,
            before.hello,
            head,
            before.secured,
            before.start_tls,
            before.cancel,
            before.silent,
            before.local,
        )
        # The table has no route that a callable has made of its own for one connection.
        route = self._finder.find(detected, self._routes.get(first.route.name, first.route))
        if route is not None and route.tls is not None and detected.secured is None:
            raise NotTls
        if route is None or route.http is None:
            route = self._answering(route, first.route)
        return Routed(detected, route)

    def _answering(self, found: RoutePlan | None, first: RoutePlan) -> RoutePlan:
        """A route without terms of HTTP of its own that answers requests all the same.

        It blocks, or has a callable that chooses a handler of requests, or has chosen one for the connection.

        :raises Refused: where ``found`` is none of these.
        """
        if found is not None and found.name == first.name:
            found = first
        if found is not None and found.answers is not None:
            return found
        if found is None or found.chosen_http is None:
            raise Refused(RejectReason.NO_ROUTE, "no route that speaks HTTP matches the request")
        choosing = self._choosing.get(found.name)
        if choosing is None:
            choosing = replace(found, answers=ChosenAnswers(found), http=found.chosen_http)
            self._choosing[found.name] = choosing
        return choosing

    def _check(self, routed: Routed, _: Routed) -> None:
        """Check the lists of a request's route.

        :raises Refused: where they do not admit the client.
        """
        if not self._admits(routed):
            raise Refused(
                RejectReason.IP_NOT_ALLOWED,
                f"the lists of route {routed.route.name} do not admit the client",
            )

    def _check_another(self, routed: Routed, first: Routed) -> None:
        """The same on a connection that was admitted to its first route."""
        if routed.route is not first.route:
            self._check(routed, first)

    def _finished(self, exchange: Exchange, now: float) -> None:
        if not exchange.id:  # it was refused; the access log shows its id all the same
            id_of(exchange)
        member = exchange.member
        if member is not None:
            member.received += exchange.request_bytes
            member.sent += exchange.response_bytes
        self._recorder.end_exchange(exchange, now)

    def _tunnel(
        self, record: ConnectionRecord, side: Side, linked: Connected | TunnelEnd, exchange: Exchange
    ) -> AwaitableEvent[CloseReason]:
        """Relay a connection that has switched to another protocol, on the terms of its route. It is logged when it has ended."""
        route = exchange.routed.route
        assert route.http is not None  # noqa: S101 - it speaks HTTP
        side.transport.pauseProducing()
        side.transport.unregisterProducer()
        side.receiver = None
        record.is_http = False
        self._timeouts.watch_tunnel(record, route, route.http)
        self._recorder.count_rest_for(record, route.name)
        before = exchange.tunnel_from = record.bytes_received, record.bytes_sent

        def ended(reason: CloseReason) -> CloseReason:
            received, sent = exchange.moved_since(before)
            exchange.tunnel_from = None
            if isinstance(linked, Connected):
                linked.release(received, sent)
                linked.on_closed()
            exchange.request_bytes += received
            exchange.response_bytes += sent
            exchange.detail = "" if reason is CloseReason.NORMAL else detail_of(record, reason) or reason
            self._recorder.end_tunnel(exchange, self._clock.seconds())
            return reason

        if isinstance(linked, Connected):
            linked.end_request()
            exchange.forget_content()
            over = self._relay(record, side, linked.side, linked.address, b"")
        else:
            over = linked.start(record, side, exchange.routed, self._clock)
        return over.then(ended)

    def _take(self, exchange: Exchange) -> tuple[Connected | None, Turn]:
        """The target of an exchange, and an idle connection to it, if there is one.

        :raises Refused: where no target may be used.
        """
        turn = group, candidate = self._connect.take(exchange.routed)
        connected = None if candidate is None else self._pool.take(candidate, group, exchange.routed)
        if connected is not None:
            exchange.member, exchange.target = connected.member, connected.address
            connected.begin_request()
        return connected, turn

    async def _connected(
        self,
        exchange: Exchange,
        require_wanted: Callable[[], None],
        turn: Turn | None,
    ) -> Connected:
        """Connect an exchange.

        :param turn: the target that it was given; ``None``: an idle connection to that has failed, and a new one is asked for.
        """
        routed = exchange.routed
        connect = self._connect_new if turn is None else self._connect
        header = partial(exchange.header, routed)
        connected = await connect(routed, header, require_wanted, exchange, turn)
        connected.begin_request()
        if turn is None:
            connected.retried()
        return connected
