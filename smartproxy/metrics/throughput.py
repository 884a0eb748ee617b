"""How fast bytes go by, all connections together: the second layer of the metrics.

::

    tracker = ThroughputTracker(MetricsPlan(), clock)
    tracker.start()
    tracker.meter.received += 1000       # the records do that
    tracker.instant()                    # of the last second: Rate(in_=1000.0, out=0.0)
    tracker.history(3600)                # a rate for each sample of the last hour

The meter only ever grows. Once a sample interval its state is put into a ring, with the moment at which that
really happened, and a rate is the difference of two such states divided by the seconds between them. So a sample that
came late, or not at all, bends no rate; a window longer than what is known is the mean of what is
known; and neither the age nor the number of connections is in it anywhere.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from smartproxy.model.record import Meter

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.model.plan import MetricsPlan

#: Seconds of the windows that have names.
INSTANT, RECENT, AVERAGE = 1.0, 10.0, 60.0

log = Logger()


class Rate(NamedTuple):
    """Payload bytes per second: ``in_`` from clients, ``out`` to clients."""

    in_: float
    out: float


class Sample(NamedTuple):
    """What went by in the interval that ended ``at`` (monotonic seconds)."""

    at: float
    rate: Rate


STILL = Rate(0.0, 0.0)


class Ring:
    """States of a meter, oldest first; a new one takes the place of the oldest when ``most`` are there.

    24 bytes each: an hour of seconds is 84 KiB.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._at = array("d")
        self._received = array("Q")
        self._sent = array("Q")
        self._oldest = 0

    def __len__(self) -> int:
        return len(self._at)

    def add(self, at: float, meter: Meter) -> None:
        """The meter's state at ``at``, which is later than all before."""
        if len(self._at) < self._most:
            self._at.append(at)
            self._received.append(meter.received)
            self._sent.append(meter.sent)
            return
        place = self._oldest
        self._at[place], self._received[place], self._sent[place] = at, meter.received, meter.sent
        self._oldest = (place + 1) % self._most

    def at(self, index: int) -> float:
        """When the state of that index was; 0 is the oldest."""
        return self._at[self._place(index)]

    def last_by(self, moment: float) -> int:
        """The index of the last state that is not after ``moment``; of the oldest, where all are."""
        return max(0, bisect_right(range(len(self)), moment, key=self.at) - 1)

    def rate(self, first: int, last: int) -> Rate:
        """Between the states of two indices; nothing between a state and itself."""
        old, new = self._place(first), self._place(last)
        seconds = self._at[new] - self._at[old]
        if seconds <= 0:
            return STILL
        return Rate(
            (self._received[new] - self._received[old]) / seconds,
            (self._sent[new] - self._sent[old]) / seconds,
        )

    def _place(self, index: int) -> int:
        return (self._oldest + index) % len(self._at)


class ThroughputTracker:
    """Samples one meter, and tells its rates.

    :param clock: monotonic. :ivar meter: what every record feeds.
    """

    def __init__(self, plan: MetricsPlan, clock: IReactorTime) -> None:
        self.meter = Meter()
        self._clock = clock
        self._interval = plan.sample_interval
        # One more state than intervals between them.
        self._ring = Ring(max(1, ceil(plan.retention / plan.sample_interval)) + 1)
        self._ring.add(clock.seconds(), self.meter)
        self._sampling = LoopingCall(self.sample)
        self._sampling.clock = clock

    def start(self) -> None:
        """Take samples from now on."""
        self._sampling.start(self._interval, now=False).addErrback(
            lambda why: log.failure("throughput is no longer sampled", failure=why)
        )

    def stop(self) -> None:
        """Take no more. What is known stays known."""
        if self._sampling.running:
            self._sampling.stop()

    def sample(self) -> None:
        """Keep what the meter shows now."""
        self._ring.add(self._clock.seconds(), self.meter)

    def instant(self) -> Rate:
        """Of the last second."""
        return self.custom(INSTANT)

    def recent(self) -> Rate:
        """Of the last 10 seconds."""
        return self.custom(RECENT)

    def average(self) -> Rate:
        """Of the last 60 seconds."""
        return self.custom(AVERAGE)

    def custom(self, seconds: float) -> Rate:
        """Of the last ``seconds``, up to the last sample; one interval at least, what is retained at most."""
        newest = len(self._ring) - 1
        return self._ring.rate(min(self._since(seconds), max(0, newest - 1)), newest)

    def history(self, seconds: float) -> list[Sample]:
        """The rate of each interval in the last ``seconds``, oldest first."""
        first = self._since(seconds)
        return [
            Sample(self._ring.at(index), self._ring.rate(index - 1, index))
            for index in range(first + 1, len(self._ring))
        ]

    def _since(self, seconds: float) -> int:
        """The state with which a window of so many seconds begins: the nearest one, for no sample is on time."""
        begin = self._ring.at(len(self._ring) - 1) - seconds
        return self._ring.last_by(begin + self._interval / 2)
