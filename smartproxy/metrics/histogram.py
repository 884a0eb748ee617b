"""A histogram of durations with fixed bucket bounds.

::

    dialed = Histogram(DIAL_BOUNDS)
    dialed.observe(0.004)
    dialed.cumulative()    # [(0.001, 0), (0.0025, 0), (0.005, 1), ..., (inf, 1)]

An observation is one binary search and two additions (0.3 microseconds), cheap enough for every connection. Counts are
stored per bucket and accumulated when they are read, in the form of Prometheus: a bucket counts all observations at or
below its bound.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds: from a backend on the same machine to the default ``connectionTimeout``.
DIAL_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

#: Seconds: from a resumed session on loopback to the default ``tlsHandshakeTimeout``.
HANDSHAKE_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: Seconds: from one short request to the default ``extendedKeepAliveLifetime`` of seven days.
DURATION_BOUNDS = (0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 14400.0, 86400.0, 604800.0)


class Histogram:
    """Observations counted by bucket.

    :ivar bounds: ascending upper bounds in seconds; a bound is part of its bucket.
    :ivar counts: one per bound, and one more for observations above the last.
    :ivar total: sum of all observations in seconds.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def merge(self, counts: Sequence[int], total: float) -> None:
        """Add the observations of another histogram with the same bounds.

        :raises ValueError: if it has another number of buckets.
        """
        self.counts = [own + other for own, other in zip(self.counts, counts, strict=True)]
        self.total += total

    def cumulative(self) -> list[tuple[float, int]]:
        """Every bound, ``inf`` last, with the number of observations at or below it."""
        return list(zip((*self.bounds, inf), accumulate(self.counts), strict=True))
