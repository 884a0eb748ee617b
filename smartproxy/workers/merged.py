"""The counts and measurements of several workers as those of one proxy.

::

    reading = await merged_reading(snapshots, retired.snapshot, own, names, throughput, Slices(clock))
    families(reading.registry, reading.counters)        # as of a proxy in one process
    views.metrics(reading.metrics, reading.counters)

Counters, gauges and rates are added, histograms and distributions bucket by bucket. What a worker that has ended had counted
is in ``retired``, so totals never decrease.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from smartproxy.admin.control import MetricsReading
from smartproxy.metrics.counted import CountedMetrics
from smartproxy.metrics.interfaces import IMetrics
from smartproxy.workers.merged_throughput import MergedRates
from smartproxy.workers.sums import MergedConnections, Names, Sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartproxy.flow.slices import Slices
    from smartproxy.metrics.counters import Counters
    from smartproxy.workers.merged_throughput import MergedThroughput
    from smartproxy.workers.snapshot import WorkerSnapshot


@implementer(IMetrics)
class MergedMetrics(CountedMetrics):
    """What is computed of the sums of several workers."""

    def __init__(self, connections: MergedConnections, sums: Sums, throughput: MergedThroughput) -> None:
        super().__init__(connections, sums.counters)
        self.throughput = throughput.with_rates(MergedRates(sums.route_rates), MergedRates(sums.client_rates))
        self.percentiles = sums.distributions.percentiles


async def merged_reading(
    live: Sequence[WorkerSnapshot],
    retired: WorkerSnapshot,
    own: Counters,
    configured: Names,
    throughput: MergedThroughput,
    slices: Slices,
    draining: Sequence[WorkerSnapshot] = (),
) -> tuple[MetricsReading, Names]:
    """Add up everything.

    :param live: the snapshots of workers that run.
    :param retired: the sums of those that have ended.
    :param own: what the supervisor has counted itself; changes of the configuration are its alone.
    :param draining: those of workers that run and take no new connections.
    :param configured: what is shown even where nothing has been counted.
    :return: also what the configuration or a live worker has.
    """
    sums = Sums(configured)
    sums.add_own(own)
    for drains, snapshots in ((False, live), (True, draining)):
        for snapshot in snapshots:
            for _ in sums.add(snapshot, drains=drains):
                await slices.turn()
    targets, groups = sums.targets.known()
    routes = frozenset(name for name, _ in sums.counters.series())
    names = Names(routes, frozenset(targets), frozenset(groups))
    for _ in sums.add(retired, ended=True):
        await slices.turn()
    connections = MergedConnections(sums)
    return MetricsReading(connections, sums.counters, MergedMetrics(connections, sums, throughput)), names
