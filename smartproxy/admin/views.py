"""What the admin API shows: the proxy's objects as plain values for JSON, with the contract's keys.

Points in time are ISO 8601 in UTC with milliseconds (``2026-01-02T03:04:05.678Z``). The proxy itself only
knows monotonic seconds, which no jump of the wall clock can touch; a :class:`Moment` holds both clocks at
once and translates when somebody reads.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from heapq import nlargest
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from smartproxy.metrics import totals
from smartproxy.model.facts import Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartproxy.connections.registry import Registry
    from smartproxy.metrics.totals import Bytes
    from smartproxy.model.plan import MatchPlan, RoutePlan, TargetPlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.model.tallies import RouteTally, Tallies

#: How many clients ``metrics`` names. Clients are the one set here that no configuration bounds.
BY_IP = 100
#: How many of them ``topIPs`` ranks.
TOP_IPS = 10


class Moment(NamedTuple):
    """One instant on both clocks, in seconds: since the epoch, and monotonic."""

    wall: float
    monotonic: float

    @classmethod
    def now(cls) -> Moment:
        """Both clocks, read one after the other."""
        return cls(time.time(), time.monotonic())

    def iso(self, monotonic: float) -> str:
        """When ``monotonic`` was, in UTC."""
        when = datetime.fromtimestamp(self.wall - self.monotonic + monotonic, UTC)
        return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"


def connection(record: ConnectionRecord, moment: Moment) -> dict[str, object]:
    """One live connection."""
    return {
        "id": record.id,
        "state": record.state,
        "route": record.route,
        "listener": record.listener,
        "clientIp": record.client.host,
        "clientPort": record.client.port,
        "peerIp": record.peer.host,
        "proxyProtocol": record.proxy_version,
        "target": None if record.target is None else str(record.target),
        "protocol": record.protocol,
        "tls": record.protocol is Protocol.TLS,
        "sni": record.sni,
        "keepAlive": record.keep_alive,
        "bytesReceived": record.bytes_received,
        "bytesSent": record.bytes_sent,
        "openedAt": moment.iso(record.opened_at),
        "lastActivityAt": moment.iso(record.last_activity_at),
        "relay": record.relay,
    }


def route(plan: RoutePlan, tally: RouteTally, moved: Bytes) -> dict[str, object]:
    """One route: what it asks for, where it leads, what it has carried."""
    return {
        "name": plan.name,
        "priority": plan.priority,
        "match": _match(plan.match),
        "action": {"type": plan.kind, "targets": [_target(target) for target in plan.targets]},
        "maxConnections": plan.max_connections,
        "connections": {"active": tally.active, "total": tally.opened},
        "bytesReceived": moved.received,
        "bytesSent": moved.sent,
    }


def _match(match: MatchPlan) -> dict[str, object]:
    return {
        "ports": [span[0] if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in match.ports],
        "address": match.address,
        "domains": list(match.domains),
        "path": match.path,
        "methods": sorted(match.methods),
        "headers": dict(match.headers),
        "protocol": match.protocol,
    }


def _target(target: TargetPlan) -> dict[str, object]:
    hosts: Any = target.hosts
    port: Any = "preserve" if target.port is None else target.port
    return {
        "host": "callable" if callable(hosts) else list(hosts),
        "port": "callable" if callable(port) else port,
        "weight": target.weight,
    }


def metrics(registry: Registry, tallies: Tallies) -> dict[str, object]:
    """The process in numbers."""
    moved = totals.overall(registry)
    clients = _largest(registry.by_ip, BY_IP)
    top = [{"ip": ip, "connections": count} for ip, count in list(clients.items())[:TOP_IPS]]
    return {
        "connections": {
            "active": registry.active,
            "total": registry.opened,
            "byRoute": dict(registry.by_route),
            "byIP": clients,
            "topIPs": top,
        },
        "totals": {
            "bytesReceived": moved.received,
            "bytesSent": moved.sent,
            "connections": registry.opened,
        },
        "closed": totals.closed(tallies),
        "rejected": dict(tallies.rejected),
        "zombies": dict(tallies.zombies),
        "proxyHeaders": _proxy_headers(tallies),
    }


def _largest(counts: Mapping[str, int], most: int) -> dict[str, int]:
    return dict(nlargest(most, counts.items(), key=itemgetter(1)))


def _proxy_headers(tallies: Tallies) -> dict[str, dict[str, int]]:
    by_version: dict[str, dict[str, int]] = {}
    for (version, result), count in tallies.proxy_headers.items():
        by_version.setdefault(version, {})[result] = count
    return by_version
