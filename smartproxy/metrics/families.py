"""Every metric that Prometheus can read, by name: what it is called, what it means, where its numbers are.

:func:`families` is the only list of them. :mod:`smartproxy.metrics.prometheus` writes it as text, and
:mod:`smartproxy.metrics.collector` hands it to a program's own prometheus-client registry.

A label is a route's name, which the configuration gave, or a member of a closed set: nothing that a client wrote. A route's
histograms appear with its first observation, so that ten thousand idle routes stay ten thousand short lines.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from smartproxy.metrics import totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smartproxy.connections.registry import Registry
    from smartproxy.model.histogram import Histogram
    from smartproxy.model.tallies import RouteTally, Tallies

Kind: TypeAlias = Literal["counter", "gauge", "info"]


class Family(NamedTuple):
    """A metric that is one number for each set of labels.

    :ivar name: without what a sample's name has after it (``_total``, ``_info``).
    :ivar rows: the values of the labels, and the number. To be read once, with pauses or without.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...]
    rows: Iterable[tuple[tuple[str, ...], int]]


class Spread(NamedTuple):
    """A metric that is a histogram for each route. :ivar rows: the route, and its histogram; ``None``: of the whole proxy."""

    name: str
    meaning: str
    rows: Iterable[tuple[str | None, Histogram]]


def families(registry: Registry, tallies: Tallies) -> Iterator[Family | Spread]:
    """Every metric, in the order of the documentation."""
    routes = list(tallies.routes.items())
    yield Family("smartproxy_build", "info", "What is running.", ("version",), [((installed_version(),), 1)])
    yield from _connections(routes)
    yield from _bytes(registry, tallies)
    yield from _refusals(tallies)
    yield from _cleanup(registry, tallies)
    yield from _certificates(tallies)
    yield from _handshakes(tallies)
    yield from _histograms(routes)


def _connections(routes: list[tuple[str, RouteTally]]) -> Iterator[Family]:
    yield Family(
        "smartproxy_connections", "counter", "Connections that a route was chosen for.", ("route",),
        (((name,), tally.opened) for name, tally in routes),
    )  # fmt: skip
    yield Family(
        "smartproxy_connections_active", "gauge", "Those that live.", ("route",),
        (((name,), tally.active) for name, tally in routes),
    )  # fmt: skip
    yield Family(
        "smartproxy_connections_closed", "counter", "Those that have ended.", ("route", "reason"),
        (((name, why), count) for name, tally in routes for why, count in list(tally.closed.items())),
    )  # fmt: skip


def _bytes(registry: Registry, tallies: Tallies) -> Iterator[Family]:
    moved = totals.by_route(registry, tallies)
    yield Family(
        "smartproxy_received_bytes", "counter", "Payload from clients, handed to targets.", ("route",),
        (((name,), count.received) for name, count in moved.items()),
    )  # fmt: skip
    yield Family(
        "smartproxy_sent_bytes", "counter", "Payload from targets, handed to clients.", ("route",),
        (((name,), count.sent) for name, count in moved.items()),
    )  # fmt: skip


def _refusals(tallies: Tallies) -> Iterator[Family]:
    yield Family(
        "smartproxy_connections_rejected", "counter", "Connections refused before they had a target.",
        ("reason",), [((why,), count) for why, count in tallies.rejected.items()],
    )  # fmt: skip
    yield Family(
        "smartproxy_proxy_headers", "counter", "PROXY headers of trusted peers.",
        ("version", "result"), list(tallies.proxy_headers.items()),
    )  # fmt: skip
    yield Family(
        "smartproxy_zombies", "counter", "Dead connections that a sweep found.",
        ("kind",), [((kind,), count) for kind, count in tallies.zombies.items()],
    )  # fmt: skip


def _cleanup(registry: Registry, tallies: Tallies) -> Iterator[Family]:
    queue = registry.ended
    yield Family(
        "smartproxy_cleanup_queue_length", "gauge", "Ended connections that wait to be put away.",
        (), [((), len(queue))],
    )  # fmt: skip
    yield Family(
        "smartproxy_cleanup_batches", "counter", "Batches in which ended connections were put away.",
        (), [((), queue.batches)],
    )  # fmt: skip
    yield Family(
        "smartproxy_access_log_dropped", "counter", "Lines that the access log could not be given.",
        (), [((), tallies.unlogged)],
    )  # fmt: skip


def _certificates(tallies: Tallies) -> Iterator[Family]:
    yield Family(
        "smartproxy_certificate_expiry_timestamp_seconds", "gauge", "When a certificate expires.", ("name",),
        [((name,), int(when)) for name, when in tallies.certificate_expiry.items()],
    )  # fmt: skip
    yield Family(
        "smartproxy_certificate_reloads", "counter", "Certificates that were replaced on disk.", ("result",),
        [((result,), count) for result, count in tallies.certificate_reloads.items()],
    )  # fmt: skip
    yield Family(
        "smartproxy_ocsp_responses", "counter", "Questions to OCSP responders about certificates.", ("result",),
        [((result,), count) for result, count in tallies.ocsp_responses.items()],
    )  # fmt: skip


def _handshakes(tallies: Tallies) -> Iterator[Family | Spread]:
    yield Family(
        "smartproxy_tls_handshakes", "counter", "Handshakes with clients whose TLS ends here.",
        ("result", "version"), list(tallies.handshakes.items()),
    )  # fmt: skip
    yield Family(
        "smartproxy_tls_resumed",
        "counter",
        "Those that took up a former session.",
        (),
        [((), tallies.resumed)],
    )
    yield Spread(
        "smartproxy_tls_handshake_seconds", "How long those took that succeeded.",
        [(None, tallies.handshake_seconds)],
    )  # fmt: skip


def _histograms(routes: list[tuple[str, RouteTally]]) -> Iterator[Spread]:
    yield Spread(
        "smartproxy_upstream_dial_seconds", "How long connecting to a target took.",
        ((name, tally.dial_seconds) for name, tally in routes if any(tally.dial_seconds.counts)),
    )  # fmt: skip
    yield Spread(
        "smartproxy_connection_duration_seconds", "How long ended connections lived.",
        ((name, tally.duration_seconds) for name, tally in routes if any(tally.duration_seconds.counts)),
    )  # fmt: skip


@cache
def installed_version() -> str:
    """The version of the installed package; ``unknown`` in a checkout that was never installed."""
    try:
        return version("smartproxy")
    except PackageNotFoundError:
        return "unknown"
