"""All live connections, and the one place where a connection is opened and closed.

Limits, gauges and totals are read from here and nowhere else, so they cannot disagree. A record is
*opened* when its socket is accepted, *identified* when its client is known, *assigned* when its route is;
:meth:`Registry.close` takes back whichever of these had happened, on every way out, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from smartproxy.model.record import ConnectionRecord

if TYPE_CHECKING:
    from smartproxy.model.address import Endpoint
    from smartproxy.model.facts import Accepted
    from smartproxy.model.outcome import CloseReason
    from smartproxy.model.tallies import RouteTally, Tallies

#: The route label of a client that left before a route was found for it.
UNROUTED = ""


class Registry:
    """Live connections by number, by client and by route.

    :ivar live: number to record. :ivar opened: how many there have ever been.
    :ivar by_ip: live connections of each client address that has any. :ivar by_route: of each route.
    :ivar closed_received: bytes from clients, of records that have ended. :ivar closed_sent: to clients.
    """

    def __init__(self, tallies: Tallies) -> None:
        self.tallies = tallies
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

    def assign(self, record: ConnectionRecord, route: str) -> None:
        """The route is known."""
        record.route = route
        self.by_route[route] = self.by_route.get(route, 0) + 1
        tally = self.tallies.route(route)
        tally.opened += 1
        tally.active += 1

    def close(self, record: ConnectionRecord, reason: CloseReason | None, now: float) -> bool:
        """The connection has ended; ``None`` where it was refused. Whether it had not been closed before."""
        if self.live.pop(record.id, None) is None:
            return False
        record.forget_end()
        self.closed_received += record.bytes_received
        self.closed_sent += record.bytes_sent
        if record.identified:
            _drop(self.by_ip, record.client.host)
        if record.route is not None:
            _drop(self.by_route, record.route)
            self._close_route(self.tallies.route(record.route), record, reason, now)
        elif reason is not None:
            self.tallies.route(UNROUTED).close(reason)
        if self._awaited and not self.live:
            self._tell_empty()
        return True

    def emptied(self) -> Deferred[None]:
        """Fires when no connection lives; at once where none does."""
        waiting: Deferred[None] = Deferred()
        if self.live:
            self._awaited.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    def _tell_empty(self) -> None:
        awaited, self._awaited = self._awaited, []
        for waiting in awaited:
            if not waiting.called:
                waiting.callback(None)

    def _close_route(
        self, tally: RouteTally, record: ConnectionRecord, reason: CloseReason | None, now: float
    ) -> None:
        tally.active -= 1
        tally.received += record.bytes_received
        tally.sent += record.bytes_sent
        if reason is not None:
            tally.close(reason)
            tally.duration_seconds.observe(now - record.opened_at)


def _drop(counts: dict[str, int], key: str) -> None:
    """One less; nothing is kept for a key that has none, or a million clients would leave a million zeros."""
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
