"""From settings that have been found right to the plan that the path works with.

Here durations become seconds, sizes bytes, lists of addresses sets, and what a route does not say is said for it.
"""

from __future__ import annotations

from base64 import b64decode
from math import ceil
from typing import TYPE_CHECKING, Any

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
    SendHeader,
    TargetPlan,
    Timeouts,
    Treatment,
    ZombiePlan,
)
from smartproxy.routing.domains import normalise_pattern
from smartproxy.routing.explain import format_ports
from smartproxy.security.address_set import AddressSet
from smartproxy.serving.ready import block, http_redirect, http_respond, respond
from smartproxy.settings.certificates import TlsFiles
from smartproxy.settings.compile.tls import origination, termination, tls_plan
from smartproxy.settings.tables import base, references, units
from smartproxy.settings.tables.base import inherited
from smartproxy.wire.host import normalise_address
from smartproxy.wire.http_response import BODILESS

if TYPE_CHECKING:
    from pathlib import Path

    from smartproxy.settings.tables.route import (
        Action,
        Match,
        ResponseSettings,
        Route,
        SendProxyProtocol,
        Target,
    )
    from smartproxy.settings.top import Settings


def proxy_plan(settings: Settings, directory: Path, files: TlsFiles | None = None) -> ProxyPlan:
    """The plan of ``settings`` that have been found right; paths are relative to ``directory``.

    :param files: what has been read of its certificates already.
    """
    files = files or TlsFiles(directory)
    sets = _Sets()
    accept = settings.accept_proxy_protocol
    return ProxyPlan(
        routes=tuple(
            _route(settings, route, index, sets, files)
            for index, route in enumerate(settings.routes)
            if route.enabled
        ),
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
        tls=tls_plan(settings, files),
        metrics=_metrics(settings.metrics),
        admin=_admin(settings.admin, directory),
        access_log=_access_log(settings.access_log, directory),
    )


def summary(settings: Settings) -> str:
    """``2 routes, ports 80, 443, 8000-8010``: of the routes that are enabled."""
    enabled = [match_plan(route.match) for route in settings.routes if route.enabled]
    ports = sorted({port for match in enabled for ports in match.ports for port in ports})
    return f"{len(enabled)} routes, ports {format_ports(ports)}"


_ACCEPT: dict[object, AcceptHeader] = {
    True: AcceptHeader.DETECT,
    False: AcceptHeader.NEVER,
    "require": AcceptHeader.REQUIRE,
}


class _Sets:
    """Address sets, one for each list: thousands of routes may share the list of their defaults."""

    def __init__(self) -> None:
        self._made: dict[int, AddressSet] = {}

    def of(self, entries: list[str]) -> AddressSet | None:
        """The set of a list that lives as long as the settings; ``None`` for an empty one."""
        if not entries:
            return None
        if id(entries) not in self._made:
            self._made[id(entries)] = AddressSet(entries)
        return self._made[id(entries)]


def _route(settings: Settings, route: Route, index: int, sets: _Sets, files: TlsFiles) -> RoutePlan:
    timeouts = _timeouts(route, settings.defaults, settings)
    action, security = route.action, (route.security, settings.defaults.security)
    balance = (route.load_balancing, settings.defaults.load_balancing)
    return RoutePlan(
        name=route.name,
        index=index,
        match=match_plan(route.match),
        kind=ActionKind(action.type),
        priority=route.priority,
        targets=tuple(_target(settings, route, target, files) for target in action.targets),
        balance=inherited("algorithm", *balance),
        handler=_served_by(action),
        tls=termination(settings, route, files, timeouts.tls_handshake),
        allow=sets.of(inherited("ip_allow_list", *security)),
        block=sets.of(inherited("ip_block_list", *security)),
        max_connections=inherited("max_connections", *security),
        timeouts=timeouts,
        keep_alive=_keep_alive(route, settings.defaults, settings),
        stuck_detection=route.stuck_detection,
        carries_tls="mode" in action.tls.model_fields_set,
    )


def _served_by(action: Action) -> Any:
    """What serves the connections in this process; ``None`` where they go on, or are closed at once."""
    if action.handler is not None:
        return references.resolved(action.handler)
    if action.to is not None:
        return http_redirect(action.to, action.status)
    if action.response is not None:
        return _answer(action.response)
    return block(action.mode) if action.mode != "close" else None


def _answer(response: ResponseSettings) -> Any:
    body = b64decode(response.base64) if response.base64 is not None else (response.body or "").encode()
    if response.status is None:
        return respond(body)
    return http_respond(
        body, response.status, {} if response.status in BODILESS else {"Content-Type": response.content_type}
    )


def match_plan(match: Match) -> MatchPlan:
    """What a route asks, with one spelling for each address and name."""
    written = match.ports if isinstance(match.ports, list | tuple) else [match.ports]
    return MatchPlan(
        ports=tuple(units.ports(port) for port in written),
        address=normalise_address(match.address) if match.address else "",
        domains=tuple(dict.fromkeys(normalise_pattern(domain) for domain in match.domains)),
        client_ip=AddressSet(match.client_ip) if match.client_ip else None,
        path=match.path,
        methods=frozenset(match.methods),
        headers=tuple(match.headers.items()),
        protocol=match.protocol,
    )


def _target(settings: Settings, route: Route, target: Target, files: TlsFiles) -> TargetPlan:
    """A target with the header that is settled for it: its own ``false`` is not the silence that inherits."""
    host = target.host
    header = inherited("send_proxy_protocol", target, route.action, settings.defaults, settings)
    return TargetPlan(
        hosts=host if callable(host) else (host,) if isinstance(host, str) else tuple(host),
        port=None if target.port == "preserve" else target.port,
        weight=target.weight,
        tls=origination(route, target, files),
        send_header=_send_header(header),
    )


def _send_header(written: SendProxyProtocol) -> SendHeader | None:
    if isinstance(written, base.Table):
        return SendHeader(written.version, tuple(written.tlvs))
    if written is False:
        return None
    return SendHeader(2 if written == 2 else 1)  # noqa: PLR2004 - a number that the line itself explains


def _timeouts(*levels: base.ConnectionKeys) -> Timeouts:
    def said(name: str) -> float:
        return units.seconds(inherited(name, *levels))

    return Timeouts(
        initial_data=said("initial_data_timeout"),
        connection=said("connection_timeout"),
        tls_handshake=said("tls_handshake_timeout"),
        inactivity=said("inactivity_timeout"),
        half_close=said("half_close_timeout"),
        max_lifetime=said("max_connection_lifetime"),
        jitter=float(inherited("timeout_jitter", *levels)),
    )


def _keep_alive(*levels: base.ConnectionKeys) -> KeepAlive:
    return KeepAlive(
        enabled=inherited("keep_alive", *levels),
        treatment=Treatment(inherited("keep_alive_treatment", *levels)),
        inactivity_multiplier=float(inherited("keep_alive_inactivity_multiplier", *levels)),
        extended_lifetime=units.seconds(inherited("extended_keep_alive_lifetime", *levels)),
        probes=_probes(*levels),
    )


def _probes(*levels: base.ConnectionKeys) -> Probes:
    """The kernel counts in whole seconds: the rest of one is a whole one."""
    return Probes(
        initial_delay=ceil(units.seconds(inherited("keep_alive_initial_delay", *levels))),
        interval=ceil(units.seconds(inherited("keep_alive_interval", *levels))),
        attempts=inherited("keep_alive_count", *levels),
    )


def _zombies(written: Any) -> ZombiePlan | None:
    if isinstance(written, bool):
        return ZombiePlan() if written else None
    return ZombiePlan(
        interval=units.seconds(written.interval),
        half_grace_tls=units.seconds(written.half_grace_tls),
        half_grace_plain=units.seconds(written.half_grace_plain),
        stuck_tls=units.seconds(written.stuck_tls),
        stuck_plain=units.seconds(written.stuck_plain),
    )


def _metrics(written: Any) -> MetricsPlan | None:
    if isinstance(written, bool):
        return MetricsPlan() if written else None
    return MetricsPlan(units.seconds(written.sample_interval), units.seconds(written.retention))


def _admin(written: Any, directory: Path) -> AdminPlan | None:
    if isinstance(written, bool):
        return AdminPlan() if written else None
    unix = None if written.unix is None else str(directory / written.unix)
    return AdminPlan(address=written.address, port=written.port, unix=unix, token=written.token)


def _access_log(written: Any, directory: Path) -> AccessLogPlan | None:
    if isinstance(written, bool):
        return AccessLogPlan() if written else None
    path = written.path if written.path == "-" else str(directory / written.path)
    return AccessLogPlan(path=path, format=written.format)
