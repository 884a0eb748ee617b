"""The metric families of targets, and what they are read from.

The counts are kept by whoever connects (:mod:`smartproxy.upstream.member`) and read when Prometheus scrapes. Names of groups
and targets come from the configuration, or from its discovery, which is bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from smartproxy.metrics.family import MetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from smartproxy.metrics.family import Kind


class TargetCounts(NamedTuple):
    """The counts of one target.

    :ivar up: whether it gets connections.
    :ivar active: connections that are dialed or established now.
    :ivar results: dials by result.
    :ivar checks: checks by result.
    :ivar received: bytes from clients, those of live connections included.
    :ivar sent: bytes to clients, likewise.
    """

    group: str
    name: str
    up: bool
    active: int
    results: Mapping[str, int]
    checks: Mapping[str, int]
    ejections: int
    received: int
    sent: int


class RequestsOfGroup(NamedTuple):
    """The counts of the HTTP requests of one group.

    :ivar retries: requests that were sent again.
    :ivar active: connections to its targets that carry a request.
    :ivar idle: those that wait for another one.
    """

    group: str
    retries: int
    active: int
    idle: int


class TargetSource(Protocol):
    """Knows the targets."""

    def target_counts(self) -> Iterable[TargetCounts]:
        """The counts of every target that is configured or still has connections."""

    def queue_lengths(self) -> Iterable[tuple[str, int]]:
        """Each group, and how many clients wait for one of its targets."""

    def request_counts(self) -> Iterable[RequestsOfGroup]:
        """The counts of each group that had HTTP requests."""


class NoTargets:
    """There are none."""

    def target_counts(self) -> Iterable[TargetCounts]:
        """None."""
        return ()

    def queue_lengths(self) -> Iterable[tuple[str, int]]:
        """None."""
        return ()

    def request_counts(self) -> Iterable[RequestsOfGroup]:
        """None."""
        return ()


#: Name without suffix, kind, help text, and the value of a target.
_PLAIN: tuple[tuple[str, Kind, str, str], ...] = (
    ("smartproxy_target_up", "gauge", "Whether a target gets connections.", "up"),
    (
        "smartproxy_target_connections_active",
        "gauge",
        "Connections to a target, dialed or established.",
        "active",
    ),
    (
        "smartproxy_target_ejections",
        "counter",
        "How often failed dials have taken a target out.",
        "ejections",
    ),
    ("smartproxy_target_received_bytes", "counter", "Payload from clients, handed to a target.", "received"),
    ("smartproxy_target_sent_bytes", "counter", "Payload from a target, handed to clients.", "sent"),
)
_BY_RESULT = (
    ("smartproxy_target_connections", "Dials of a target by result.", "results"),
    ("smartproxy_target_checks", "Checks of a target by result.", "checks"),
)


def target_families(source: TargetSource) -> Iterator[MetricFamily]:
    """Every metric family of targets."""
    counts = list(source.target_counts())
    for name, kind, meaning, key in _PLAIN:
        rows = (((one.group, one.name), int(getattr(one, key))) for one in counts)
        yield MetricFamily(name, kind, meaning, ("group", "target"), rows)
    for name, meaning, key in _BY_RESULT:
        by_result = (
            ((one.group, one.name, result), number)
            for one in counts
            for result, number in getattr(one, key).items()
        )
        yield MetricFamily(name, "counter", meaning, ("group", "target", "result"), by_result)
    yield MetricFamily(
        "smartproxy_target_queue_length", "gauge", "Clients that wait for a target of the group.", ("group",),
        [((group,), length) for group, length in source.queue_lengths()],
    )  # fmt: skip
    requests = list(source.request_counts())
    yield MetricFamily(
        "smartproxy_http_retries", "counter", "HTTP requests that were sent again.", ("group",),
        [((one.group,), one.retries) for one in requests],
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_http_pool_connections", "gauge", "Connections to targets that speak HTTP.", ("group", "state"),
        [
            ((one.group, state), number)
            for one in requests
            for state, number in (("idle", one.idle), ("active", one.active))
        ],
    )  # fmt: skip
