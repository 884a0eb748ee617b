"""Throughput of all connections together: the second layer of the metrics.

::

    tracker = ThroughputTracker(MetricsPlan(), clock)
    tracker.start()
    tracker.meter.received += 1000       # done by the connection records
    tracker.instant()                    # of the last second: Rate(in_=1000.0, out=0.0)
    tracker.history(3600)                # a rate for each sample of the last hour

The meter is monotonic. Once per sample interval its state is stored in a ring, together with the time at which it was
really read. A rate is the difference of two states divided by the time between them. So a sample that is late or missing
does not distort a rate, and a window that reaches back before the first sample is the mean since then. The age and the
number of connections have no influence.
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

#: Windows with a name, in seconds.
INSTANT, RECENT, AVERAGE = 1.0, 10.0, 60.0

log = Logger()


class Rate(NamedTuple):
    """Payload bytes per second: ``in_`` from clients, ``out`` to clients."""

    in_: float
    out: float


class Sample(NamedTuple):
    """The rate over one sample interval.

    :ivar at: end of the interval, in monotonic seconds.
    """

    at: float
    rate: Rate


ZERO_RATE = Rate(0.0, 0.0)


class Ring:
    """Ring buffer of meter states in the order of time. Once ``most`` are stored, a new one overwrites the oldest.

    A state takes 24 bytes in three arrays: an hour of samples, one per second, is 84 KiB.
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
        """Store the state of ``meter`` at the time ``at``, which must not be before the previous one."""
        self.add_state(at, meter.received, meter.sent)

    def add_state(self, at: float, received: int, sent: int) -> None:
        """Store the state of a meter, as :meth:`add`."""
        if len(self._at) < self._most:
            self._at.append(at)
            self._received.append(received)
            self._sent.append(sent)
            return
        place = self._oldest
        self._at[place], self._received[place], self._sent[place] = at, received, sent
        self._oldest = (place + 1) % self._most

    def resized(self, most: int) -> Ring:
        """A ring for ``most`` states with the newest of these."""
        other = Ring(most)
        for index in range(max(0, len(self) - most), len(self)):
            place = self._place(index)
            other.add_state(self._at[place], self._received[place], self._sent[place])
        return other

    def at(self, index: int) -> float:
        """The time of the state at ``index``; 0 is the oldest."""
        return self._at[self._place(index)]

    def last_by(self, moment: float) -> int:
        """The index of the last state that is not after ``moment``; 0 if all of them are."""
        return max(0, bisect_right(range(len(self)), moment, key=self.at) - 1)

    def rate(self, first: int, last: int) -> Rate:
        """The rate between the states at two indices; 0 between a state and itself."""
        old, new = self._place(first), self._place(last)
        seconds = self._at[new] - self._at[old]
        if seconds <= 0:
            return ZERO_RATE
        return Rate(
            (self._received[new] - self._received[old]) / seconds,
            (self._sent[new] - self._sent[old]) / seconds,
        )

    def _place(self, index: int) -> int:
        return (self._oldest + index) % len(self._at)


class ThroughputTracker:
    """Samples one meter, and computes rates from the samples.

    :param clock: monotonic.
    :ivar meter: every connection record adds its bytes to it.
    """

    def __init__(self, plan: MetricsPlan, clock: IReactorTime) -> None:
        self.meter = Meter()
        self._clock = clock
        self._interval = plan.sample_interval
        self._ring = Ring(_states(plan))
        self._ring.add(clock.seconds(), self.meter)
        self._sampling = LoopingCall(self.sample)
        self._sampling.clock = clock

    def start(self) -> None:
        """Start taking samples."""
        self._sampling.start(self._interval, now=False).addErrback(
            lambda why: log.failure("throughput is no longer sampled", failure=why)
        )

    def configure(self, plan: MetricsPlan) -> None:
        """Take samples as ``plan`` says from now on; as many of the former ones are kept as it has room for."""
        self._ring = self._ring.resized(_states(plan))
        running = self._sampling.running
        self.stop()
        self._interval = plan.sample_interval
        if running:
            self.start()

    def stop(self) -> None:
        """Stop taking samples. Those already taken can still be read."""
        if self._sampling.running:
            self._sampling.stop()

    def sample(self) -> None:
        """Store the current state of the meter."""
        self._ring.add(self._clock.seconds(), self.meter)

    def instant(self) -> Rate:
        """The rate of the last second."""
        return self.custom(INSTANT)

    def recent(self) -> Rate:
        """The rate of the last 10 seconds."""
        return self.custom(RECENT)

    def average(self) -> Rate:
        """The rate of the last 60 seconds."""
        return self.custom(AVERAGE)

    def custom(self, seconds: float) -> Rate:
        """The rate of the last ``seconds``, up to the last sample: of one interval at least, of all samples at most."""
        newest = len(self._ring) - 1
        return self._ring.rate(min(self._since(seconds), max(0, newest - 1)), newest)

    def history(self, seconds: float) -> list[Sample]:
        """The rate of each sample interval in the last ``seconds``, oldest first."""
        first = self._since(seconds)
        return [
            Sample(self._ring.at(index), self._ring.rate(index - 1, index))
            for index in range(first + 1, len(self._ring))
        ]

    def _since(self, seconds: float) -> int:
        """The index of the state at which a window of ``seconds`` begins."""
        begin = self._ring.at(len(self._ring) - 1) - seconds
        # Samples are never exactly on time: half an interval of tolerance selects the nearest state instead of the one before.
        return self._ring.last_by(begin + self._interval / 2)


def _states(plan: MetricsPlan) -> int:
    """How many states are stored: N intervals lie between N + 1."""
    return max(1, ceil(plan.retention / plan.sample_interval)) + 1
