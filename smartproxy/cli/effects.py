"""The lines of ``smartproxy explain`` about what happens to a connection on its route.

Values are those of the compiled plan. The places that set them, the route, ``defaults`` or the top level, are looked up in the
settings: ``built-in`` is a default that the configuration does not set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.cli.http_effects import http_lines
from smartproxy.cli.http_terms import term_lines, tunnel_place
from smartproxy.cli.target_effects import TargetEffects, place_name
from smartproxy.connections.timeouts import effective_timeouts
from smartproxy.errors import HandshakeRefused, NotTls
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import ActionKind, Treatment
from smartproxy.security.address_files import entry_of
from smartproxy.security.client_key import client_key
from smartproxy.settings.compile.levels import connection_levels, security_levels, setting_level
from smartproxy.settings.tables.base import file_key
from smartproxy.settings.tables.units import duration_text
from smartproxy.upstream.budget import TOTAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.cli.dry_run import DryRun
    from smartproxy.errors import Refused
    from smartproxy.model.facts import Detected
    from smartproxy.model.plan import HttpPlan, ProxyPlan, RoutePlan
    from smartproxy.settings import Settings


class Effects:
    """The lines about one connection.

    :param run: how far it has come.
    :param foresee: whether to say who would be next; not where the running proxy is asked.
    :param first_bytes_timeout: seconds that the listener waits for first bytes; ``None`` where it needs none.
    """

    def __init__(
        self,
        settings: Settings,
        plan: ProxyPlan,
        run: DryRun,
        detected: Detected,
        first_bytes_timeout: float | None,
        *,
        foresee: bool = True,
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._run = run
        self._detected = detected
        self._foresee = foresee
        self._first_bytes_timeout = first_bytes_timeout

    def lines(self) -> Iterator[str]:
        """Everything, one line each."""
        if self._run.refused is not None:
            yield f"refused: {self._run.refused.reason.value}{_in_brackets(self._why(self._run.refused))}"
        route = self._run.route
        if route is None:
            return
        yield from self._lists(route)
        yield from self._tls(route)
        yield from self._limits(route)
        yield from self._timeouts(route)
        yield from self._action(route)

    # -- security --------------------------------------------------------------------------------------

    def _why(self, refused: Refused) -> str:
        """The key and entry, or the alert, that belongs to a refusal."""
        route = self._run.route
        if route is not None and refused.reason is RejectReason.IP_BLOCKED:
            if route.block is None or self._client not in route.block:
                return "action.type block"
            return f"{self._list_key(route, 'ip_block_list')} {_entry(route.block, self._client)}"
        if route is not None and refused.reason is RejectReason.IP_NOT_ALLOWED:
            return f"{self._list_key(route, 'ip_allow_list')} {route.allow}"
        if isinstance(refused, NotTls):
            place = "the route terminates TLS" if route is not None else "all routes of the port are for TLS"
            return f"{place}, and the client sends no ClientHello; --sni or --alpn describe one"
        alert = f"{refused.alert.name.lower()}: " if isinstance(refused, HandshakeRefused) else ""
        return f"{alert}{refused.detail}"

    @property
    def _client(self) -> str:
        return self._detected.client_ip

    def _list_key(self, route: RoutePlan, name: str) -> str:
        level = setting_level(name, security_levels(self._settings, route.index))
        prefix = "defaults." if level is not None and level.name == "defaults" else ""
        return f"{prefix}security.{file_key(name)}"

    def _lists(self, route: RoutePlan) -> Iterator[str]:
        """What the lists of the route say of a client that they do not refuse."""
        if not self._client:
            if route.allow or route.block:
                yield "note: without --client-ip no client is compared with the address lists of the route"
        elif route.allow and self._run.refused is None:
            entry = _entry(route.allow, self._client)
            yield f"allowed: {self._client} ({self._list_key(route, 'ip_allow_list')} {entry})"

    def _limits(self, route: RoutePlan) -> Iterator[str]:
        top = "top level"
        security = security_levels(self._settings, route.index)
        level = setting_level("max_connections", security)
        client = client_key(self._client, self._plan.ipv6_limit_prefix)
        whose = f", for {client}" if client else ", for each client"
        limits = [
            ("maxConnections", self._plan.max_connections, top, ", for all routes together"),
            (
                "security.maxConnections",
                route.max_connections,
                level.name if level else "",
                ", for this route",
            ),
            ("maxConnectionsPerIP", self._plan.max_connections_per_ip, top, whose),
            ("connectionRateLimitPerMinute", self._plan.connection_rate_per_minute, top, whose),
        ]
        found = [f"  {key}: {limit} ({place}){whose}" for key, limit, place, whose in limits if limit]
        yield "limits:" if found else "limits: none"
        yield from found

    # -- TLS -------------------------------------------------------------------------------------------

    def _tls(self, route: RoutePlan) -> Iterator[str]:
        tls = route.tls
        if tls is None:
            if self._detected.hello is not None or route.carries_tls:
                yield "tls: passthrough"
            return
        yield f"tls: {self._settings.routes[route.index].action.tls.mode}{self._negotiated(route)}"
        if self._detected.hello is None:
            return
        shown = self._run.certificate
        if shown is None and self._run.is_on_demand:
            yield "certificate: ordered on demand for this name, if acme.onDemand.ask approves it"
        if shown is None:
            if isinstance(self._run.refused, HandshakeRefused):
                yield "certificate: none for this name; refused with unrecognized_name"
            return
        names = ", ".join(shown.names) or "no name"
        if shown.plan.automatic:
            until = (
                " until it is issued clients get a self-signed one"
                if self._until_self_signed
                else " until it is issued clients are refused"
            )
            yield f"certificate: {names} (automatic);{until}"
            return
        yield f"certificate: {names} ({shown.plan.source}, {shown.key_type.name}), expires {shown.not_after:%Y-%m-%d %H:%M} UTC"

    @property
    def _until_self_signed(self) -> bool:
        return self._plan.acme is not None and self._plan.acme.until == "selfSigned"

    def _negotiated(self, route: RoutePlan) -> str:
        assert route.tls is not None  # noqa: S101 - only called for such a route
        parts = [f"minVersion {route.tls.min_version}"]
        secured = self._run.record.secured
        if secured is not None and (route.tls.alpn or (self._detected.hello and self._detected.hello.alpn)):
            parts.append(f"alpn {secured.alpn or 'none'}")
        asked = route.tls.client_auth
        if asked is not None:
            parts.append(f"client certificate {'required' if asked.required else 'requested'}")
        return f", {', '.join(parts)}"

    # -- timeouts --------------------------------------------------------------------------------------

    def _timeouts(self, route: RoutePlan) -> Iterator[str]:
        timeouts, keep_alive = route.timeouts, route.keep_alive
        yield f"timeouts: {self._treatment(route)}"
        if self._first_bytes_timeout is not None:
            longest = duration_text(self._first_bytes_timeout)
            yield f"  initialDataTimeout: {longest} (the longest of the listener's routes)"
        elif route.http is not None:
            yield f"{self._written(route, 'initial_data_timeout', timeouts.initial_data)}, for the first byte"
        if route.tls is not None or any(target.tls for target in route.targets):
            yield self._written(route, "tls_handshake_timeout", timeouts.tls_handshake)
        if route.kind is ActionKind.FORWARD:
            all_ = (
                f", {duration_text(TOTAL * timeouts.connection)} for all targets"
                if timeouts.connection
                else ""
            )
            yield self._written(route, "connection_timeout", timeouts.connection) + all_
        yield from (
            self._long_timeouts(route) if route.http is None else self._http_timeouts(route, route.http)
        )
        if keep_alive.user_timeout:
            yield self._written(route, "tcp_user_timeout", keep_alive.user_timeout / 1000)
        if self._plan.zombies is not None and self._run.record.stuck_detection and route.http is None:
            zombies, is_tls = self._plan.zombies, self._run.record.tls
            key, seconds = ("stuckTls", zombies.stuck_tls) if is_tls else ("stuckPlain", zombies.stuck_plain)
            yield f"  zombieDetection.{key}: {duration_text(seconds)} without any reply to what the client sent"

    def _treatment(self, route: RoutePlan) -> str:
        """What the keep-alive treatment means for the timeouts; those of HTTP have none."""
        of_http = "" if route.http is None else "those of HTTP, "
        if not route.keep_alive.enabled:
            return f"{of_http}keepAlive false ({self._place(route, 'keep_alive')})"
        if of_http:
            return f"{of_http}without keepAliveTreatment"
        treatment = route.keep_alive.treatment.value
        return f"keepAliveTreatment {treatment} ({self._place(route, 'keep_alive_treatment')})"

    def _http_timeouts(self, route: RoutePlan, http: HttpPlan) -> Iterator[str]:
        """Those of a connection that speaks HTTP: the others are among the terms of HTTP."""
        timeouts, place = route.timeouts, tunnel_place(self._settings, route.index, "idle_timeout")
        yield f"{self._written(route, 'inactivity_timeout', timeouts.inactivity)}, within an exchange"
        idle = duration_text(http.tunnel_timeout)
        yield f"  http.websocket.idleTimeout: {idle} ({place}), within a tunnel"
        lifetime = self._written(route, "max_connection_lifetime", timeouts.max_lifetime)
        yield f"{lifetime}, after the exchange in progress"
        yield self._written(route, "half_close_timeout", timeouts.half_close)
        if timeouts.jitter:
            jitter = f"{timeouts.jitter:g} ({self._place(route, 'timeout_jitter')})"
            yield f"  timeoutJitter: {jitter}; those of a tunnel may be that share shorter"

    def _long_timeouts(self, route: RoutePlan) -> Iterator[str]:
        """Those that the keep-alive treatment changes: the values are those that connections are closed by."""
        effective, applied = effective_timeouts(route), route.keep_alive.applied
        inactivity = f"  inactivityTimeout: {duration_text(effective.inactivity)}"
        lifetime = f"  maxConnectionLifetime: {duration_text(effective.lifetime)}"
        if applied is Treatment.EXTENDED:
            factor = f"{route.keep_alive.inactivity_multiplier:g}"
            written = (
                f"{duration_text(route.timeouts.inactivity)} ({self._place(route, 'inactivity_timeout')})"
            )
            place = self._place(route, "keep_alive_inactivity_multiplier")
            yield f"{inactivity} = {written} times keepAliveInactivityMultiplier {factor} ({place})"
            yield f"{lifetime} = extendedKeepAliveLifetime ({self._place(route, 'extended_keep_alive_lifetime')})"
        elif applied is Treatment.IMMORTAL:
            yield from (inactivity, lifetime, "  halfCloseTimeout: none")
            return
        else:
            yield f"{inactivity} ({self._place(route, 'inactivity_timeout')})"
            yield f"{lifetime} ({self._place(route, 'max_connection_lifetime')})"
        yield f"  halfCloseTimeout: {duration_text(effective.half_close)} ({self._place(route, 'half_close_timeout')})"
        if effective.jitter:
            yield f"  timeoutJitter: {effective.jitter:g} ({self._place(route, 'timeout_jitter')}); these three may be that share shorter"

    def _written(self, route: RoutePlan, name: str, seconds: float) -> str:
        return f"  {file_key(name)}: {duration_text(seconds)} ({self._place(route, name)})"

    def _place(self, route: RoutePlan, name: str) -> str:
        return place_name(setting_level(name, connection_levels(self._settings, route.index)))

    # -- action ----------------------------------------------------------------------------------------

    def _action(self, route: RoutePlan) -> Iterator[str]:
        action = self._settings.routes[route.index].action
        if route.kind is not ActionKind.FORWARD:
            details = {
                ActionKind.REDIRECT: f"{action.status} to {action.to}",
                ActionKind.BLOCK: action.mode,
                ActionKind.HANDLER: f"{action.handler}",
                ActionKind.STATIC: f"{action.root}",
                ActionKind.RESPOND: "" if action.response is None else f"{action.response.status or 'bytes'}",
            }
            yield f"action: {route.kind.value} {details[route.kind]}".rstrip()
            return
        yield from term_lines(self._settings, self._plan, route, self._detected)
        yield from http_lines(self._settings, route, self._detected, self._run.record)
        yield from TargetEffects(self._settings, route, self._detected).lines(foresee=self._foresee)


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _entry(addresses: object, client: str) -> str:
    """The entry of an address list that has ``client``."""
    return entry_of(addresses, client) or client
