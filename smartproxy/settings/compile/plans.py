"""Compiles valid settings to the plan that the control path and the byte path use.

Durations become seconds, sizes bytes, lists of addresses sets; and each route gets the values that it inherits.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Literal

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
    TlvMatch,
    Treatment,
    ZombiePlan,
)
from smartproxy.routing.domains import normalise_pattern
from smartproxy.routing.explain import format_ports
from smartproxy.settings.compile.acme import acme_plan
from smartproxy.settings.compile.answers import answers_to
from smartproxy.settings.compile.cores import usable_cores
from smartproxy.settings.compile.groups import GroupPlans
from smartproxy.settings.compile.handlers import handler_of
from smartproxy.settings.compile.http import chosen_http_plan, http_plan, ports_by_request
from smartproxy.settings.compile.tls import termination, tls_plan
from smartproxy.settings.tables import units
from smartproxy.settings.tables.base import inherited
from smartproxy.settings.tables.rules import tlv_value
from smartproxy.wire import proxy_tlv
from smartproxy.wire.host import normalise_address

if TYPE_CHECKING:
    from collections.abc import Container

    from smartproxy.settings.compile.groups import Validation
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


def proxy_plan(settings: Configuration, references: References, valid: Validation) -> ProxyPlan:
    """The plan of ``settings``, which must be valid.

    :param references: what they refer to; the instance that they were checked with, so that files are read once.
    :param valid: checks targets that a callable gives, or a file has.
    """
    addresses = references.addresses
    accept = settings.accept_proxy_protocol
    groups = GroupPlans(settings, references, valid)
    by_request = ports_by_request(settings, references.handlers)
    routes = tuple(
        _route(settings, route, index, references, groups, by_request)
        for index, route in enumerate(settings.routes)
        if route.enabled
    )
    return ProxyPlan(
        routes=routes,
        groups=groups.all(),
        trusted=addresses.of(settings.proxy_ips),
        accept_header=_ACCEPT[accept],
        header_timeout=units.seconds(settings.proxy_header_timeout),
        graceful_shutdown=units.seconds(settings.graceful_shutdown_timeout),
        max_pending_data=units.octets(settings.max_pending_data_size),
        max_connections=settings.max_connections,
        max_connections_per_ip=settings.max_connections_per_ip,
        connection_rate_per_minute=settings.connection_rate_limit_per_minute,
        ipv6_limit_prefix=settings.ipv6_limit_prefix,
        keep_alive=settings.keep_alive,
        probes=_probes(settings),
        user_timeout=_user_timeout(settings),
        workers=processes(settings.workers),
        acceleration=settings.acceleration == "auto",
        timeouts=_timeouts(settings),
        zombies=_zombies(settings.zombie_detection),
        cleanup=CleanupPlan(settings.cleanup.batch_size, units.seconds(settings.cleanup.delay)),
        acme=acme_plan(settings, references),
        tls=tls_plan(settings, references.tls),
        metrics=_metrics(settings.metrics),
        admin=admin_plan(settings.admin, references),
        access_log=_access_log(settings.access_log, references),
        address_files=tuple(addresses.files.values()),
        error_pages=references.error_pages.of(settings.defaults.error_pages),
        page_files=tuple(references.error_pages.files.values()),
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


def _route(
    settings: Configuration,
    route: Route,
    index: int,
    references: References,
    groups: GroupPlans,
    by_request: bytes,
) -> RoutePlan:
    timeouts = _timeouts(route, settings.defaults, settings)
    action, security = route.action, (route.security, settings.defaults.security)
    answers = answers_to(route, references)
    handler = handler_of(action, references.handlers)
    return RoutePlan(
        name=route.name,
        index=index,
        match=match_plan(
            route.match, references.addresses.of(route.match.client_ip), fallback=route.fallback
        ),
        kind=ActionKind(action.type),
        priority=route.priority,
        group=groups.of(route),
        handler=handler,
        answers=answers,
        tls=termination(settings, route, references.tls, timeouts.tls_handshake),
        allow=references.addresses.of(inherited("ip_allow_list", *security)),
        block=references.addresses.of(inherited("ip_block_list", *security)),
        max_connections=inherited("max_connections", *security),
        timeouts=timeouts,
        keep_alive=_keep_alive(route, settings.defaults, settings),
        stuck_detection=route.stuck_detection,
        carries_tls="mode" in action.tls.model_fields_set,
        silence=0.0 if route.silence is None else units.seconds(route.silence),
        http=http_plan(route, settings, references.error_pages, answers, by_request),
        chosen_http=chosen_http_plan(route, settings, references.error_pages, handler),
    )


def match_plan(match: Match, clients: Container[str] | None = None, *, fallback: bool = False) -> MatchPlan:
    """The conditions of a route, with addresses and names in their normal form.

    :param clients: the addresses of ``clientIp``. For comparisons of routes, which do not look at single clients, it may be
        left out: then they are a set without addresses.
    """
    addresses = match.address if isinstance(match.address, list | tuple) else [match.address]
    bound = tuple(dict.fromkeys(_bind_address(address) for address in addresses))
    ports = match.ports if isinstance(match.ports, list | tuple) else [match.ports]
    return MatchPlan(
        ports=tuple(units.ports(port) for port in ports),
        addresses=("",) if "" in bound else bound,
        domains=tuple(dict.fromkeys(normalise_pattern(domain) for domain in match.domains)),
        client_ip=(clients if clients is not None else frozenset()) if match.client_ip else None,
        proxy_tlv=tuple(_tlv_match(name, values) for name, values in match.proxy_tlv.items()),
        path=match.path,
        methods=frozenset(match.methods),
        headers=tuple(match.headers.items()),
        query=tuple(match.query.items()),
        protocol=match.protocol,
        alpn=frozenset(match.alpn),
        fallback=fallback,
    )


def _tlv_match(name: str, written: str | list[str]) -> TlvMatch:
    values = [written] if isinstance(written, str) else written
    kind = proxy_tlv.type_of(name)
    if kind == proxy_tlv.PP2_TYPE_AUTHORITY:
        return TlvMatch(kind, domains=tuple(dict.fromkeys(normalise_pattern(value) for value in values)))
    return TlvMatch(kind, tuple(dict.fromkeys(tlv_value(value) for value in values)))


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
        user_timeout=_user_timeout(*levels),
    )


def _user_timeout(*levels: ConnectionKeys) -> int:
    """In whole milliseconds; fractions are rounded up, because 0 is another value."""
    return ceil(units.seconds(inherited("tcp_user_timeout", *levels)) * 1000)


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


def admin_plan(written: bool | AdminSettings, references: References) -> AdminPlan | None:
    """The admin listener; ``None`` where there is none."""
    if isinstance(written, bool):
        return AdminPlan() if written else None
    unix = None if written.unix is None else references.path_of(written.unix)
    return AdminPlan(address=written.address, port=written.port, unix=unix, token=written.token)


def _access_log(written: bool | AccessLogSettings, references: References) -> AccessLogPlan | None:
    if isinstance(written, bool):
        return AccessLogPlan() if written else None
    path = written.path if written.path == "-" else references.path_of(written.path)
    return AccessLogPlan(path=path, format=written.format)


def processes(workers: int | Literal["auto"]) -> int:
    """The number of worker processes: with ``auto`` one for each core that this process may use."""
    return usable_cores() if workers == "auto" else workers
