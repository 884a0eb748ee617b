"""The metric families for Prometheus: name, type, help text, labels and values of each.

:func:`families` is the only list of them. :mod:`smartproxy.metrics.prometheus` writes them as text, and
:mod:`smartproxy.metrics.collector` passes them to the prometheus-client registry of an embedding program.

A label value is a route name, which comes from the configuration, or a member of a closed set; never text that a client
sent, except a name for which an operator's ``acme.onDemand.ask`` has approved a certificate. The histograms of a route appear with its first observation, so that ten thousand idle routes stay forty thousand lines
instead of three hundred thousand.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from smartproxy.metrics import totals
from smartproxy.metrics.counters import UNROUTED
from smartproxy.metrics.family import HistogramFamily, MetricFamily
from smartproxy.metrics.requests import request_families
from smartproxy.metrics.targets import target_families

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.metrics.counters import Counters, RouteCounters
    from smartproxy.metrics.source import ConnectionSource


def families(registry: ConnectionSource, counters: Counters) -> Iterator[MetricFamily | HistogramFamily]:
    """Every metric family."""
    routes = list(counters.series())
    yield MetricFamily(
        "smartproxy_build", "info", "What is running.", ("version",), [((installed_version(),), 1)]
    )
    yield from _connections(routes)
    yield from _bytes(registry, counters)
    yield from _refusals(counters)
    yield from target_families(counters.targets)
    yield from _cleanup(registry, counters)
    yield from _configuration(counters)
    yield from _certificates(counters)
    yield from _orders(counters)
    yield from _handshakes(counters)
    yield from _histograms(routes)
    yield from request_families(
        [(name, counted.requests) for name, counted in routes if counted.requests is not None]
    )


def _connections(routes: list[tuple[str, RouteCounters]]) -> Iterator[MetricFamily]:
    yield MetricFamily(
        "smartproxy_connections", "counter", "Connections that a route was chosen for.", ("route",),
        (((name,), counted.opened) for name, counted in routes),
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_connections_active", "gauge", "Those that live.", ("route",),
        (((name,), counted.active) for name, counted in routes),
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_connections_closed", "counter", "Those that have ended.", ("route", "reason"),
        (
            ((name, why), count)
            for name, counted in routes
            if counted.closed
            for why, count in list(counted.closed.items())
        ),
    )  # fmt: skip


def _bytes(registry: ConnectionSource, counters: Counters) -> Iterator[MetricFamily]:
    received, sent = totals.directions_by_route(registry, counters)
    yield MetricFamily(
        "smartproxy_received_bytes", "counter", "Payload from clients, handed to targets.", ("route",),
        (((name,), count) for name, count in received.items()),
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_sent_bytes", "counter", "Payload from targets, handed to clients.", ("route",),
        (((name,), count) for name, count in sent.items()),
    )  # fmt: skip


def _refusals(counters: Counters) -> Iterator[MetricFamily]:
    yield MetricFamily(
        "smartproxy_connections_rejected", "counter", "Connections refused before they had a target.",
        ("reason",), [((why,), count) for why, count in counters.rejected.items()],
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_proxy_headers", "counter", "PROXY headers of trusted peers.",
        ("version", "result"), list(counters.proxy_headers.items()),
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_postgres_cancels", "counter", "PostgreSQL's requests to cancel a query, for each target.",
        ("result",), [((result,), count) for result, count in counters.postgres_cancels.items()],
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_zombies", "counter", "Dead connections that a sweep found.",
        ("kind",), [((kind,), count) for kind, count in counters.zombies.items()],
    )  # fmt: skip


def _cleanup(registry: ConnectionSource, counters: Counters) -> Iterator[MetricFamily]:
    queue = registry.ended
    yield MetricFamily(
        "smartproxy_cleanup_queue_length", "gauge", "Ended connections that wait to be put away.",
        (), [((), len(queue))],
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_cleanup_batches", "counter", "Batches in which ended connections were put away.",
        (), [((), queue.batches)],
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_access_log_dropped", "counter", "Lines that the access log could not be given.",
        (), [((), counters.access_log_dropped)],
    )  # fmt: skip


def _configuration(counters: Counters) -> Iterator[MetricFamily]:
    yield MetricFamily(
        "smartproxy_config_reloads", "counter", "Changes of the configuration.", ("result",),
        [((result,), count) for result, count in counters.config_reloads.items()],
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_config_last_reload_successful", "gauge", "Whether the last change was put in force.",
        (), [((), int(counters.config_reload_ok))],
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_config_last_reload_timestamp_seconds", "gauge", "When the last change was tried.",
        (), [((), int(counters.config_reload_at))],
    )  # fmt: skip


def _certificates(counters: Counters) -> Iterator[MetricFamily]:
    yield MetricFamily(
        "smartproxy_certificate_expiry_timestamp_seconds", "gauge", "When a certificate expires.", ("name",),
        [((name,), int(when)) for name, when in counters.certificate_expiry().items()],
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_certificate_reloads", "counter", "Certificates that were replaced on disk.", ("result",),
        [((result,), count) for result, count in counters.certificate_reloads.items()],
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_ocsp_responses", "counter", "Questions to OCSP responders about certificates.", ("result",),
        [((result,), count) for result, count in counters.ocsp_responses.items()],
    )  # fmt: skip


def _orders(counters: Counters) -> Iterator[MetricFamily]:
    yield MetricFamily(
        "smartproxy_acme_orders", "counter", "Orders of automatic certificates that have ended.", ("result",),
        [((result,), count) for result, count in counters.acme_orders.items()],
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_acme_next_renewal_timestamp_seconds", "gauge", "When an automatic certificate is ordered next.",
        ("name",), [((name,), int(when)) for name, when in counters.acme_next_renewal().items()],
    )  # fmt: skip


def _handshakes(counters: Counters) -> Iterator[MetricFamily | HistogramFamily]:
    yield MetricFamily(
        "smartproxy_tls_handshakes", "counter", "Handshakes with clients whose TLS ends here.",
        ("result", "version"), list(counters.handshakes.items()),
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_tls_resumed",
        "counter",
        "Those that took up a former session.",
        (),
        [((), counters.resumed)],
    )
    yield HistogramFamily(
        "smartproxy_tls_handshake_seconds", "How long those took that succeeded.",
        [(None, counters.handshake_seconds)],
    )  # fmt: skip


def _histograms(routes: list[tuple[str, RouteCounters]]) -> Iterator[HistogramFamily]:
    # Ten thousand histograms are not looked at for the few routes that were used: by a connection, or a request on one of
    # another route.
    used = [
        (name, counted)
        for name, counted in routes
        if counted.opened or counted.requests is not None or name == UNROUTED
    ]
    yield HistogramFamily(
        "smartproxy_upstream_dial_seconds", "How long connecting to a target took.",
        ((name, counted.dial_seconds) for name, counted in used if any(counted.dial_seconds.counts)),
    )  # fmt: skip
    yield HistogramFamily(
        "smartproxy_connection_duration_seconds", "How long ended connections lived.",
        ((name, counted.duration_seconds) for name, counted in used if any(counted.duration_seconds.counts)),
    )  # fmt: skip


@cache
def installed_version() -> str:
    """The version of the installed package; ``unknown`` if it runs from a checkout."""
    try:
        return version("smartproxy")
    except PackageNotFoundError:
        return "unknown"
