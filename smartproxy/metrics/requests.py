"""Counters of HTTP requests, by route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.metrics.family import HistogramFamily, MetricFamily
from smartproxy.metrics.histogram import DIAL_BOUNDS, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Methods that are labels (RFC 9110, 9.3; RFC 5789). Any other is ``other``, so that no client can add a series.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT"})


class RequestCounters:
    """Counters of one route.

    :ivar answered: requests by method and status.
    :ivar active: requests under way.
    :ivar seconds: from the head of a request to the end of its answer, or to a 101.
    :ivar upgrades: connections that have switched to another protocol, and live.
    """

    __slots__ = ("active", "answered", "seconds", "upgrades")

    def __init__(self) -> None:
        self.answered: dict[tuple[str, int], int] = {}
        self.active = 0
        self.upgrades = 0
        self.seconds = Histogram(DIAL_BOUNDS)

    @property
    def total(self) -> int:
        """Requests that have ended."""
        return sum(self.answered.values())

    def count(self, method: str, status: int, seconds: float) -> None:
        """Count a request that has ended."""
        key = method, status
        known = self.answered.get(key)
        if known is None:
            if method not in METHODS:
                key = "other", status
            known = self.answered.get(key, 0)
        self.answered[key] = known + 1
        self.seconds.observe(seconds)


def request_families(used: list[tuple[str, RequestCounters]]) -> Iterator[MetricFamily | HistogramFamily]:
    """The families of requests.

    :param used: the routes that had any, by name.
    """
    yield MetricFamily(
        "smartproxy_http_requests", "counter", "Answered HTTP requests.", ("route", "method", "code"),
        (
            ((name, method, str(code)), count)
            for name, counted in used
            for (method, code), count in list(counted.answered.items())
        ),
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_http_requests_active", "gauge", "HTTP requests under way.", ("route",),
        (((name,), counted.active) for name, counted in used if name),
    )  # fmt: skip
    yield MetricFamily(
        "smartproxy_http_upgrades_active", "gauge", "Connections that have switched to another protocol.", ("route",),
        (((name,), counted.upgrades) for name, counted in used if name),
    )  # fmt: skip
    yield HistogramFamily(
        "smartproxy_http_request_seconds", "From the head of a request to the end of its answer.",
        ((name, counted.seconds) for name, counted in used),
    )  # fmt: skip
