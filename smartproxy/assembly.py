"""From a plan to running objects: what one proxy is made of, and the path of each of its listeners.

This and ``service`` are the only modules that know classes rather than interfaces. :class:`Machinery` lives
as long as the proxy; a :class:`~smartproxy.session.Path` as long as its configuration.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.task import LoopingCall

from smartproxy.connections.registry import Registry
from smartproxy.flow.clock import clock_of
from smartproxy.flow.deadline import Deadlines
from smartproxy.flow.dial import PollerDialer, ReactorDialer
from smartproxy.flow.poller import Poller
from smartproxy.model.tallies import Tallies
from smartproxy.phases.admit import Admit
from smartproxy.phases.close import LetGo
from smartproxy.phases.connect import Connect
from smartproxy.phases.detect import Detect
from smartproxy.phases.proxy_header import ReadProxyHeader
from smartproxy.phases.relay import StartRelay
from smartproxy.phases.route import Route
from smartproxy.phases.send_header import SendProxyHeader
from smartproxy.phases.serve import Serve
from smartproxy.relays import splice
from smartproxy.relays.pipes import PipePool
from smartproxy.routing.table import RouteTable
from smartproxy.security.limits import Admission, RateLimit
from smartproxy.security.refusals import RefusalLog
from smartproxy.session import Path
from smartproxy.upstream.resolve import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.interfaces import IDialer
    from smartproxy.model.plan import ProxyPlan

#: Seconds between two looks at refusals that no log line has told yet.
_TELL = 1.0


class Machinery:
    """What a proxy needs for as long as it runs, whatever its configuration becomes.

    :param accelerated: whether to use sockets of our own and splice, where system and reactor can.
    """

    def __init__(self, reactor: Any, *, accelerated: bool) -> None:
        self.reactor = reactor
        self.time = clock_of(reactor)
        self.clock: Callable[[], float] = self.time.seconds
        self.tallies = Tallies()
        self.registry = Registry(self.tallies)
        self.deadlines = Deadlines(self.time)
        self.refusals = RefusalLog(self.clock)
        self.resolver = Resolver(reactor, self.time)
        self.poller: Poller | None = None
        self.pool: PipePool | None = None
        if accelerated and splice.supported() and IReactorFDSet.providedBy(reactor):
            self.poller = Poller(reactor, self.clock)
            self.pool = PipePool()
        self.dialer: IDialer = (
            PollerDialer(self.poller, self.deadlines) if self.poller is not None else ReactorDialer(reactor)
        )
        self._telling = LoopingCall(self.refusals.flush)
        self._telling.clock = self.time

    def start(self) -> None:
        """Begin to watch sockets and clocks."""
        if self.poller is not None:
            self.poller.start()
        self.deadlines.start()
        self._telling.start(_TELL, now=False)

    def stop(self) -> None:
        """Nothing lives any more."""
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
    """

    def __init__(
        self, plan: ProxyPlan, machinery: Machinery, rate: RateLimit | None, draining: Callable[[], bool]
    ) -> None:
        self._plan = plan
        self._machinery = machinery
        self.table = RouteTable(plan.routes)
        registry, deadlines = machinery.registry, machinery.deadlines
        self._admit = Admit(Admission(plan, registry, rate), registry, draining)
        self._read_proxy_header = ReadProxyHeader(
            plan.trusted, plan.accept_header, plan.header_timeout, deadlines, machinery.tallies
        )
        self._connect = Connect(machinery.dialer, machinery.resolver, machinery.time, machinery.tallies)
        self._send_proxy_header = SendProxyHeader(_unique())
        self._relay = StartRelay(machinery.poller, machinery.pool, machinery.clock)

    def path(self, address: str, port: int) -> Path:
        """The path of what comes in at ``(address, port)``."""
        machinery = self._machinery
        return Path(
            registry=machinery.registry,
            refusals=machinery.refusals,
            clock=machinery.clock,
            admit=self._admit,
            read_proxy_header=self._read_proxy_header,
            detect=Detect(
                self._first_data_timeout(address, port),
                machinery.deadlines,
                needed=self.table.needs_first_bytes(address, port),
            ),
            route=Route(self.table),
            connect=self._connect,
            send_proxy_header=self._send_proxy_header,
            relay=self._relay,
            serve=Serve(machinery.clock),
            let_go=LetGo(machinery.deadlines),
            keep_alive=self._plan.keep_alive,
        )

    def _first_data_timeout(self, address: str, port: int) -> float:
        """Seconds for the first bytes: before they are known no route is, so the most patient one decides."""
        asking = [
            route.timeouts.initial_data
            for route in self._plan.routes
            if route.match.needs_first_bytes
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
