"""Converts the proxy's objects to the JSON values of the admin API.

Times are dates in UTC (:class:`~smartproxy.model.timestamps.Moment`), rates are bytes per second. The number of
clients has no bound, so only the busiest ones are listed. Routes are in :mod:`smartproxy.admin.route_view`.
"""

from __future__ import annotations

from heapq import nlargest
from itertools import islice
from typing import TYPE_CHECKING

from smartproxy.admin.control import LiveConnections
from smartproxy.model.outcome import LONGEST_PATH
from smartproxy.observe.connection_fields import connection_fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smartproxy.connections.registry import Registry
    from smartproxy.metrics.api import NoThroughput, Percentiles, Throughput
    from smartproxy.metrics.counters import Counters
    from smartproxy.metrics.interfaces import IMetrics
    from smartproxy.metrics.throughput import Rate, Sample
    from smartproxy.model.record import ConnectionRecord, RequestUnderWay
    from smartproxy.model.timestamps import Moment

#: Number of clients in ``metrics``, by connections and by bytes per second.
BY_IP = 100
#: Number of clients in ``topIPs``.
TOP_IPS = 10


def live_connections(
    registry: Registry, route: str | None, client: str | None, limit: int, moment: Moment
) -> LiveConnections:
    """The live connections of ``route`` and ``client``, oldest first, at most ``limit``; ``None`` is any."""
    matching = [
        record
        for record in registry.live.values()
        if route in {None, record.route} and client in {None, record.client.host}
    ]
    return LiveConnections([connection(record, moment) for record in islice(matching, limit)], len(matching))


def connection(record: ConnectionRecord, moment: Moment) -> dict[str, object]:
    """A live connection. One that speaks HTTP is ``active`` while a request is under way, and ``idle`` between two."""
    state: str = record.state
    if record.is_http:
        state = "idle" if record.exchange is None else "active"
    return connection_fields(record, moment) | {
        "state": state,
        "requests": record.exchanges if record.is_http or record.exchanges else None,
        "request": None if record.exchange is None else _request(record.exchange),
    }


def _request(exchange: RequestUnderWay) -> dict[str, object]:
    head = exchange.head
    return {
        "method": head.method,
        "host": head.host,
        "path": head.path[:LONGEST_PATH],
        "route": exchange.routed.route.name,
    }


def metrics(shown: IMetrics, counters: Counters) -> dict[str, object]:
    """The metrics of the process."""
    moved = shown.totals()
    busiest = shown.connections.top_ips(BY_IP)
    return {
        "connections": {
            "active": shown.connections.active(),
            "total": shown.connections.total(),
            "byRoute": shown.connections.by_route(),
            "byIP": dict(busiest),
            "topIPs": [{"ip": ip, "connections": count} for ip, count in busiest[:TOP_IPS]],
        },
        "throughput": _throughput(shown.throughput, [ip for ip, _ in busiest[:TOP_IPS]]),
        "totals": {
            "bytesReceived": moved.bytes_received,
            "bytesSent": moved.bytes_sent,
            "connections": moved.connections,
        },
        "closed": shown.closed(),
        "rejected": shown.rejected(),
        "zombies": shown.zombies(),
        "cleanup": shown.cleanup()._asdict(),
        "proxyHeaders": _proxy_headers(counters),
        "percentiles": _percentiles(shown.percentiles()),
    }


def rate(measured: Rate) -> dict[str, float]:
    """A rate in bytes per second, rounded to a tenth."""
    return {"in": round(measured.in_, 1), "out": round(measured.out, 1)}


def _throughput(shown: Throughput | NoThroughput, most_connected: list[str]) -> dict[str, object]:
    """The rates: of clients the highest ones, and those of ``most_connected``, which may be low."""
    rates = shown.by_ip()
    by_ip = dict(nlargest(BY_IP, rates.items(), key=lambda client: sum(client[1])))
    by_ip.update((ip, rates[ip]) for ip in most_connected if ip in rates)
    return {
        "instant": rate(shown.instant()),
        "recent": rate(shown.recent()),
        "average": rate(shown.average()),
        "byRoute": {name: rate(measured) for name, measured in shown.by_route().items()},
        "byIP": {ip: rate(measured) for ip, measured in by_ip.items()},
    }


def history(samples: Iterable[Sample], moment: Moment) -> list[dict[str, object]]:
    """The rate of each sample, oldest first."""
    return [{"at": moment.iso(sample.at), **rate(sample.rate)} for sample in samples]


def _percentiles(shown: Percentiles) -> dict[str, object]:
    return {"durationSeconds": shown.duration_seconds._asdict(), "bytes": shown.bytes._asdict()}


def _proxy_headers(counters: Counters) -> dict[str, dict[str, int]]:
    by_version: dict[str, dict[str, int]] = {}
    for (version, result), count in counters.proxy_headers.items():
        by_version.setdefault(version, {})[result] = count
    return by_version
