"""All live connections. Every connection is opened and closed here, and nowhere else.

Limits, gauges and totals are read from the registry alone, so they cannot disagree. A record is *opened* when its socket is
accepted, *identified* when its client is known and *assigned* when its route is known. :meth:`Registry.close` undoes
those of the three steps that were done, exactly once, whichever way the connection ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from smartproxy.connections.cleanup import CleanupQueue
from smartproxy.connections.client_counts import ClientCounts, decrement
from smartproxy.connections.shares import assign_meters, count_rest_for, settle, share_of
from smartproxy.metrics.counters import UNROUTED
from smartproxy.model.exchange import SWITCHED
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.model.record import NO_OWNER, ClosedConnection, ConnectionRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.source import MeterSource
    from smartproxy.model.address import Endpoint
    from smartproxy.model.exchange import Exchange
    from smartproxy.model.facts import Accepted
    from smartproxy.model.plan import CleanupPlan
    from smartproxy.model.record import Owner, RouteShare

#: The status of an answer that makes the connection a tunnel.
_SWITCHING = 101


class PublishedNumbers(Protocol):
    """Where numbers of live connections are published, for limits that several processes share."""

    def live(self, number: int) -> None:
        """All together are ``number``."""

    def client(self, ip: str, number: int) -> None:
        """Those of a client address are ``number``."""

    def route(self, name: str, number: int) -> None:
        """Those of a route are ``number``."""


class Registry:
    """Live connections by number, by client and by route.

    :param clock: monotonic; for the delay of the clean-up.
    :param first: the number of the first connection.
    :param published: gets each number after each change; ``None``: no other process needs them.
    :ivar ended: closed connections that are not in the totals yet.
    :ivar on_closed: called with each closed connection when it is cleaned up.
    :ivar on_exchange: called with each HTTP exchange that has ended, and when that was.
    :ivar meters: selects the meters of a record; ``None`` where nothing is measured.
    :ivar live: live records by number.
    :ivar opened: connections accepted since the process started.
    :ivar clients: number of live connections by client.
    :ivar may_add_client: whether the client that an address belongs to is below a limit of live connections.
    :ivar by_ip: number of live connections by client address; no address has 0. A trusted peer's own connections
        (LOCAL) are not in it.
    :ivar by_route: number of live connections by route name; no route has 0.
    :ivar closed_received: bytes received from clients, of cleaned-up connections.
    :ivar closed_sent: bytes sent to clients, of cleaned-up connections.
    """

    def __init__(
        self,
        counters: Counters,
        plan: CleanupPlan,
        clock: IReactorTime,
        first: int = 1,
        published: PublishedNumbers | None = None,
    ) -> None:
        self.counters = counters
        self._before_first = first - 1
        self._published = published
        self.ended: CleanupQueue[ClosedConnection] = CleanupQueue(self._add_to_totals, plan, clock)
        self.on_closed: list[Callable[[ClosedConnection], object]] = []
        self.on_exchange: list[Callable[[Exchange, float], object]] = []
        self.meters: MeterSource | None = None
        self.live: dict[int, ConnectionRecord] = {}
        self.opened = 0
        self.clients = ClientCounts()
        self.by_ip = self.clients.by_ip
        self.may_add_client = self.clients.may_add
        self.by_route: dict[str, int] = {}
        self.closed_received = 0
        self.closed_sent = 0
        self._awaited: list[Deferred[None]] = []

    @property
    def active(self) -> int:
        """Number of live connections."""
        return len(self.live)

    def may_open(self, limit: int) -> bool:
        """Whether there are fewer than ``limit`` live connections."""
        return len(self.live) < limit

    def may_assign(self, route: str, limit: int) -> bool:
        """Whether the route of this name has fewer than ``limit`` live connections."""
        return self.by_route.get(route, 0) < limit

    def measure(self, meters: MeterSource | None) -> None:
        """Add bytes to the meters that ``meters`` selects from now on, also those of live connections."""
        self.meters = meters
        for record in self.live.values():
            assign_meters(record, meters)

    def open(self, accepted: Accepted, owner: Owner = NO_OWNER) -> ConnectionRecord:
        """Create the record of an accepted socket, which ``owner`` holds."""
        self.opened += 1
        record = ConnectionRecord(self._before_first + self.opened, accepted)
        record.owner = owner
        self.live[record.id] = record
        if self._published is not None:
            self._published.live(len(self.live))
        return record

    def identify(self, record: ConnectionRecord, client: Endpoint, *, counts: bool = True) -> None:
        """Set the client of a record, and count the connection for its address if it ``counts``."""
        record.client = client
        record.identified = True
        record.counted = counts
        if counts:
            self.clients.add(client.host)
            if self._published is not None:
                self._published.client(client.host, self.by_ip[client.host])
        if self.meters is not None:
            record.meters = self.meters.of_client(client.host)

    def assign(self, record: ConnectionRecord, route: str) -> None:
        """Set the route of a record, and count the connection for it."""
        record.route = route
        number = self.by_route[route] = self.by_route.get(route, 0) + 1
        if self._published is not None:
            self._published.route(route, number)
        of_route = self.counters.route(route)
        of_route.opened += 1
        of_route.unsettled += 1
        if self.meters is not None:
            record.meters = self.meters.of_route(record.meters, route)
        of_route.active += 1

    def share(self, record: ConnectionRecord, route: str) -> ConnectionRecord | RouteShare:
        """Return what counts the bytes that ``record`` moves for ``route``: the record itself for its own route."""
        return record if route == record.route else share_of(record, route, self.counters, self.meters)

    def count_rest_for(self, record: ConnectionRecord, route: str) -> None:
        """Count for ``route`` what ``record`` itself counts from now on."""
        count_rest_for(record, route, self.counters, self.meters)

    def begin_exchange(self, exchange: Exchange) -> None:
        """Count an HTTP request that has a route."""
        requests = exchange.requests = self.counters.route(exchange.routed.route.name).of_requests()
        requests.active += 1
        exchange.record.exchange = exchange

    def end_exchange(self, exchange: Exchange, now: float) -> None:
        """Count an HTTP request that has ended, and notify the callbacks; of a tunnel, when that has ended.

        :param now: monotonic seconds.
        """
        record, requests = exchange.record, exchange.requests
        record.exchange = exchange if exchange.status == SWITCHED else None
        record.exchanges += 1
        if requests is None:
            requests = self.counters.route(UNROUTED).of_requests()
        else:
            requests.active -= 1
        requests.count(exchange.head.method, exchange.status or 0, now - exchange.began_at)
        if exchange.status == SWITCHED:
            requests.upgrades += 1
            return
        for notify in self.on_exchange:
            notify(exchange, now)

    def end_tunnel(self, exchange: Exchange, now: float) -> None:
        """The tunnel that a request has made of its connection has ended: notify the callbacks.

        :param now: monotonic seconds.
        """
        exchange.record.exchange = None
        if exchange.requests is not None:
            exchange.requests.upgrades -= 1
        for notify in self.on_exchange:
            notify(exchange, now)

    def close(self, record: ConnectionRecord, outcome: CloseReason | RejectReason, now: float) -> bool:
        """Close a record.

        :param outcome: why it was closed or refused.
        :param now: monotonic seconds.
        :return: ``False`` if it was closed before; then nothing is done.
        """
        if self.live.pop(record.id, None) is None:
            return False
        record.closed()
        if record.counted:
            self.clients.remove(record.client.host)
        if record.route is not None:
            decrement(self.by_route, record.route)
            self.counters.route(record.route).active -= 1
        if self._published is not None:
            self._publish_closed(record, self._published)
        if isinstance(outcome, CloseReason):
            # Counted together with the gauge, not at clean-up: a reader that sees it inactive also sees its reason.
            self.counters.route(record.route or UNROUTED).close(outcome)
        self.ended.add(ClosedConnection(record, outcome, now))
        if self._awaited and not self.live:
            self._notify_empty()
        return True

    def _publish_closed(self, record: ConnectionRecord, published: PublishedNumbers) -> None:
        published.live(len(self.live))
        if record.counted:
            published.client(record.client.host, self.by_ip.get(record.client.host, 0))
        if record.route is not None:
            published.route(record.route, self.by_route.get(record.route, 0))

    def unsettled(self) -> Iterator[ConnectionRecord]:
        """The records whose bytes are not in the totals yet: live ones, and closed ones that wait for clean-up."""
        yield from self.live.values()
        for ended in self.ended:
            yield ended.record

    def _add_to_totals(self, ended: ClosedConnection) -> None:
        """Add a closed connection's bytes and duration to the totals, and notify the callbacks."""
        record, outcome, at = ended
        self.closed_received += record.bytes_received
        self.closed_sent += record.bytes_sent
        is_closed = isinstance(outcome, CloseReason)
        if is_closed or record.route is not None:
            # A refused one may have moved bytes: its target failed after the handshake, or a PROXY header came late.
            of_route = self.counters.route(record.route or UNROUTED)
            if record.shares is None:
                of_route.received += record.bytes_received
                of_route.sent += record.bytes_sent
            else:
                settle(record, record.shares, self.counters, at)
            if is_closed:
                of_route.duration_seconds.observe(at - record.opened_at)
        if record.route is not None:
            self.counters.settle(record.route, at)
        for notify in self.on_closed:
            notify(ended)

    def emptied(self) -> Deferred[None]:
        """Return a Deferred that fires when there is no live connection, at once if there is none now."""
        waiting: Deferred[None] = Deferred()
        if self.live:
            self._awaited.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    def _notify_empty(self) -> None:
        awaited, self._awaited = self._awaited, []
        for waiting in awaited:
            if not waiting.called:
                waiting.callback(None)
