"""The compiled configuration as a whole, and what belongs to no route."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from smartproxy.model.plan.timing import Probes, Timeouts
from smartproxy.model.plan.tls import TlsPlan

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from smartproxy.model.plan.acme import AcmePlan
    from smartproxy.model.plan.address_file import AddressFile
    from smartproxy.model.plan.error_page import ErrorPage
    from smartproxy.model.plan.group import GroupPlan
    from smartproxy.model.plan.route import RoutePlan
    from smartproxy.model.plan.tls import OriginationPlan


class AcceptHeader(StrEnum):
    """How a PROXY header from a trusted peer is treated (``acceptProxyProtocol``)."""

    DETECT = "detect"
    REQUIRE = "require"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class AdminPlan:
    """The admin listener: TCP (``address``, ``port``), or a unix socket where ``unix`` is its path."""

    address: str = "127.0.0.1"
    port: int = 8404
    unix: str | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class ZombiePlan:
    """When a connection counts as a zombie, in seconds."""

    interval: float = 10.0
    half_grace_tls: float = 300.0
    half_grace_plain: float = 30.0
    stuck_tls: float = 300.0
    stuck_plain: float = 60.0


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """How closed connections are cleaned up: at most ``batch_size`` at once, after ``delay`` seconds."""

    batch_size: int = 100
    delay: float = 0.1


@dataclass(frozen=True, slots=True)
class MetricsPlan:
    """How often throughput is sampled and how long samples are kept, in seconds."""

    sample_interval: float = 1.0
    retention: float = 3600.0


@dataclass(frozen=True, slots=True)
class AccessLogPlan:
    """Where the access log is written; ``-`` is standard output."""

    path: str = "-"
    format: Literal["json", "text"] = "json"


@dataclass(frozen=True, slots=True)
class ProxyPlan:
    """The whole of a configuration, without disabled routes. Limits of 0 are none; times are in seconds, sizes in bytes.

    :ivar groups: target groups: those that have a name of their own, and those of routes with targets of their own.
    :ivar trusted: peers that may announce a client with a PROXY header.
    :ivar header_timeout: for the PROXY header of a trusted peer.
    :ivar max_pending_data: client bytes buffered while a target is dialed.
    :ivar ipv6_limit_prefix: length of the IPv6 prefix that the limits per client take for one client.
    :ivar keep_alive: whether accepted sockets have TCP keep-alive, before a route is known.
    :ivar probes: of those sockets.
    :ivar user_timeout: of those sockets, as in :class:`~smartproxy.model.plan.timing.KeepAlive`.
    :ivar workers: processes that carry connections.
    :ivar acceleration: whether plain relays may use splice.
    :ivar timeouts: before a route is known.
    :ivar acme: how certificates are ordered; ``None`` where no route has an automatic one.
    :ivar address_files: files with addresses that lists of the configuration name.
    :ivar error_pages: for requests without a route, by status.
    :ivar page_files: every page of ``errorPages``.
    :ivar by_name: the routes by name, in their order.
    :ivar groups_by_name: likewise the groups.
    :ivar eager_groups: those that are made before their first connection.
    :ivar originations: the TLS of all targets.
    :ivar speaks_http: whether any route does.
    """

    routes: tuple[RoutePlan, ...]
    groups: tuple[GroupPlan, ...] = ()
    trusted: Container[str] | None = None
    accept_header: AcceptHeader = AcceptHeader.DETECT
    header_timeout: float = 5.0
    graceful_shutdown: float = 30.0
    max_pending_data: int = 10 * 1024 * 1024
    max_connections: int = 0
    max_connections_per_ip: int = 0
    connection_rate_per_minute: int = 0
    ipv6_limit_prefix: int = 128
    keep_alive: bool = True
    probes: Probes = field(default_factory=Probes)
    user_timeout: int = 0
    workers: int = 1
    acceleration: bool = True
    timeouts: Timeouts = field(default_factory=Timeouts)
    zombies: ZombiePlan | None = field(default_factory=ZombiePlan)
    cleanup: CleanupPlan = field(default_factory=CleanupPlan)
    tls: TlsPlan = field(default_factory=TlsPlan)
    acme: AcmePlan | None = None
    metrics: MetricsPlan | None = field(default_factory=MetricsPlan)
    admin: AdminPlan | None = None
    access_log: AccessLogPlan | None = None
    address_files: tuple[AddressFile, ...] = ()
    error_pages: Mapping[int, ErrorPage] = field(default_factory=dict)
    page_files: tuple[ErrorPage, ...] = ()
    by_name: dict[str, RoutePlan] = field(init=False, repr=False, compare=False)
    groups_by_name: dict[str, GroupPlan] = field(init=False, repr=False, compare=False)
    eager_groups: tuple[GroupPlan, ...] = field(init=False, repr=False, compare=False)
    originations: frozenset[OriginationPlan] = field(init=False, repr=False, compare=False)
    speaks_http: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Worker processes share what was made before their fork. To look at all routes would copy the memory of all.
        groups = (route.group for route in self.routes if route.group is not None)
        targets = (target for group in groups for target in group.written())
        derived = {
            "by_name": {route.name: route for route in self.routes},
            "groups_by_name": {group.name: group for group in self.groups},
            "eager_groups": tuple(group for group in self.groups if group.is_eager),
            "originations": frozenset(target.tls for target in targets if target.tls is not None),
            "speaks_http": any(route.http is not None for route in self.routes),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)
