"""The counters as Prometheus reads them: a collector that looks when it is scraped, and keeps nothing.

::

    body, content_type = exposition(Collector(registry, tallies), accept="application/openmetrics-text")

The client library's own counters cost 1.5 microseconds an increment with a label; the proxy counts in plain
slots and is read from here, through the library's custom-collector interface and its two encoders.

Text format 0.0.4 is what every Prometheus reads; OpenMetrics 1.0 is given to whoever asks for it. A route's
histograms appear with its first observation, so that ten thousand idle routes stay ten thousand short lines.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from math import inf
from typing import TYPE_CHECKING

from prometheus_client import exposition as text
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector as CollectorBase

from smartproxy.metrics import totals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.connections.registry import Registry
    from smartproxy.model.histogram import Histogram
    from smartproxy.model.tallies import Tallies

#: https://prometheus.io/docs/instrumenting/exposition_formats/#basic-info
TEXT = "text/plain; version=0.0.4; charset=utf-8"
#: OpenMetrics 1.0, "Overall Structure".
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Collector(CollectorBase):
    """Reads the registry and the tallies into metric families. Each scrape sees one moment."""

    def __init__(self, registry: Registry, tallies: Tallies) -> None:
        self._registry = registry
        self._tallies = tallies

    def collect(self) -> Iterator[Metric]:
        """Every family of the proxy, in the order of the documentation."""
        yield InfoMetricFamily("smartproxy_build", "What is running.", {"version": installed_version()})
        yield from self._connections()
        yield from self._bytes()
        yield from self._refusals()
        yield from self._histograms()

    def _connections(self) -> Iterator[Metric]:
        opened = _counter("connections", "Connections that a route was chosen for.", "route")
        active = GaugeMetricFamily("smartproxy_connections_active", "Those that live.", labels=["route"])
        closed = _counter("connections_closed", "Those that have ended.", "route", "reason")
        for name, tally in self._tallies.routes.items():
            opened.add_metric([name], tally.opened)
            active.add_metric([name], tally.active)
            for reason, count in tally.closed.items():
                closed.add_metric([name, reason.value], count)
        yield from (opened, active, closed)

    def _bytes(self) -> Iterator[Metric]:
        received = _counter("received_bytes", "Payload from clients, handed to targets.", "route")
        sent = _counter("sent_bytes", "Payload from targets, handed to clients.", "route")
        for name, count in totals.by_route(self._registry, self._tallies).items():
            received.add_metric([name], count.received)
            sent.add_metric([name], count.sent)
        yield from (received, sent)

    def _refusals(self) -> Iterator[Metric]:
        rejected = _counter("connections_rejected", "Connections refused before they had a target.", "reason")
        for reason, count in self._tallies.rejected.items():
            rejected.add_metric([reason.value], count)
        headers = _counter("proxy_headers", "PROXY headers of trusted peers.", "version", "result")
        for labels, count in self._tallies.proxy_headers.items():
            headers.add_metric(labels, count)
        zombies = _counter("zombies", "Dead connections that a sweep found.", "kind")
        for kind, count in self._tallies.zombies.items():
            zombies.add_metric([kind], count)
        yield from (rejected, headers, zombies)

    def _histograms(self) -> Iterator[Metric]:
        dial = HistogramMetricFamily(
            "smartproxy_upstream_dial_seconds", "How long connecting to a target took.", labels=["route"]
        )
        duration = HistogramMetricFamily(
            "smartproxy_connection_duration_seconds", "How long ended connections lived.", labels=["route"]
        )
        for name, tally in self._tallies.routes.items():
            _add(dial, name, tally.dial_seconds)
            _add(duration, name, tally.duration_seconds)
        yield from (dial, duration)


def _counter(name: str, meaning: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"smartproxy_{name}", meaning, labels=labels)


def _add(family: HistogramMetricFamily, route: str, histogram: Histogram) -> None:
    buckets = [("+Inf" if bound == inf else str(bound), count) for bound, count in histogram.cumulative()]
    if buckets[-1][1]:
        family.add_metric([route], buckets, histogram.total)


@cache
def installed_version() -> str:
    """The version of the installed package; ``unknown`` in a checkout that was never installed."""
    try:
        return version("smartproxy")
    except PackageNotFoundError:
        return "unknown"


def exposition(collector: CollectorBase, accept: str = "") -> tuple[bytes, str]:
    """One scrape, and its content type.

    :param accept: the scraper's ``Accept`` header. The library's own negotiation is not used: it would
        repeat a version of the client's invention in our answer.
    """
    kinds = {offer.partition(";")[0].strip().lower() for offer in accept.split(",")}
    if "application/openmetrics-text" in kinds:
        body: bytes = openmetrics.generate_latest(collector)
        return body, OPENMETRICS
    return text.generate_latest(collector), TEXT
