"""From a plan to running objects: what one proxy is made of, and the path of each of its listeners.

This and ``service`` are the only modules that know classes rather than interfaces. :class:`Machinery` lives
as long as the proxy; a :class:`~smartproxy.session.ConnectionPath` as long as its configuration.
"""

from __future__ import annotations

import itertools
import os
import random
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.task import LoopingCall

from smartproxy.connections.registry import Registry
from smartproxy.connections.timeouts import ConnectionTimeouts
from smartproxy.connections.zombies import ZombieSweep
from smartproxy.flow.clock import clock_of
from smartproxy.flow.deadline import Deadlines
from smartproxy.metrics.counters import Counters
from smartproxy.metrics.service import make_metrics
from smartproxy.model.plan import KeepAlive
from smartproxy.net.dial import PollerDialer, ReactorDialer
from smartproxy.net.poller import Poller
from smartproxy.observe.access_log import AccessLog
from smartproxy.observe.refusal_log import RefusalLog
from smartproxy.phases.admit import Admit
from smartproxy.phases.detect import Detect
from smartproxy.phases.look_inside import LookInside
from smartproxy.phases.proxy_header import ReadProxyHeader
from smartproxy.phases.reject import RejectConnection
from smartproxy.phases.relay import StartRelay
from smartproxy.phases.route import ChooseRoute
from smartproxy.phases.serve import Serve
from smartproxy.phases.start_tls import AnswerStartTls
from smartproxy.phases.terminate_tls import Terminate
from smartproxy.proxy.tls import TlsState
from smartproxy.relays import splice
from smartproxy.relays.pipes import PipePool
from smartproxy.routing.table import RouteTable
from smartproxy.security.limits import Admission, RateLimit
from smartproxy.session import ConnectionPath
from smartproxy.upstream.connect import Connect
from smartproxy.upstream.originate_tls import Originate
from smartproxy.upstream.proxy_header import SendProxyHeader
from smartproxy.upstream.request_tls import RequestTls
from smartproxy.upstream.resolve import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.plan import ProxyPlan
    from smartproxy.net.interfaces import IDialer

#: Seconds between two looks at refusals that no log line has told yet.
_TELL = 1.0


class Machinery:
    """What a proxy needs for as long as it runs, whatever its routes become.

    Sockets of our own and splice are used where the plan allows it, and system and reactor can.
    """

    def __init__(self, plan: ProxyPlan, reactor: Any) -> None:
        self.reactor = reactor
        self.time = clock_of(reactor)
        self.clock: Callable[[], float] = self.time.seconds
        self.counters = Counters()
        self.registry = Registry(self.counters, plan.cleanup, self.time)
        self.metrics = make_metrics(plan.metrics, self.registry, self.counters, self.time)
        self.access_log = (
            AccessLog(plan.access_log, self.counters, self.clock) if plan.access_log is not None else None
        )
        if self.access_log is not None:
            self.registry.told.append(self.access_log.put_away)
        self.deadlines = Deadlines(self.time)
        self.refusals = RefusalLog(self.clock)
        self.resolver = Resolver(reactor, self.time)
        self.tls = TlsState(plan, reactor, self.time, self.counters)
        self.poller: Poller | None = None
        self.pool: PipePool | None = None
        if plan.acceleration and splice.supported() and IReactorFDSet.providedBy(reactor):
            self.poller = Poller(reactor, self.clock)
            self.pool = PipePool()
        self.dialer: IDialer = (
            PollerDialer(self.poller, self.deadlines) if self.poller is not None else ReactorDialer(reactor)
        )
        self.originate = Originate(self.tls.targets, self.deadlines)
        self.ask_for_tls = RequestTls(self.deadlines)
        self._zombies = (
            ZombieSweep(plan.zombies, self.registry, self.counters, self.time)
            if plan.zombies is not None
            else None
        )
        self._telling = LoopingCall(self.refusals.flush)
        self._telling.clock = self.time

    def start(self) -> None:
        """Begin to watch sockets and clocks."""
        if self.poller is not None:
            self.poller.start()
        self.deadlines.start()
        if self._zombies is not None:
            self._zombies.start()
        self._telling.start(_TELL, now=False)
        self.metrics.startService()
        self.tls.start()

    def stop(self) -> None:
        """Nothing lives any more."""
        self.tls.stop()
        if self._zombies is not None:
            self._zombies.stop()
        self.registry.ended.empty()
        self.metrics.stopService()
        if self.access_log is not None:
            self.access_log.close()
        if self.poller is not None:
            self.poller.stop()
        if self.pool is not None:
            self.pool.close()
        self.deadlines.stop()
        if self._telling.running:
            self._telling.stop()
        self.refusals.flush(everything=True)


class Paths:
    """The paths of one configuration, one a listener.

    :param rate: who has connected how often: it outlives configurations.
    :ivar contexts: for TLS with clients.
    :ivar keep_alive: what clients' connections have, where their route does not want otherwise.
    """

    def __init__(
        self,
        plan: ProxyPlan,
        machinery: Machinery,
        rate: RateLimit | None,
        draining: Callable[[], bool],
    ) -> None:
        self._plan = plan
        self._machinery = machinery
        self.table = RouteTable(plan.routes)
        self.keep_alive = KeepAlive(enabled=plan.keep_alive, probes=plan.probes)
        registry, deadlines = machinery.registry, machinery.deadlines
        self._admit = Admit(Admission(plan, registry, rate), registry, draining)
        self._read_proxy_header = ReadProxyHeader(
            plan.trusted, plan.accept_header, plan.header_timeout, deadlines, machinery.counters
        )
        self._connect = Connect(
            machinery.dialer,
            machinery.resolver,
            machinery.time,
            machinery.counters,
            machinery.originate,
            machinery.ask_for_tls,
        )
        self._send_proxy_header = SendProxyHeader(_unique())
        self.contexts = machinery.tls.prepare(plan)
        self._terminate = Terminate(
            self.contexts,
            machinery.tls.handshakes,
            machinery.deadlines,
            machinery.clock,
            machinery.counters,
        )
        self._relay = StartRelay(machinery.poller, machinery.pool, machinery.clock)
        self._timeouts = ConnectionTimeouts(deadlines, machinery.clock, random.random)

    def path(self, address: str, port: int) -> ConnectionPath:
        """The path of what comes in at ``(address, port)``."""
        machinery = self._machinery
        patience = self._first_data_timeout(address, port)
        return ConnectionPath(
            registry=machinery.registry,
            refusals=machinery.refusals,
            clock=machinery.clock,
            admit=self._admit,
            read_proxy_header=self._read_proxy_header,
            detect=Detect(
                patience,
                machinery.deadlines,
                needed=self.table.needs_first_bytes(address, port),
                start_tls=AnswerStartTls() if self.table.starts_tls(address, port) else None,
            ),
            route=ChooseRoute(self.table),
            connect=self._connect,
            send_proxy_header=self._send_proxy_header,
            terminate=self._terminate,
            look_inside=LookInside(self.table, Detect(patience, machinery.deadlines, needed=True)),
            relay=self._relay,
            serve=Serve(machinery.time),
            timeouts=self._timeouts,
            reject=RejectConnection(machinery.deadlines),
            keep_alive=self.keep_alive,
        )

    def _first_data_timeout(self, address: str, port: int) -> float:
        """Seconds for the first bytes: before they are known no route is, so the most patient one decides."""
        asking = [
            route.timeouts.initial_data
            for route in self._plan.routes
            if route.needs_first_bytes
            and any(port in ports for ports in route.match.ports)
            and route.match.address in ("", address)
        ]
        return 0.0 if 0.0 in asking else max(asking, default=self._plan.timeouts.initial_data)


def _unique() -> Callable[[], bytes]:
    """Identifiers that no other connection of any proxy has: random once, then counted."""
    start = os.urandom(8).hex()
    numbers = itertools.count(1)

    def unique() -> bytes:
        return f"{start}-{next(numbers):x}".encode()

    return unique
