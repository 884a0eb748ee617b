"""Warnings: valid settings that look like mistakes, each with its line and key; and the same kinds where they are meant."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

import smartproxy
from smartproxy.net import descriptors
from smartproxy.settings import Settings
from smartproxy.settings.tables.base import ConnectionKeys, Table
from smartproxy.settings.tables.root import Configuration
from smartproxy.settings.tables.types import Least

ROOT = Path(smartproxy.__file__).parents[1]

ROUTE = """
routes:
  - name: web
    match: {MATCH}
    action: {ACTION}
"""
#: The line of each key of a route in a configuration whose own keys take ``MORE`` lines before.
MATCH, ACTION, SECURITY = 4, 5, 6

TO_HOST = "targets: [{host: h.internal, port: 1}]"


def written(*, top: str = "", match: str = "ports: 80", action: str = TO_HOST, more: str = "") -> str:
    """A configuration with one route: ``top`` before it, and ``more`` at its end."""
    return top + ROUTE.replace("MATCH", match).replace("ACTION", action) + more


def security(keys: str) -> str:
    return f"    security: {{{keys}}}\n"


def second(name: str, match: str, action: str = TO_HOST) -> str:
    return f"  - name: {name}\n    match: {{{match}}}\n    action: {{{action}}}\n"


#: Configuration, line, key, and a part of the message.
MISTAKES = [
    # numbers without a unit
    (written(top="connectionTimeout: 30"), 1, "connectionTimeout", 'did you mean "30s"?'),
    (written(top="maxConnectionLifetime: 3600\nkeepAliveTreatment: standard"), 1, "maxConnectionLifetime", '"3600s"?'),
    (written(top="zombieDetection: {interval: 10}"), 1, "zombieDetection.interval", "is 10 ms"),
    (written(top="metrics: {retention: 3600}"), 1, "metrics.retention", '"3600s"?'),
    (written(top="maxPendingDataSize: 10"), 1, "maxPendingDataSize", 'did you mean "10MiB"?'),
    (written(top="defaults: {tlsHandshakeTimeout: 10}"), 1, "defaults.tlsHandshakeTimeout", '"10s"?'),
    (written(more="    halfCloseTimeout: 60\n"), 6, "routes[0].halfCloseTimeout", 'did you mean "60s"?'),
    (written(match="ports: 80, domains: [a.b.test]", more="    fallback: true\n    silence: 3\n"), 7, "routes[0].silence", '"3s"?'),
    # timeouts under the default treatment
    (written(top="inactivityTimeout: 1s"), 1, "inactivityTimeout", "is 6s in effect"),
    (written(top="defaults: {inactivityTimeout: 1m}"), 1, "defaults.inactivityTimeout", "is 6m in effect"),
    (written(more="    inactivityTimeout: 10m\n"), 6, "routes[0].inactivityTimeout", "is 1h in effect"),
    (written(top="maxConnectionLifetime: 1h"), 1, "maxConnectionLifetime", "extendedKeepAliveLifetime (7d)"),
    (
        written(top="keepAlive: false\nkeepAliveTreatment: immortal"), 2, "keepAliveTreatment",
        "no effect where keepAlive is false",
    ),
    (written(top="keepAlive: false\nkeepAliveCount: 3"), 2, "keepAliveCount", "no effect where keepAlive is false"),
    (written(more="    keepAlive: false\n    keepAliveInterval: 5s\n"), 7, "routes[0].keepAliveInterval", "no effect"),
    (written(top="tcpUserTimeout: 1m\nkeepAliveCount: 3"), 2, "keepAliveCount", "no effect beside tcpUserTimeout"),
    (
        written(top="extendedKeepAliveLifetime: 1d\nkeepAliveTreatment: standard"), 1, "extendedKeepAliveLifetime",
        'no effect where keepAliveTreatment is "standard"',
    ),
    (
        written(top="keepAliveInactivityMultiplier: 2", more="    keepAliveTreatment: standard\n"), 1,
        "keepAliveInactivityMultiplier", 'no effect where keepAliveTreatment is "standard"',
    ),
    *[
        (written(more=f"    keepAliveTreatment: immortal\n    {key}: {value}\n"), 7, f"routes[0].{key}", 'is "immortal"')
        for key, value in (
            ("inactivityTimeout", "1m"), ("maxConnectionLifetime", "1h"), ("halfCloseTimeout", "20s"), ("timeoutJitter", 0.1)
        )
    ],
    (
        written(action=TO_HOST + ", protocol: http", more="    keepAliveTreatment: immortal\n"), 6,
        "routes[0].keepAliveTreatment", "no effect on HTTP, which has http.keepAliveTimeout",
    ),
    (
        written(action='type: redirect, to: "https://{host}{path}"', more="    connectionTimeout: 3s\n"), 6,
        "routes[0].connectionTimeout", 'no effect for type "redirect", which connects to no target',
    ),
    (written(top="timeoutJitter: 1"), 1, "timeoutJitter", "may be shortened to nothing"),
    # address lists
    (written(top="proxyIPs: [10.0.0.5/8]"), 1, "proxyIPs[0]", "is read as 10.0.0.0/8"),
    (written(top='proxyIPs: ["2001:db8::1/32"]'), 1, "proxyIPs[0]", "write that, or 2001:db8::1 for one address"),
    (written(match="ports: 80, clientIp: [10.1.0.0/8]"), MATCH, "routes[0].match.clientIp[0]", "10.0.0.0/8"),
    (written(more=security("ipBlockList: [192.0.2.1/24]")), SECURITY, "routes[0].security.ipBlockList[0]", "192.0.2.0/24"),
    (written(top="defaults: {security: {ipAllowList: [10.0.0.5/8]}}"), 1, "defaults.security.ipAllowList[0]", "is read as"),
    (written(top="proxyIPs: [0.0.0.0/0]"), 1, "proxyIPs", "has every IPv4 address"),
    (written(top='proxyIPs: ["::/0"]'), 1, "proxyIPs", "has every IPv6 address"),
    (written(top='proxyIPs: [0.0.0.0/1, 128.0.0.0/1, "::/0"]'), 1, "proxyIPs", "every IPv4 and every IPv6 address"),
    (written(top="proxyIPs: [0.0.0.0-127.255.255.255, 128.0.0.0/1]"), 1, "proxyIPs", "has every IPv4 address"),
    (
        written(more=security("ipAllowList: [10.0.0.0/8], ipBlockList: [10.0.0.0/9, 10.128.0.0/9]")),
        SECURITY, "routes[0].security.ipBlockList", "every client is refused",
    ),
    (
        written(top="defaults: {security: {ipBlockList: [10.0.0.0/8]}}", more=security("ipAllowList: [10.1.0.0/16]")),
        1, "defaults.security.ipBlockList", "every client is refused",
    ),
    (
        written(more=security('ipBlockList: [0.0.0.0/0, "::/0"]')),
        SECURITY, "routes[0].security.ipBlockList", "has every address",
    ),
    (
        written(match="ports: 80, clientIp: [10.1.0.0/16]", more=security("ipBlockList: [10.0.0.0/8]")),
        SECURITY, "routes[0].security.ipBlockList", "every address of match.clientIp",
    ),
    (
        written(match="ports: 80, clientIp: [10.1.0.0/16]", more=security("ipAllowList: [192.0.2.0/24]")),
        SECURITY, "routes[0].security.ipAllowList", "has no address of match.clientIp",
    ),
    (
        written(more=security("ipAllowList: [0.0.0.0/0]")),
        SECURITY, "routes[0].security.ipAllowList", "IPv6 clients are refused",
    ),
    # conditions
    (written(match="ports: 80, path: /api/"), MATCH, "routes[0].match.path", 'did you mean "/api/*"?'),
    (written(match="ports: 80, path: /api"), MATCH, "routes[0].match.path", 'did you mean "/api/*"?'),
    (written(match="ports: 80, path: /app/v2"), MATCH, "routes[0].match.path", 'did you mean "/app/v2/*"?'),
    (written(match="ports: 80, domains: [192.0.2.1]"), MATCH, "routes[0].match.domains[0]", "is an IP address"),
    (written(match="ports: [80, 443, 80]"), MATCH, "routes[0].match.ports[2]", "listed before (got 80)"),
    (written(match='ports: ["8000-8010", 8005]'), MATCH, "routes[0].match.ports[1]", "listed before"),
    (written(match="ports: 80, domains: []"), MATCH, "routes[0].match.domains", "is empty, which is no condition"),
    (written(match="ports: 80, clientIp: []"), MATCH, "routes[0].match.clientIp", "is empty"),
    (written(match="ports: 80, alpn: []"), MATCH, "routes[0].match.alpn", "is empty"),
    (written(match="ports: 80, proxyTlv: {}"), MATCH, "routes[0].match.proxyTlv", "is empty"),
    (written(match="ports: 80, headers: {}"), MATCH, "routes[0].match.headers", "is empty"),
    (written(match="ports: 80, query: {}"), MATCH, "routes[0].match.query", "is empty"),
    # rules
    (
        written(match="ports: 80, path: /api/*", action="targets: [{host: h, port: 1}], rewrite: {stripPrefix: /app}"),
        ACTION, "routes[0].action.rewrite.stripPrefix", "begins no path that match.path matches",
    ),
    (
        written(match="ports: 80, path: /app", action="targets: [{host: h, port: 1}], rewrite: {stripPrefix: /app/x}"),
        ACTION, "routes[0].action.rewrite.stripPrefix", "begins no path that match.path matches",
    ),
    (
        written(action="targets: [{host: h, port: 1}], rewrite: {stripPrefix: /app, path: /v2}"),
        ACTION, "routes[0].action.rewrite.stripPrefix", "has no effect beside a path without {path}",
    ),
    (
        written(action="targets: [{host: h, port: 1}], headers: {request: {add: {X-User: '{tls.clientCertificate}'}}}"),
        ACTION, "routes[0].action.headers.request.add.X-User", "that a client has sent; set replaces that",
    ),
    # targets
    (written(action="targets: [{host: 127.0.0.1, port: 80}]"), ACTION, "routes[0].action.targets[0]", "to this route"),
    (written(action="targets: [{host: localhost, port: preserve}]"), ACTION, "routes[0].action.targets[0]", "loop"),
    (written(action="targets: [{host: 0.0.0.0, port: 80}]"), ACTION, "routes[0].action.targets[0]", "loop"),
    (written(action='targets: [{host: [10.0.0.1, "::1"], port: 80}]'), ACTION, "routes[0].action.targets[0]", "loop"),
    (
        written(match="ports: 80, address: 127.0.0.2", action="targets: [{host: 127.0.0.2, port: 80}]"),
        ACTION, "routes[0].action.targets[0]", "loop",
    ),
    (
        written(action="targets: [{host: 127.0.0.1, port: 81}]", more=second("b", "ports: 81", "targets: [{host: '::1', port: 80}]")),
        ACTION, "routes[0].action.targets[0]", 'through route "b"',
    ),
    (
        written(top="admin: true", action="targets: [{host: 127.0.0.1, port: 8404}]"),
        6 - 1, "routes[0].action.targets[0]", "is the admin listener",
    ),
    (
        written(action="targets: [{host: h.internal, port: 1}, {host: h.internal, port: 1}]"),
        ACTION, "routes[0].action.targets[1]", "is listed before: h.internal:1",
    ),
    (
        written(action='type: redirect, to: "http://{host}{path}{query}"'),
        ACTION, "routes[0].action.to", "redirected in a loop",
    ),
    # limits
    (written(top="maxConnections: 1"), 1, "maxConnections", "one connection at a time"),
    (written(top="maxConnections: 10\nmaxConnectionsPerIP: 20"), 2, "maxConnectionsPerIP", "is above maxConnections"),
    (
        written(top="maxConnections: 10", more=security("maxConnections: 20")),
        SECURITY, "routes[0].security.maxConnections", "is above maxConnections of the whole proxy, 10",
    ),
]  # fmt: skip

#: TLS that is terminated, with HTTP/2 offered.
H2 = "tls: {mode: terminate, certificate: selfSigned, alpn: [h2, http/1.1]}"
MISTAKES += [
    # HTTP/2, which clients and targets choose where it is offered
    *[
        (written(match=match, action=f"{action}, {H2}"), ACTION, "routes[0].action.tls.alpn", "write alpn: [http/1.1]")
        for match, action in (
            ("ports: 443", f"{TO_HOST}, protocol: http"),
            ("ports: 443, path: /x", TO_HOST),
            ("ports: 443", "type: respond, response: {status: 200}"),
        )
    ],
    (
        written(action="targets: [{host: h, port: 1, tls: {alpn: h2}}], protocol: http"), ACTION,
        "routes[0].action.targets[0].tls.alpn", "requests are sent in HTTP/1.1",
    ),
    (
        written(action=f"{TO_HOST}, protocol: http, {H2.replace('terminate,', 'terminate-and-reencrypt, upstream: {alpn: h2},')}"),
        ACTION, "routes[0].action.tls.upstream.alpn", "requests are sent in HTTP/1.1",
    ),
]  # fmt: skip

MISTAKES += [
    # bytes that are no HTTP, to requests
    *[
        (
            written(match=f"ports: 80, {match}", action="type: respond, response: {body: hello}"), ACTION,
            "routes[0].action.response", "without HTTP, to what is chosen by a request; write a status",
        )
        for match in ("path: /x", "methods: GET", "headers: {A: b}", "query: {a: b}")
    ],
]  # fmt: skip

#: The same keys as they are meant.
MEANT = [
    written(match="ports: 80", action="type: respond, response: {body: hello}"),
    written(match="ports: 80, path: /x", action="type: respond, response: {body: hello, status: 200}"),
    written(match="ports: 80, path: /x", action="type: respond, protocol: http, response: {body: hello}"),
    written(match="ports: 80, path: /x", action='type: respond, response: {body: "HTTP/1.0 200 OK\\r\\n\\r\\n"}'),
    written(match="ports: 443", action=f"{TO_HOST}, {H2}"),
    written(top="connectionTimeout: 3000\ninactivityTimeout: 0\nmaxPendingDataSize: 65536"),
    written(top="connectionTimeout: 50ms"),
    written(top="inactivityTimeout: 1m\nkeepAliveTreatment: standard"),
    written(top="inactivityTimeout: 1m\nkeepAliveTreatment: extended"),
    written(top="inactivityTimeout: 1m\nkeepAliveInactivityMultiplier: 2"),
    written(top="inactivityTimeout: 1m\nkeepAlive: false"),
    written(action=TO_HOST + ", protocol: http", more="    inactivityTimeout: 1m\n    maxConnectionLifetime: 1h\n"),
    written(top="inactivityTimeout: 1m\ndefaults: {keepAliveTreatment: standard}"),
    written(top="keepAliveTreatment: standard", more="    inactivityTimeout: 1m\n"),
    written(top="maxConnectionLifetime: 1h\nextendedKeepAliveLifetime: 1h"),
    # What one route does not use, another one may.
    written(top="keepAliveTreatment: standard\nkeepAliveInactivityMultiplier: 2", more="    keepAliveTreatment: extended\n"),
    written(
        top="keepAliveTreatment: immortal\ninactivityTimeout: 1m\nconnectionTimeout: 3s\n",
        more="    keepAliveTreatment: standard\n" + second("b", "ports: 81", "type: block"),
    ),
    written(top="keepAliveInterval: 5s", more="    keepAlive: false\n"),
    written(top="proxyIPs: [10.0.0.0/8, 192.0.2.7/32, 2001:db8::/32, 10.0.0.1-10.0.0.9]"),
    written(top="proxyIPs: [0.0.0.0/0]\nacceptProxyProtocol: false"),
    written(more=security("ipAllowList: [10.0.0.0/8], ipBlockList: [10.9.0.0/16, 192.0.2.0/24]")),
    written(more=security('ipAllowList: [0.0.0.0/0, "2001:db8::/32"]')),
    written(match="ports: 80, address: 0.0.0.0", more=security("ipAllowList: [0.0.0.0/0]")),
    written(more=security("ipAllowList: []")),
    written(match="ports: 80, path: /"),
    written(match='ports: 80, path: "/api/*"'),
    written(match="ports: 80, path: /healthz"),
    written(match='ports: 80, path: "/api/*"', action="targets: [{host: h, port: 1}], rewrite: {stripPrefix: /api/v1/}"),
    written(match="ports: 80, path: /healthz", action="targets: [{host: h, port: 1}], rewrite: {stripPrefix: /healthz}"),
    written(action="targets: [{host: h, port: 1}], rewrite: {stripPrefix: /app, path: '/v2{path}'}"),
    written(match="ports: 80, path: /api/", more=second("rest", 'ports: 80, path: "/api/*"')),
    written(match="ports: 80, protocol: http, domains: [192.0.2.1]"),
    written(match='ports: [80, 443, "8000-8010"]'),
    # A backend on the loopback address beside a listener on another, and one route that hands over to another.
    written(match="ports: 80, address: 192.0.2.1", action="targets: [{host: 127.0.0.1, port: 80}]"),
    written(action="targets: [{host: 127.0.0.1, port: 81}]", more=second("b", "ports: 81")),
    written(action="targets: [{host: 192.0.2.77, port: 80}]"),
    written(top="admin: {unix: a.sock}", action="targets: [{host: 127.0.0.1, port: 8404}]"),
    written(action='type: redirect, to: "https://{host}{path}{query}"'),
    written(action='type: redirect, to: "http://{host}/moved{path}"'),
    written(action='type: redirect, to: "http://{host}:8080{path}"'),
    written(action="targets: [{host: h.internal, port: 1}, {host: h.internal, port: 2}]"),
    written(top="maxConnections: 100\nmaxConnectionsPerIP: 20", more=security("maxConnections: 100")),
]  # fmt: skip


def warnings_of(text: str) -> list[str]:
    return Settings.parse(text, "yaml", "x.yaml").warnings()


class MistakeTests(SynchronousTestCase):
    def test_each_mistake_is_one_warning_at_its_line_and_key(self) -> None:
        for text, line, key, message in MISTAKES:
            lines = [one for one in warnings_of(text) if message in one]
            self.assertEqual(
                [one.split(" ")[:2] for one in lines[:1]],
                [[f"x.yaml:{line}:", f"{key}:"]],
                (text, warnings_of(text)),
            )

    def test_a_mistake_causes_no_other_warning(self) -> None:
        """Except that a list with host bits may also cover another one."""
        for text, _, key, _ in MISTAKES:
            self.assertEqual(
                {one.split(" ")[1].rstrip(":") for one in warnings_of(text) if 'route "a"' not in one}
                - {key, "routes[1].action.targets[0]", "routes[0].action.tls.alpn"},
                set(),
                text,
            )

    def test_settings_that_are_meant_cause_none(self) -> None:
        """A false alarm makes people ignore the next one, and breaks ``check --strict`` in their pipeline."""
        for text in MEANT:
            self.assertEqual(warnings_of(text), [], text)

    def test_targets_of_groups_are_looked_at_as_those_of_routes(self) -> None:
        """Routes that share a group are named, where it depends on them."""
        text = (
            "admin: true\n"
            "targetGroups:\n  g:\n    targets:\n"
            "      - {host: localhost, port: 81}\n      - {host: h, port: 1}\n"
            "      - {host: h, port: 1}\n      - {host: localhost, port: 8404}\n"
            "  unused: {targets: [{host: '::1', port: 80}]}\n"
            "routes:\n"
            "  - {name: a, match: {ports: 80}, action: {group: g}}\n"
            "  - {name: b, match: {ports: 81}, action: {group: g}}\n"
            "  - {name: c, match: {ports: 80, path: /x}, action: {targets: [{host: h, port: 1}]}}\n"
        )
        admin = "is the admin listener of this proxy: clients of route"
        loop = "is a listener of this proxy: connections come back to route"
        self.assertEqual(
            [line.removeprefix("x.yaml:") for line in warnings_of(text)],
            [
                f'5: targetGroups.g.targets[0]: {loop} "b", and are refused as a loop',
                "7: targetGroups.g.targets[2]: is listed before: h:1; use weight for a larger share",
                f'8: targetGroups.g.targets[3]: {admin} "a" can reach the admin API',
                f'8: targetGroups.g.targets[3]: {admin} "b" can reach the admin API',
            ],
        )

    def test_disabled_route_causes_none_about_its_behaviour(self) -> None:
        off = "  - name: off\n    enabled: false\n    match: {ports: 81, path: /api/}\n    action: {targets: [{host: '::1', port: 81}]}\n"
        self.assertEqual(warnings_of(written(more=off)), [])

    def test_warnings_are_in_the_order_of_the_file(self) -> None:
        found = warnings_of(written(top="maxConnections: 1\nconnectionTimeout: 30", match="ports: [1, 1]"))
        self.assertEqual([int(one.split(":")[1]) for one in found], [1, 2, 5])

    def test_every_duration_and_size_has_a_least_value(self) -> None:
        """A new key without one would not be compared."""
        missing = [
            name
            for table in _tables(Configuration) | {ConnectionKeys}
            for name, field in table.model_fields.items()
            if re.search(r"Duration|Interval\b|ProbeDelay|Size\b", str(table.__annotations__.get(name, "")))
            and "Least(" not in f"{table.__annotations__.get(name)} {field.metadata}"
        ]
        self.assertEqual(missing, [])
        self.assertTrue(
            any(isinstance(one, Least) for one in ConnectionKeys.model_fields["connection_timeout"].metadata)
        )

    def test_examples_that_are_shipped_cause_none(self) -> None:
        for file in ("demo.yaml", "behind-load-balancer.yaml", "sni-passthrough.yaml"):
            self.assertEqual(Settings.load(ROOT / "tap" / file).warnings(), [], file)


class DescriptorTests(SynchronousTestCase):
    def test_more_ports_than_descriptors_is_a_warning(self) -> None:
        text = written(match='ports: "1000-2999"', more=second("few", "ports: 80"))
        with patch.object(descriptors.resource, "getrlimit", return_value=(1024, 2048)):
            [line] = warnings_of(text)
        self.assertTrue(
            line.startswith(f"x.yaml:{MATCH}: routes[0].match.ports: the routes listen on 2001 ports"), line
        )
        self.assertIn("2048", line)

    def test_the_hard_limit_counts(self) -> None:
        """The soft one is raised to it at start."""
        with patch.object(descriptors.resource, "getrlimit", return_value=(1024, 4096)):
            self.assertEqual(warnings_of(written(match='ports: "1000-2999"')), [])


def _tables(root: type[Table]) -> set[type[Table]]:
    found: set[type[Table]] = set()

    def collect(annotation: object) -> None:
        if isinstance(annotation, type) and issubclass(annotation, Table) and annotation not in found:
            found.add(annotation)
            for field in annotation.model_fields.values():
                collect(field.annotation)
        for inner in getattr(annotation, "__args__", ()):
            collect(inner)

    collect(root)
    return found
