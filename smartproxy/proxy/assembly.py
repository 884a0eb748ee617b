"""From a compiled configuration to the :class:`~smartproxy.session.ConnectionPath` of each of its listeners.

Paths live as long as their configuration and hold no state of their own: what must outlive a reload is in
:mod:`smartproxy.proxy.runtime`. Together with :mod:`~smartproxy.proxy.service` these are the modules that know which
classes a proxy is made of.
"""

from __future__ import annotations

import itertools
import os
import random
from functools import partial
from typing import TYPE_CHECKING

from smartproxy.acme.challenge_table import ChallengeTable
from smartproxy.connections.timeouts import ConnectionTimeouts
from smartproxy.flow.side import HOLD
from smartproxy.http.splice import Splicer
from smartproxy.model.plan import ChallengeType, KeepAlive
from smartproxy.phases.admit import Admit
from smartproxy.phases.detect import Detect
from smartproxy.phases.exchange import ExchangeHttp
from smartproxy.phases.forward_cancel import ForwardCancel
from smartproxy.phases.look_inside import LookInside
from smartproxy.phases.proxy_header import ReadProxyHeader
from smartproxy.phases.reject import RejectConnection
from smartproxy.phases.relay import StartRelay
from smartproxy.phases.route import ChooseRoute
from smartproxy.phases.serve import Serve
from smartproxy.phases.start_tls import AnswerStartTls
from smartproxy.phases.terminate_tls import Terminate
from smartproxy.proxy.given import Indexes
from smartproxy.routing.table import RouteTable, listener_name
from smartproxy.security.limits import Admission
from smartproxy.session import ConnectionPath
from smartproxy.upstream.attempt import Attempts
from smartproxy.upstream.connect import Connect
from smartproxy.upstream.dial_log import DialLog
from smartproxy.upstream.pool import PooledAttempts
from smartproxy.upstream.proxy_header import SendProxyHeader
from smartproxy.wire.http_head import HEAD_LIMITS, HeadLimits, HeadParser

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.plan import ProxyPlan
    from smartproxy.proxy.given import Place
    from smartproxy.proxy.runtime import Runtime


class Paths:
    """The paths of one configuration, one for each listener.

    :param draining: whether new connections are refused.
    :ivar contexts: TLS contexts for clients.
    :ivar keep_alive: TCP keep-alive of clients' connections, where their route does not differ.
    :ivar hold: bytes of a client that may be buffered before its target is connected.
    """

    def __init__(
        self,
        plan: ProxyPlan,
        runtime: Runtime,
        draining: Callable[[], bool],
    ) -> None:
        self._plan = plan
        self._runtime = runtime
        indexes = runtime.take_indexes(plan) or Indexes(RouteTable(plan.routes), None)
        self.table = indexes.table
        self.keep_alive = KeepAlive(
            enabled=plan.keep_alive, probes=plan.probes, user_timeout=plan.user_timeout
        )
        self.hold = min(HOLD, plan.max_pending_data) if plan.max_pending_data else HOLD
        accounting, deadlines = runtime.accounting, runtime.clocks.deadlines
        registry, counters, seconds = accounting.registry, accounting.counters, runtime.clocks.seconds
        self._admit = Admit(
            Admission(plan, runtime.counts, runtime.rate, runtime.lingering), registry, draining
        )
        self._read_proxy_header = ReadProxyHeader(
            plan.trusted, plan.accept_header, plan.header_timeout, deadlines, counters
        )
        attempts, dial_log = _attempts(runtime)
        self._connect = _connect(runtime, attempts, dial_log)
        self._connect_pooled = _connect(runtime, PooledAttempts(attempts, runtime.targets.pool), dial_log)
        self._send_proxy_header = SendProxyHeader(_unique())
        self.contexts = indexes.contexts or runtime.tls.prepare(plan)
        self._terminate = Terminate(self.contexts, runtime.tls.handshakes, deadlines, seconds, counters)
        self._relay = StartRelay(
            runtime.sockets.poller,
            runtime.sockets.pipes,
            seconds,
            lambda route, now: runtime.targets.log_limit.may_log(route, "established TLS", now),
        )
        self._forward_cancel = ForwardCancel(
            self.table,
            self._connect,
            self._send_proxy_header,
            self._admit.admits,
            runtime.targets.postgres_routes,
            runtime.targets.cancels,
            runtime.clocks.time,
            counters,
        )
        self._reject = self._rejecting()
        self._draining = draining
        self._timeouts = ConnectionTimeouts(deadlines, seconds, random.random)

    def listeners(self) -> set[Place]:
        """The addresses (``""``: all) and ports to listen on."""
        return _places(self._plan, self.table)

    def _answers_challenges(self, port: int) -> bool:
        """Whether HTTP-01 challenges are answered on ``port``."""
        acme = self._plan.acme
        return acme is not None and port == acme.http_port and ChallengeType.HTTP_01 in acme.challenges

    def path(self, address: str, port: int) -> ConnectionPath:
        """The path of connections accepted at ``(address, port)``."""
        clocks, accounting = self._runtime.clocks, self._runtime.accounting
        timeout = self.table.first_bytes_timeout(address, port)
        if timeout is None:
            timeout = self._plan.timeouts.initial_data
        limits = self.table.head_limits(address, port)
        head_parser = self._head_parser(address, port)
        not_tls = partial(accounting.counters.no_handshake, "not_tls")
        table: RouteTable | ChallengeTable = self.table
        is_challenged = self._answers_challenges(port)
        if self._plan.acme is not None:
            table = ChallengeTable(self.table, self._runtime.tls.acme.answers, is_plain=is_challenged)
        look_inside = LookInside(
            table,
            Detect(timeout, clocks.deadlines, needed=True, cancels=True, head_parser=head_parser),
            self._forward_cancel,
        )
        return ConnectionPath(
            registry=accounting.registry,
            refusals=accounting.refusals,
            clock=clocks.seconds,
            admit=self._admit,
            read_proxy_header=self._read_proxy_header,
            detect=Detect(
                timeout,
                clocks.deadlines,
                needed=is_challenged or self.table.needs_first_bytes(address, port),
                silence=self.table.find if self.table.takes_silent(address, port) else None,
                has_addresses=self.table.has_addresses(address, port),
                start_tls=AnswerStartTls() if self.table.starts_tls(address, port) else None,
                head_parser=head_parser,
            ),
            route=ChooseRoute(table, not_tls if self.table.takes_only_tls(address, port) else None),
            connect=self._connect,
            send_proxy_header=self._send_proxy_header,
            terminate=self._terminate,
            look_inside=look_inside,
            relay=self._relay,
            serve=Serve(clocks.time, self._timeouts.watch),
            exchange=self._exchange(look_inside, listener_name(address, port), limits),
            forward_cancel=self._forward_cancel,
            timeouts=self._timeouts,
            reject=self._reject,
            keep_alive=self.keep_alive,
        )

    def _head_parser(self, address: str, port: int) -> Callable[[], HeadParser]:
        """Makes what parses the first head of a connection.

        A route that does not speak HTTP itself looks at heads of the usual size; narrower limits are for a route to enforce.
        """
        limits = HeadLimits(*map(max, self.table.head_limits(address, port), HEAD_LIMITS))
        heads = self._runtime.http_heads
        if self.table.remembers_heads(address, port):
            return partial(HeadParser, heads.block_of, heads.line_of, limits)
        return partial(HeadParser, limits=limits)

    def _rejecting(self) -> RejectConnection:
        """What refuses connections. Where no route speaks HTTP there are no metrics of requests."""
        count = self._runtime.accounting.counters.refused_request if self._plan.speaks_http else None
        return RejectConnection(self._runtime.lingering, self._plan.by_name, self._plan.error_pages, count)

    def _exchange(self, look_inside: LookInside, listener: str, limits: HeadLimits) -> ExchangeHttp:
        """What serves HTTP on a listener with these limits of a request's head."""
        runtime = self._runtime
        return ExchangeHttp(
            self._connect_pooled,
            self._connect,
            runtime.targets.pool,
            runtime.accounting.registry,
            self._relay,
            self._timeouts,
            listener,
            self._plan.by_name,
            look_inside,
            self._admit.admits,
            self._plan.trusted,
            self._draining,
            runtime.http_clients,
            runtime.http_heads,
            limits,
            self._plan.error_pages,
            Splicer(runtime.sockets.poller, runtime.sockets.pipes),
            runtime.clocks.deadlines,
            runtime.clocks.time,
            runtime.disk,
        )


def listening_places(plan: ProxyPlan) -> set[Place]:
    """The addresses (``""``: all) and ports that a configuration listens on."""
    return _places(plan, RouteTable(plan.routes))


def _places(plan: ProxyPlan, table: RouteTable) -> set[Place]:
    challenges = (
        () if plan.acme is None else ((address, plan.acme.http_port) for address in plan.acme.listens)
    )
    return table.listeners().union(challenges)


def _attempts(runtime: Runtime) -> tuple[Attempts, DialLog]:
    targets, clock = runtime.targets, runtime.clocks.time
    dial_log = DialLog(targets.log_limit, clock.seconds)
    attempts = Attempts(
        runtime.sockets.dialer,
        targets.resolver,
        clock,
        targets.originate,
        targets.request_tls,
        targets.groups.pending,
        targets.loops,
        dial_log,
        runtime.clocks.deadlines,
    )
    return attempts, dial_log


def _connect(runtime: Runtime, attempts: Attempts | PooledAttempts, dial_log: DialLog) -> Connect:
    targets, counters = runtime.targets, runtime.accounting.counters
    clock = runtime.clocks.time
    return Connect(attempts, clock, counters, targets.groups, dial_log, targets.postgres_routes)


def _unique() -> Callable[[], bytes]:
    """Makes identifiers that no other connection of any proxy has: a random prefix and a counter."""
    start = os.urandom(8).hex()
    numbers = itertools.count(1)

    def unique() -> bytes:
        return f"{start}-{next(numbers):x}".encode()

    return unique
