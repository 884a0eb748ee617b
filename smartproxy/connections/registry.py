"""All live connections, and the one place where a connection is opened and closed.

Limits, gauges and totals are read from here and nowhere else, so they cannot disagree. A record is
*opened* when its socket is accepted, *identified* when its client is known, *assigned* when its route is;
:meth:`Registry.close` takes back whichever of these had happened, on every way out, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from smartproxy.connections.cleanup import CleanupQueue
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.model.record import ClosedConnection, ConnectionRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.source import MeterSource
    from smartproxy.model.address import Endpoint
    from smartproxy.model.facts import Accepted
    from smartproxy.model.plan import CleanupPlan

#: The route label of a client that left before a route was found for it.
UNROUTED = ""


class Registry:
    """Live connections by number, by client and by route.

    :param clock: monotonic; for the delay of the clean-up.
    :ivar ended: what has ended and is not in the totals yet. :ivar told: called for each that is put away.
    :ivar meters: what records feed; ``None`` where nothing is measured.
    :ivar live: number to record. :ivar opened: how many there have ever been.
    :ivar by_ip: live connections of each client address that has any. :ivar by_route: of each route.
    :ivar closed_received: bytes from clients, of records that have ended. :ivar closed_sent: to clients.
    """

    def __init__(self, counters: Counters, plan: CleanupPlan, clock: IReactorTime) -> None:
        self.counters = counters
        self.ended: CleanupQueue[ClosedConnection] = CleanupQueue(self._add_to_totals, plan, clock)
        self.on_closed: list[Callable[[ClosedConnection], object]] = []
        self.meters: MeterSource | None = None
        self.live: dict[int, ConnectionRecord] = {}
        self.opened = 0
        self.by_ip: dict[str, int] = {}
        self.by_route: dict[str, int] = {}
        self.closed_received = 0
        self.closed_sent = 0
        self._awaited: list[Deferred[None]] = []

    @property
    def active(self) -> int:
        """How many connections live now."""
        return len(self.live)

    def open(self, accepted: Accepted) -> ConnectionRecord:
        """A socket has been accepted."""
        self.opened += 1
        record = ConnectionRecord(self.opened, accepted)
        self.live[record.id] = record
        return record

    def identify(self, record: ConnectionRecord, client: Endpoint) -> None:
        """The client is known."""
        record.client = client
        record.identified = True
        self.by_ip[client.host] = self.by_ip.get(client.host, 0) + 1
        if self.meters is not None:
            record.meters = self.meters.of_client(client.host)

    def assign(self, record: ConnectionRecord, route: str) -> None:
        """The route is known."""
        record.route = route
        self.by_route[route] = self.by_route.get(route, 0) + 1
        of_route = self.counters.route(route)
        of_route.opened += 1
        if self.meters is not None:
            record.meters = self.meters.of_route(record.meters, route)
        of_route.active += 1

    def close(self, record: ConnectionRecord, outcome: CloseReason | RejectReason, now: float) -> bool:
        """The connection has ended, or was refused. Whether it had not been closed before."""
        if self.live.pop(record.id, None) is None:
            return False
        record.closed()
        if record.identified:
            _decrement(self.by_ip, record.client.host)
        if record.route is not None:
            _decrement(self.by_route, record.route)
            self.counters.route(record.route).active -= 1
        if isinstance(outcome, CloseReason):
            # Counted with the gauge and not with the bytes: who sees that it no longer lives sees how it ended.
            self.counters.route(record.route or UNROUTED).close(outcome)
        self.ended.add(ClosedConnection(record, outcome, now))
        if self._awaited and not self.live:
            self._notify_empty()
        return True

    def unsettled(self) -> Iterator[ConnectionRecord]:
        """Every record whose bytes are not in the totals yet: the live ones, and those that wait to be put away."""
        yield from self.live.values()
        for ended in self.ended:
            yield ended.record

    def _add_to_totals(self, ended: ClosedConnection) -> None:
        """Close the books on what has ended."""
        record, outcome, at = ended
        self.closed_received += record.bytes_received
        self.closed_sent += record.bytes_sent
        if isinstance(outcome, CloseReason):
            of_route = self.counters.route(record.route or UNROUTED)
            of_route.received += record.bytes_received
            of_route.sent += record.bytes_sent
            of_route.duration_seconds.observe(at - record.opened_at)
        for notify in self.on_closed:
            notify(ended)

    def emptied(self) -> Deferred[None]:
        """Fires when no connection lives; at once where none does."""
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


def _decrement(counts: dict[str, int], key: str) -> None:
    """One less; nothing is kept for a key that has none, or a million clients would leave a million zeros."""
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
