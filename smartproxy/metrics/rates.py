"""Rates by route and by client: the third layer of the metrics.

A :class:`RateMeter` is a meter with two stored states. Every five seconds the newer state replaces the older one, and a
rate is measured from the older: over the last five to ten seconds.

The number of routes is bounded by the configuration, that of clients is not. So the meter of a client or route is dropped
after a minute without bytes, if it has no live connection; and at most 10,000 clients have a meter of their own. Further
clients share one, :data:`OTHER`: a million addresses in an hour do not use memory for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.metrics.throughput import Rate
from smartproxy.model.record import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

#: Seconds between two stored states of a meter.
STAMP_INTERVAL = 5.0
#: Seconds without a byte after which a meter without live connections is dropped.
IDLE = 60.0
#: Most clients with a meter of their own.
MOST_CLIENTS = 10_000
#: Key of the meter that all other clients share. Not a valid address, so it cannot collide with a client's.
OTHER = "other"
#: Seconds over which a rate is measured at least: else the first packet of a new client would show as a very high rate.
_SHORTEST = 1.0


class RateMeter(Meter):
    """The bytes of one route or one client, and their rate.

    :ivar moved_at: monotonic time of the last byte, to within :data:`STAMP_INTERVAL`.
    """

    __slots__ = ("_newer", "_older", "moved_at")

    def __init__(self, now: float) -> None:
        super().__init__()
        self._older = self._newer = (now, 0, 0)
        self.moved_at = now

    def rotate(self, now: float) -> None:
        """Store the current state and discard the older of the two; called every :data:`STAMP_INTERVAL`."""
        stamp = (now, self.received, self.sent)
        if stamp[1:] != self._newer[1:]:
            self.moved_at = now
        self._older, self._newer = self._newer, stamp

    def rate(self, now: float) -> Rate:
        """The rate since the older state: over five to ten seconds, or since the meter was created."""
        since, received, sent = self._older
        seconds = max(now - since, _SHORTEST)
        return Rate((self.received - received) / seconds, (self.sent - sent) / seconds)


class RateMeters:
    """One meter per key, and a shared one for keys beyond ``most``.

    :param clock: monotonic seconds.
    :param most: largest number of keys; ``None`` if something else bounds it.
    """

    def __init__(self, clock: Callable[[], float], most: int | None = None) -> None:
        self._clock = clock
        self._most = most
        self._meters: dict[str, RateMeter] = {}
        self._shared = RateMeter(clock())

    def __len__(self) -> int:
        return len(self._meters)

    def of(self, key: str) -> RateMeter:
        """Return the meter for the bytes of ``key``; it is created on first use."""
        meter = self._meters.get(key)
        if meter is None:
            if len(self._meters) == self._most:
                return self._shared
            meter = self._meters[key] = RateMeter(self._clock())
        return meter

    def rotate(self, live: Container[str]) -> None:
        """Rotate every meter and drop the idle ones; called every :data:`STAMP_INTERVAL`.

        :param live: the keys that have live connections.
        """
        now = self._clock()
        self._shared.rotate(now)
        idle = []
        for key, meter in self._meters.items():
            meter.rotate(now)
            if now - meter.moved_at >= IDLE and key not in live:
                idle.append(key)
        for key in idle:
            del self._meters[key]

    def keep(self, keys: Container[str]) -> None:
        """Drop the meters of all other keys."""
        for key in [key for key in self._meters if key not in keys]:
            del self._meters[key]

    def rates(self) -> dict[str, Rate]:
        """The rate of every key with a meter, and of the shared meter as :data:`OTHER` if it ever counted a byte."""
        return dict(self.each())

    def each(self) -> Iterator[tuple[str, Rate]]:
        """The same one by one, 10,000 in five milliseconds. A reader may pause in between."""
        for key, meter in list(self._meters.items()):
            yield key, meter.rate(self._clock())
        if self._shared.received or self._shared.sent:
            yield OTHER, self._shared.rate(self._clock())


class MeterAssignment:
    """Selects the meters of a record: those of the proxy, its client and its route.

    :param total: the meter of the whole proxy.
    """

    def __init__(self, total: Meter, clock: Callable[[], float]) -> None:
        self.total = total
        self.clients = RateMeters(clock, MOST_CLIENTS)
        self.routes = RateMeters(clock)

    def of_client(self, ip: str) -> tuple[Meter, ...]:
        """The meters of a record whose client is known."""
        return (self.total, self.clients.of(ip))

    def of_route(self, fed: tuple[Meter, ...], route: str) -> tuple[Meter, ...]:
        """The meters of a record that has the meters ``fed``, and whose route has just become known."""
        return (*fed, self.routes.of(route))
