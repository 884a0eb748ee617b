"""Converts routes to the JSON values of the admin API: the keys of a configuration file, with the values in force.

Durations are in seconds. Address lists are text: the first few networks, or the file. What a route inherits or leaves to
defaults, as timeouts, is what ``smartproxy explain`` shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.http.local.redirect import RedirectAnswers
from smartproxy.http.local.static import StaticAnswers
from smartproxy.model.address import UnixEndpoint
from smartproxy.model.plan.target import Discover
from smartproxy.wire import proxy_tlv

if TYPE_CHECKING:
    from collections.abc import Container

    from smartproxy.metrics.counters import RouteCounters
    from smartproxy.metrics.totals import Bytes
    from smartproxy.model.plan import GroupPlan, HttpPlan, MatchPlan, RoutePlan, TargetPlan
    from smartproxy.model.plan.http import FieldRules
    from smartproxy.model.plan.route import TlvMatch


def route(plan: RoutePlan, counted: RouteCounters, moved: Bytes) -> dict[str, object]:
    """A route: its match, its action and its counters."""
    return {
        "name": plan.name,
        "priority": plan.priority,
        "fallback": plan.match.fallback,
        "silence": plan.silence or None,
        "match": _match(plan.match),
        "action": _action(plan),
        "ipAllowList": _addresses(plan.allow),
        "ipBlockList": _addresses(plan.block),
        "maxConnections": plan.max_connections,
        "stuckDetection": plan.stuck_detection,
        "connections": {"active": counted.active, "total": counted.opened},
        "requests": _requests(counted, plan),
        "bytesReceived": moved.received,
        "bytesSent": moved.sent,
    }


def _requests(counted: RouteCounters, plan: RoutePlan) -> dict[str, int] | None:
    """The HTTP requests of a route; ``None`` where bytes are forwarded as they are."""
    if plan.http is None:
        return None
    requests = counted.requests
    return (
        {"active": 0, "total": 0}
        if requests is None
        else {"active": requests.active, "total": requests.total}
    )


def _match(match: MatchPlan) -> dict[str, object]:
    return {
        "ports": [span[0] if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in match.ports],
        "address": match.addresses[0] if len(match.addresses) == 1 else list(match.addresses),
        "domains": list(match.domains),
        "proxyTlv": {proxy_tlv.name_of(wanted.type): _tlv_values(wanted) for wanted in match.proxy_tlv},
        "clientIp": _addresses(match.client_ip),
        "alpn": sorted(match.alpn),
        "path": match.path,
        "methods": sorted(match.methods),
        "headers": dict(match.headers),
        "query": dict(match.query),
        "protocol": match.protocol,
    }


def _tlv_values(wanted: TlvMatch) -> list[str]:
    return [*wanted.domains, *map(proxy_tlv.text_of, wanted.values)]


def _addresses(listed: Container[str] | None) -> str | None:
    return None if listed is None else str(listed)


def _action(plan: RoutePlan) -> dict[str, object]:
    terminates = "terminate-and-reencrypt" if any(target.tls for target in plan.targets) else "terminate"
    return {
        "type": plan.kind,
        "tls": "passthrough" if plan.tls is None else terminates,
        "targets": [] if plan.group is None else [_target(target) for target in plan.group.written()],
        **(_http(plan.http) if plan.http is not None or plan.group is not None else {}),
        **({} if plan.group is None else _group(plan.group)),
        **_answers(plan.answers),
    }


def _answers(answers: object) -> dict[str, object]:
    """What requests are answered with in this process."""
    if isinstance(answers, RedirectAnswers):
        return {"to": answers.to, "status": answers.status}
    if isinstance(answers, StaticAnswers):
        return {
            "root": answers.root,
            "index": list(answers.index),
            "spa": answers.spa,
            "precompressed": answers.precompressed,
        }
    return {}


def _http(plan: HttpPlan | None) -> dict[str, object]:
    """How HTTP is spoken; ``None`` where bytes are forwarded as they are."""
    if plan is None:
        nothing: dict[str, object] = {"headers": None, "rewrite": None, "errorPages": {}}
        return {"http": None, "forwardedHeaders": False, **nothing}
    terms = {
        "maxHeaderSize": plan.head.size,
        "maxHeaders": plan.head.fields,
        "maxBodySize": plan.max_body,
        "bodyMinimumRate": plan.body_rate,
        "requestTimeout": plan.request_timeout,
        "keepAliveTimeout": plan.keep_alive_timeout,
        "responseTimeout": plan.answer_timeout,
        "rememberHeads": plan.remembers,
        "retries": plan.retries,
        "pool": {"idleTimeout": plan.idle_timeout, "maxIdle": plan.most_idle},
        "websocket": {"idleTimeout": plan.tunnel_timeout, "origins": sorted(plan.origins)},
    }
    headers = {"request": _rules(plan.request_rules), "response": _rules(plan.answer_rules)}
    rewrite = plan.rewrite and {
        "path": plan.rewrite.path,
        "stripPrefix": plan.rewrite.strip_prefix or None,
        "host": plan.rewrite.host,
    }
    return {
        "http": terms,
        "forwardedHeaders": plan.forwarded,
        "headers": headers,
        "rewrite": rewrite,
        "errorPages": {str(status): page.path for status, page in sorted(plan.error_pages.items())},
    }


def _rules(rules: FieldRules | None) -> dict[str, object] | None:
    return None if rules is None else rules.written()


def _group(group: GroupPlan) -> dict[str, object]:
    algorithm, passive, queue = group.balancing.algorithm, group.passive, group.queue
    return {
        "group": group.name,
        "loadBalancing": {
            "algorithm": "callable" if callable(algorithm) else algorithm,
            "slowStart": group.balancing.slow_start,
        },
        "passiveHealth": passive
        and {"failures": passive.failures, "window": passive.window, "ejectFor": passive.eject_for},
        "queue": queue and {"size": queue.size, "timeout": queue.timeout},
        "targetsFile": group.file and group.file.path,
        "whenDown": "reset" if group.reset_when_down else "keep",
    }


def _target(target: TargetPlan) -> dict[str, object]:
    return {
        "name": target.name or None,
        **_place(target),
        "bind": target.source or None,
        "weight": target.weight,
        "backup": target.backup,
        "maxConnections": target.max_connections,
        "healthCheck": target.check and target.check.kind,
        "tls": target.tls is not None,
        "sendProxyProtocol": target.send_header and target.send_header.version,
    }


def _place(target: TargetPlan) -> dict[str, object]:
    if callable(target.hosts):
        hosts: object = "callable"
    elif isinstance(target.hosts[0], UnixEndpoint):
        return {"unix": target.hosts[0].path}
    else:
        hosts = list(target.hosts)
    if target.discover is Discover.SERVICES:
        return {"srv": str(target.hosts[0]) if isinstance(target.hosts, tuple) else None}
    port = "preserve" if target.port is None else "callable" if callable(target.port) else target.port
    return {
        "host": hosts,
        "port": port,
        "addresses": "all" if target.discover is Discover.ADDRESSES else "first",
    }
