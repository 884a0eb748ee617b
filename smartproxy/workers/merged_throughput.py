"""Throughput of several processes together.

The supervisor asks all workers for their total bytes once per sample interval, adds up what each has moved since it answered
last, and stores the sum as one more state of a :class:`~smartproxy.metrics.throughput.ThroughputTracker`. So rates are
measured over the time between two answers, a worker that does not answer delays its bytes to its next answer, and one that
ends takes none back.

::

    throughput = MergedThroughput(plan.metrics, ask_for_totals, clock)
    throughput.start()
    throughput.total.recent()        # bytes per second
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from smartproxy.metrics.api import NoThroughput, Throughput
from smartproxy.metrics.throughput import ThroughputTracker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.metrics.throughput import Rate
    from smartproxy.model.plan import MetricsPlan

#: Total bytes received and sent, by worker.
TotalsByWorker: TypeAlias = "Mapping[int, tuple[int, int]]"

log = Logger()


class MergedRates:
    """Rates by key, added when they are read: a :class:`~smartproxy.metrics.source.RateSource`."""

    def __init__(self, added: Callable[[], dict[str, Rate]]) -> None:
        self.rates = added

    def each(self) -> Iterator[tuple[str, Rate]]:
        """The same one by one."""
        yield from self.rates().items()


_NO_RATES = MergedRates(dict)


class MergedThroughput:
    """Samples what all workers have moved.

    :param plan: ``None`` where nothing is measured (``metrics: false``).
    :param ask: asks all workers for their total bytes.
    :param clock: monotonic.
    """

    def __init__(
        self, plan: MetricsPlan | None, ask: Callable[[], Awaitable[TotalsByWorker]], clock: IReactorTime
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._plan = plan
        self._tracker = None if plan is None else ThroughputTracker(plan, clock)
        #: The last answer of each worker.
        self._last: dict[int, tuple[int, int]] = {}
        #: Whether the bytes of the next answers were moved while nothing was measured.
        self._is_late = False
        self._sampling = LoopingCall(lambda: Deferred.fromCoroutine(self.sample()))
        self._sampling.clock = clock

    @property
    def total(self) -> Throughput | NoThroughput:
        """The throughput of all connections together; nothing by route or client."""
        return self.with_rates(_NO_RATES, _NO_RATES)

    def with_rates(self, routes: MergedRates, clients: MergedRates) -> Throughput | NoThroughput:
        """The throughput with rates by route and by client of a snapshot."""
        return NoThroughput() if self._tracker is None else Throughput(self._tracker, routes, clients)

    def start(self) -> None:
        """Begin to ask the workers, unless nothing is measured."""
        if self._plan is not None and not self._sampling.running:
            self._sampling.start(self._plan.sample_interval, now=False).addErrback(
                lambda why: log.failure("throughput is no longer sampled", failure=why)
            )

    def stop(self) -> None:
        """Stop asking. The samples so far can still be read."""
        if self._sampling.running:
            self._sampling.stop()

    def configure(self, plan: MetricsPlan | None) -> None:
        """Sample as ``plan`` says from now on; samples are kept unless there were none, or shall be none."""
        if plan == self._plan:
            return
        running = self._sampling.running
        self.stop()
        self._plan = plan
        if plan is None:
            self._tracker = None
        elif self._tracker is None:
            self._tracker, self._is_late, running = ThroughputTracker(plan, self._clock), True, True
        else:
            self._tracker.configure(plan)
        if running:
            self.start()

    async def sample(self) -> None:
        """Ask the workers, and store a sample."""
        received = sent = 0
        for worker, (total_received, total_sent) in (await self._ask()).items():
            before = self._last.get(worker, (0, 0))
            received += max(0, total_received - before[0])
            sent += max(0, total_sent - before[1])
            self._last[worker] = total_received, total_sent
        if self._is_late:
            self._is_late, received, sent = False, 0, 0
        self.moved(received, sent)

    def moved(self, received: int, sent: int) -> None:
        """Store a sample: the workers have moved so many bytes since the last one."""
        if self._tracker is not None:
            self._tracker.meter.received += received
            self._tracker.meter.sent += sent
            self._tracker.sample()

    def forget(self, worker: int) -> None:
        """A worker has ended."""
        self._last.pop(worker, None)
