"""Exports the metrics to the prometheus-client registry of a program that embeds the proxy.

::

    prometheus_client.REGISTRY.register(PrometheusCollector(proxy.registry, proxy.counters))

``/metrics`` of the admin listener does not use this module and does not import the library.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector as CollectorBase

from smartproxy.metrics.families import families
from smartproxy.metrics.family import HistogramFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.family import MetricFamily
    from smartproxy.metrics.source import ConnectionSource


class PrometheusCollector(CollectorBase):
    """Reads the registry and the counters when prometheus-client collects."""

    def __init__(self, registry: ConnectionSource, counters: Counters) -> None:
        self._registry = registry
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """Every metric family of the proxy."""
        return map(_metric, families(self._registry, self._counters))


def _metric(family: MetricFamily | HistogramFamily) -> Metric:
    if isinstance(family, HistogramFamily):
        return _histograms(family)
    if family.kind == "info":
        ((values, _one),) = family.rows
        return InfoMetricFamily(family.name, family.meaning, dict(zip(family.labels, values, strict=True)))
    made = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = made(family.name, family.meaning, labels=family.labels)
    for values, number in family.rows:
        metric.add_metric(values, number)
    return metric


def _histograms(family: HistogramFamily) -> Metric:
    rows = list(family.rows)
    whole = any(route is None for route, _ in rows)
    metric = HistogramMetricFamily(family.name, family.meaning, labels=[] if whole else ["route"])
    for route, histogram in rows:
        buckets = [("+Inf" if bound == inf else str(bound), count) for bound, count in histogram.cumulative()]
        metric.add_metric([] if route is None else [route], buckets, histogram.total)
    return metric
