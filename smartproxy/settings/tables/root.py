"""The root table: every top-level key of a configuration, and the tables that only the top level has.

It is data and nothing else. :class:`smartproxy.settings.Settings` adds loading, checking and compiling.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, Strict, Tag

from smartproxy.settings.tables.acme import Acme  # noqa: TC001 - pydantic evaluates annotations
from smartproxy.settings.tables.base import ConnectionKeys, Extensible, Table
from smartproxy.settings.tables.lists import OneOrList
from smartproxy.settings.tables.route import Defaults, Route, SendProxyProtocol, TargetGroup
from smartproxy.settings.tables.shapes import shaped
from smartproxy.settings.tables.tls import Tls
from smartproxy.settings.tables.types import (
    FLAG_OR_TABLE,
    AddressList,
    BindAddress,
    Count,
    Duration,
    FilePath,
    Flag,
    Interval,
    Least,
    Name,
    NonEmptyString,
    PortNumber,
    Positive,
    Size,
    Workers,
)


class ZombieDetection(Table):
    """When an open connection counts as dead."""

    interval: Annotated[Interval, Least(500)] = "10s"
    """Time between two checks."""
    half_grace_tls: Annotated[Duration, Least(1_000)] = "5m"
    """Time after which a TLS connection is closed of which one socket is closed and the other is not."""
    half_grace_plain: Annotated[Duration, Least(1_000)] = "30s"
    """The same without TLS."""
    stuck_tls: Annotated[Duration, Least(1_000)] = "5m"
    """Idle time after which a TLS connection that received client data but sent no reply is closed as stuck."""
    stuck_plain: Annotated[Duration, Least(1_000)] = "60s"
    """The same without TLS."""


class CleanupSettings(Table):
    """How closed connections are cleaned up."""

    batch_size: Positive = 100
    """Size of a batch; as many pending connections start one."""
    delay: Annotated[Duration, Least(1)] = "100ms"
    """How long the first pending connection waits for others."""


class MetricsSettings(Table):
    """Throughput over time."""

    sample_interval: Annotated[Interval, Least(100)] = "1s"
    """Time between two samples."""
    retention: Annotated[Interval, Least(60_000)] = "1h"
    """How long samples are kept."""


class AdminSettings(Table):
    """The listener for metrics and the API: a port, or a unix socket."""

    address: BindAddress = "127.0.0.1"
    """Local address to listen on; `""` is every address."""
    port: PortNumber = 8404
    """Port to listen on."""
    unix: FilePath | None = None
    """Path of a unix socket, instead of address and port."""
    token: Annotated[NonEmptyString | None, Field(repr=False)] = None
    """Token that a client must send; required where the address is not a loopback address."""


Admin: TypeAlias = Annotated[
    Annotated[Flag, Tag("<flag>")] | Annotated[AdminSettings, Tag("<table>")], FLAG_OR_TABLE
]


class AccessLogSettings(Table):
    """A line for every closed connection."""

    path: FilePath = "-"
    """A file, or `-` for standard output."""
    format: Literal["json", "text"] = "json"
    """Format of the line."""


def _required_or_flag(value: object) -> str | None:
    if isinstance(value, bool):
        return "<flag>"
    return "<string>" if value == "require" else None


class Configuration(ConnectionKeys, Extensible):
    """The configuration of a proxy."""

    routes: list[Route]
    """The routes."""
    include: Annotated[list[NonEmptyString], OneOrList()] = Field(default_factory=list)
    """Files with more routes, relative to this one: each a list of routes, or a mapping with `routes`. A pattern like
    `conf.d/*.yaml` is every file that it matches, in the order of their names."""
    target_groups: dict[Name, TargetGroup] = Field(default_factory=dict)
    """Named groups of targets, which routes share."""
    defaults: Defaults = Defaults()
    """Values for every route that does not set its own."""
    proxy_ips: AddressList = Field(default_factory=list)
    """Peers that are trusted to announce a client with a PROXY header."""
    accept_proxy_protocol: Annotated[
        Annotated[Flag, Tag("<flag>")] | Annotated[Literal["require"], Tag("<string>")],
        shaped(_required_or_flag, 'must be true, false or "require"'),
    ] = True
    """From a trusted peer: `true` uses a PROXY header if there is one, `"require"` closes the connection without one, `false`
    treats it as payload. From any other peer a header is always payload. Behind a balancer use `"require"`."""
    proxy_header_timeout: Annotated[Duration, Least(100)] = "5s"
    """Time limit for the PROXY header of a trusted peer. A header that comes later ends the connection."""
    send_proxy_protocol: SendProxyProtocol = False
    """Send a PROXY header to targets: `true` or `1` (version 1), `2`, or a mapping with `version` and `tlvs`."""
    graceful_shutdown_timeout: Annotated[Duration, Least(1_000)] = "30s"
    """How long open connections may continue when the proxy stops."""
    max_pending_data_size: Annotated[Size, Least(4096, "bytes", "MiB")] = "10MiB"
    """Client bytes buffered while a target is dialed; reading pauses well before."""
    max_connections: Count = 0
    """Concurrent connections of the whole proxy, with refused ones whose clients still read why; 0 is no limit."""
    max_connections_per_ip: Count = 0
    """Concurrent connections of one client address, behind a trusted peer of the announced one; 0 is no limit."""
    connection_rate_limit_per_minute: Count = 0
    """New connections of one client address in any 60 seconds; 0 is no limit."""
    ipv6_limit_prefix: Annotated[int, Strict(), Field(ge=1, le=128)] = 128
    """Length of the IPv6 prefix that counts as one client for `maxConnectionsPerIP`, `connectionRateLimitPerMinute` and
    `tls.maxHandshakes`: with 64 all addresses of a /64 share their limits. 128 is each address by itself. IPv4 addresses, also
    IPv4-mapped ones, are always clients of their own."""
    zombie_detection: Annotated[
        Annotated[Flag, Tag("<flag>")] | Annotated[ZombieDetection, Tag("<table>")], FLAG_OR_TABLE
    ] = True
    """Find and close connections that are open but dead; a mapping sets when."""
    cleanup: CleanupSettings = CleanupSettings()
    """How closed connections are cleaned up."""
    metrics: Annotated[
        Annotated[Flag, Tag("<flag>")] | Annotated[MetricsSettings, Tag("<table>")], FLAG_OR_TABLE
    ] = True
    """Measure throughput over time; a mapping sets how."""
    admin: Admin = False
    """Serve metrics and the API; `true` is 127.0.0.1:8404, a mapping sets where."""
    access_log: Annotated[
        Annotated[Flag, Tag("<flag>")] | Annotated[AccessLogSettings, Tag("<table>")], FLAG_OR_TABLE
    ] = False
    """Write a line for every connection; `true` writes to standard output, a mapping sets where and how."""
    workers: Workers = 1
    """Number of processes, or `auto` for one per core."""
    acceleration: Literal["auto", "off"] = "auto"
    """Whether relays without TLS may use splice; `off` copies their bytes, which costs more CPU time."""
    tls: Tls = Tls()
    """TLS of the whole proxy."""
    acme: Acme | None = None
    """Automatic certificates. `{}` is Let's Encrypt, with every other key at its default."""
