"""How fast bytes go by, for each route and each client: the third layer of the metrics.

A :class:`Tracker` is a meter that a record feeds, with two time stamps: a rate is what has gone by since the older one.
Every five seconds the newer becomes the older, so a rate is of the last five to ten seconds.

Clients are the one set of keys that no configuration bounds. A tracker that no live connection feeds and that
has been silent for a minute is dropped; and there are at most 10,000 of clients. Those that come when all are
taken share one, :data:`OTHER`, so that a million addresses in an hour leave nothing behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.metrics.throughput import Rate
from smartproxy.model.record import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Container

#: Seconds between two time stamps.
TURN = 5.0
#: Seconds of silence after which a tracker without live connections is dropped.
IDLE = 60.0
#: Clients that have a tracker of their own.
MOST_CLIENTS = 10_000
#: All others. It is no address, so it is nobody's.
OTHER = "other"
#: A shorter time counts as this one, in seconds: a client's first packet is no flood.
_SHORTEST = 1.0


class Tracker(Meter):
    """What one route or one client moves.

    :ivar moved_at: when it was last seen to have moved, to within :data:`TURN`.
    """

    __slots__ = ("_newer", "_older", "moved_at")

    def __init__(self, now: float) -> None:
        super().__init__()
        self._older = self._newer = (now, 0, 0)
        self.moved_at = now

    def turn(self, now: float) -> None:
        """Another :data:`TURN` has passed."""
        stamp = (now, self.received, self.sent)
        if stamp[1:] != self._newer[1:]:
            self.moved_at = now
        self._older, self._newer = self._newer, stamp

    def rate(self, now: float) -> Rate:
        """Of the last five to ten seconds, or of all of them where there are fewer."""
        since, received, sent = self._older
        seconds = max(now - since, _SHORTEST)
        return Rate((self.received - received) / seconds, (self.sent - sent) / seconds)


class RateMeters:
    """One tracker a key, and one for all keys that found no place.

    :param clock: monotonic seconds. :param most: keys; ``None`` where they are bounded already.
    """

    def __init__(self, clock: Callable[[], float], most: int | None = None) -> None:
        self._clock = clock
        self._most = most
        self._kept: dict[str, Tracker] = {}
        self._rest = Tracker(clock())

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, key: str) -> Tracker:
        """The tracker that ``key``'s bytes are told to."""
        tracker = self._kept.get(key)
        if tracker is None:
            if len(self._kept) == self._most:
                return self._rest
            tracker = self._kept[key] = Tracker(self._clock())
        return tracker

    def turn(self, live: Container[str]) -> None:
        """Another :data:`TURN` has passed. Forget who is idle.

        :param live: the keys that have live connections.
        """
        now = self._clock()
        self._rest.turn(now)
        idle = []
        for key, tracker in self._kept.items():
            tracker.turn(now)
            if now - tracker.moved_at >= IDLE and key not in live:
                idle.append(key)
        for key in idle:
            del self._kept[key]

    def rates(self) -> dict[str, Rate]:
        """Of every key that has a tracker; of the rest as :data:`OTHER`, if it has ever moved anything."""
        now = self._clock()
        rates = {key: tracker.rate(now) for key, tracker in self._kept.items()}
        if self._rest.received or self._rest.sent:
            rates[OTHER] = self._rest.rate(now)
        return rates


class MeterAssignment:
    """What a record feeds besides itself: the whole proxy's meter, its client's and its route's.

    :param total: the whole proxy's.
    """

    def __init__(self, total: Meter, clock: Callable[[], float]) -> None:
        self.total = total
        self.clients = RateMeters(clock, MOST_CLIENTS)
        self.routes = RateMeters(clock)

    def of_client(self, ip: str) -> tuple[Meter, ...]:
        """For a record whose client is known."""
        return (self.total, self.clients.of(ip))

    def of_route(self, fed: tuple[Meter, ...], route: str) -> tuple[Meter, ...]:
        """For a record that feeds these already, and whose route is known now."""
        return (*fed, self.routes.of(route))
