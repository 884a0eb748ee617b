"""Compiles valid settings to the plan that the control path and the byte path use.

Durations become seconds, sizes bytes, lists of addresses sets; and each route gets the values that it inherits.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from smartproxy.model.plan import (
    AcceptHeader,
    AccessLogPlan,
    ActionKind,
    AdminPlan,
    CleanupPlan,
    KeepAlive,
    MatchPlan,
    MetricsPlan,
    Probes,
    ProxyPlan,
    RoutePlan,
    Timeouts,
    Treatment,
    ZombiePlan,
)
from smartproxy.routing.domains import normalise_pattern
from smartproxy.routing.explain import format_ports
from smartproxy.security.address_set import AddressSet
from smartproxy.settings.compile.groups import GroupPlans
from smartproxy.settings.compile.handlers import handler_of
from smartproxy.settings.compile.tls import termination, tls_plan
from smartproxy.settings.tables import units
from smartproxy.settings.tables.base import inherited
from smartproxy.wire.host import normalise_address

if TYPE_CHECKING:
    from smartproxy.settings.compile.references import References
    from smartproxy.settings.tables.base import ConnectionKeys
    from smartproxy.settings.tables.root import (
        AccessLogSettings,
        AdminSettings,
        Configuration,
        MetricsSettings,
        ZombieDetection,
    )
    from smartproxy.settings.tables.route import Match, Route

#: Version 2 has checksums, TLVs and UNIX addresses; version 1, the default, is what every backend understands.
_VERSION_2: Final = 2


def proxy_plan(settings: Configuration, references: References) -> ProxyPlan:
    """The plan of ``settings``, which must be valid.

    :param references: what they refer to; the instance that they were checked with, so that files are read once.
    """
    sets = _AddressSets()
    accept = settings.accept_proxy_protocol
    groups = GroupPlans(settings, references)
    routes = tuple(
        _route(settings, route, index, sets, references, groups)
        for index, route in enumerate(settings.routes)
        if route.enabled
    )
    return ProxyPlan(
        routes=routes,
        groups=groups.all(),
        trusted=sets.of(settings.proxy_ips),
        accept_header=_ACCEPT[accept],
        header_timeout=units.seconds(settings.proxy_header_timeout),
        graceful_shutdown=units.seconds(settings.graceful_shutdown_timeout),
        max_pending_data=units.octets(settings.max_pending_data_size),
        max_connections=settings.max_connections,
        max_connections_per_ip=settings.max_connections_per_ip,
        connection_rate_per_minute=settings.connection_rate_limit_per_minute,
        keep_alive=settings.keep_alive,
        probes=_probes(settings),
        acceleration=settings.acceleration == "auto",
        timeouts=_timeouts(settings),
        zombies=_zombies(settings.zombie_detection),
        cleanup=CleanupPlan(settings.cleanup.batch_size, units.seconds(settings.cleanup.delay)),
        tls=tls_plan(settings, references.tls),
        metrics=_metrics(settings.metrics),
        admin=_admin(settings.admin, references),
        access_log=_access_log(settings.access_log, references),
    )


def summary(settings: Configuration) -> str:
    """``2 routes, ports 80, 443, 8000-8010``, of the enabled routes."""
    enabled = [match_plan(route.match) for route in settings.routes if route.enabled]
    ports = sorted({port for match in enabled for ports in match.ports for port in ports})
    return f"{len(enabled)} routes, ports {format_ports(ports)}"


_ACCEPT: dict[object, AcceptHeader] = {
    True: AcceptHeader.DETECT,
    False: AcceptHeader.NEVER,
    "require": AcceptHeader.REQUIRE,
}


class _AddressSets:
    """Makes one address set per list: thousands of routes may share the list of their defaults."""

    def __init__(self) -> None:
        self._by_id: dict[int, AddressSet] = {}

    def of(self, entries: list[str]) -> AddressSet | None:
        """The set of a list of the settings, or ``None`` for an empty list."""
        if not entries:
            return None
        # The settings keep the list alive, so its id is not reused while this object exists.
        if id(entries) not in self._by_id:
            self._by_id[id(entries)] = AddressSet(entries)
        return self._by_id[id(entries)]


def _route(
    settings: Configuration,
    route: Route,
    index: int,
    sets: _AddressSets,
    references: References,
    groups: GroupPlans,
) -> RoutePlan:
    timeouts = _timeouts(route, settings.defaults, settings)
    action, security = route.action, (route.security, settings.defaults.security)
    return RoutePlan(
        name=route.name,
        index=index,
        match=match_plan(route.match),
        kind=ActionKind(action.type),
        priority=route.priority,
        group=groups.of(route),
        handler=handler_of(action, references.handlers),
        tls=termination(settings, route, references.tls, timeouts.tls_handshake),
        allow=sets.of(inherited("ip_allow_list", *security)),
        block=sets.of(inherited("ip_block_list", *security)),
        max_connections=inherited("max_connections", *security),
        timeouts=timeouts,
        keep_alive=_keep_alive(route, settings.defaults, settings),
        stuck_detection=route.stuck_detection,
        carries_tls="mode" in action.tls.model_fields_set,
    )


def match_plan(match: Match) -> MatchPlan:
    """The conditions of a route, with addresses and names in their normal form."""
    ports = match.ports if isinstance(match.ports, list | tuple) else [match.ports]
    return MatchPlan(
        ports=tuple(units.ports(port) for port in ports),
        address=_bind_address(match.address),
        domains=tuple(dict.fromkeys(normalise_pattern(domain) for domain in match.domains)),
        client_ip=AddressSet(match.client_ip) if match.client_ip else None,
        path=match.path,
        methods=frozenset(match.methods),
        headers=tuple(match.headers.items()),
        protocol=match.protocol,
    )


def _bind_address(written: str) -> str:
    """``::`` accepts IPv4 too, as ``""`` does: it is the same listener."""
    address = normalise_address(written) if written else ""
    return "" if address == "::" else address


def _timeouts(*levels: ConnectionKeys) -> Timeouts:
    def value(name: str) -> float:
        return units.seconds(inherited(name, *levels))

    return Timeouts(
        initial_data=value("initial_data_timeout"),
        connection=value("connection_timeout"),
        tls_handshake=value("tls_handshake_timeout"),
        inactivity=value("inactivity_timeout"),
        half_close=value("half_close_timeout"),
        max_lifetime=value("max_connection_lifetime"),
        jitter=float(inherited("timeout_jitter", *levels)),
    )


def _keep_alive(*levels: ConnectionKeys) -> KeepAlive:
    return KeepAlive(
        enabled=inherited("keep_alive", *levels),
        treatment=Treatment(inherited("keep_alive_treatment", *levels)),
        inactivity_multiplier=float(inherited("keep_alive_inactivity_multiplier", *levels)),
        extended_lifetime=units.seconds(inherited("extended_keep_alive_lifetime", *levels)),
        probes=_probes(*levels),
    )


def _probes(*levels: ConnectionKeys) -> Probes:
    """The kernel counts in whole seconds, so fractions are rounded up."""
    return Probes(
        initial_delay=ceil(units.seconds(inherited("keep_alive_initial_delay", *levels))),
        interval=ceil(units.seconds(inherited("keep_alive_interval", *levels))),
        attempts=inherited("keep_alive_count", *levels),
    )


def _zombies(written: bool | ZombieDetection) -> ZombiePlan | None:
    if isinstance(written, bool):
        return ZombiePlan() if written else None
    return ZombiePlan(
        interval=units.seconds(written.interval),
        half_grace_tls=units.seconds(written.half_grace_tls),
        half_grace_plain=units.seconds(written.half_grace_plain),
        stuck_tls=units.seconds(written.stuck_tls),
        stuck_plain=units.seconds(written.stuck_plain),
    )


def _metrics(written: bool | MetricsSettings) -> MetricsPlan | None:
    if isinstance(written, bool):
        return MetricsPlan() if written else None
    return MetricsPlan(units.seconds(written.sample_interval), units.seconds(written.retention))


def _admin(written: bool | AdminSettings, references: References) -> AdminPlan | None:
    if isinstance(written, bool):
        return AdminPlan() if written else None
    unix = None if written.unix is None else references.path_of(written.unix)
    return AdminPlan(address=written.address, port=written.port, unix=unix, token=written.token)


def _access_log(written: bool | AccessLogSettings, references: References) -> AccessLogPlan | None:
    if isinstance(written, bool):
        return AccessLogPlan() if written else None
    path = written.path if written.path == "-" else references.path_of(written.path)
    return AccessLogPlan(path=path, format=written.format)
