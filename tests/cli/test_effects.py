"""The lines of ``smartproxy explain`` about what happens to a connection on its route."""

from __future__ import annotations

from tests.cli.asking import ExplainCase

NO_HELLO = "and the client sends no ClientHello; --sni or --alpn describe one"

SECURED = """
maxConnections: 1000
maxConnectionsPerIP: 20
connectionRateLimitPerMinute: 60
proxyIPs: [10.9.0.0/16]
defaults:
  security: {ipBlockList: [198.51.100.0/24, 203.0.113.1-203.0.113.9], maxConnections: 500}
routes:
  - name: inherits
    match: {ports: 81}
    action: {targets: [{host: h, port: 1}]}
  - name: own
    match: {ports: 82}
    action: {targets: [{host: h, port: 1}]}
    security: {ipAllowList: [10.1.0.0/16, 192.0.2.7], ipBlockList: [10.1.9.5/24], maxConnections: 7}
  - {name: block, match: {ports: 83}, action: {type: block}}
  - {name: named, match: {ports: 84, domains: [a.example]}, action: {targets: [{host: h, port: 1}]}}
  - {name: secure, match: {ports: 85, protocol: tls}, action: {targets: [{host: h, port: 1}]}}
"""


class SecurityTests(ExplainCase):
    """What the lists and limits of a route do with a client."""

    def refusals(self, port: int, client: str) -> list[str]:
        return [
            line
            for line in self.ask(SECURED, "--port", f"{port}", "--client-ip", client)
            if "refused" in line
        ]

    def test_refusal_names_list_and_entry(self) -> None:
        for port, client, line in (
            (81, "198.51.100.7", "ip_blocked (defaults.security.ipBlockList 198.51.100.0/24)"),
            (81, "203.0.113.5", "ip_blocked (defaults.security.ipBlockList 203.0.113.1-203.0.113.9)"),
            (81, "::ffff:198.51.100.7", "ip_blocked (defaults.security.ipBlockList 198.51.100.0/24)"),
            (82, "10.1.9.77", "ip_blocked (security.ipBlockList 10.1.9.5/24)"),
            (82, "192.0.2.8", "ip_not_allowed (security.ipAllowList 10.1.0.0/16, 192.0.2.7)"),
            (83, "192.0.2.8", "ip_blocked (action.type block)"),
            (84, "192.0.2.8", "no_route (no route of the listener matches, protocol raw)"),
            (85, "192.0.2.8", "no_route (no route of the listener matches, protocol raw)"),
        ):
            self.assertEqual(self.refusals(port, client), [f"refused: {line}"])

    def test_request_without_tls_on_a_port_for_tls(self) -> None:
        printed = self.ask(SECURED, "--port", "85", "--host", "a.example", "--path", "/")
        self.assertIn(f"refused: tls_error (all routes of the port are for TLS, {NO_HELLO})", printed)

    def test_admitted_client_is_not_refused(self) -> None:
        self.assertEqual(self.refusals(81, "192.0.2.8"), [])
        self.assertEqual(self.refusals(82, "198.51.100.7")[0][:23], "refused: ip_not_allowed")
        printed = self.ask(SECURED, "--port", "82", "--client-ip", "192.0.2.7")
        self.assertIn("allowed: 192.0.2.7 (security.ipAllowList 192.0.2.7)", printed)

    def test_without_a_client_address_the_lists_are_not_compared(self) -> None:
        printed = self.ask(SECURED, "--port", "82")
        self.assertIn(
            "note: without --client-ip no client is compared with the address lists of the route", printed
        )
        self.assertFalse(any(line.startswith("refused") for line in printed))

    def test_limits_have_value_key_and_place(self) -> None:
        printed = self.ask(SECURED, "--port", "81", "--client-ip", "192.0.2.8")
        begin = printed.index("limits:")
        self.assertEqual(
            printed[begin + 1 : begin + 5],
            [
                "  maxConnections: 1000 (top level), for all routes together",
                "  security.maxConnections: 500 (defaults), for this route",
                "  maxConnectionsPerIP: 20 (top level), for 192.0.2.8",
                "  connectionRateLimitPerMinute: 60 (top level), for 192.0.2.8",
            ],
        )
        self.assertIn(
            "  security.maxConnections: 7 (route), for this route", self.ask(SECURED, "--port", "82")
        )

    def test_client_of_the_limits_may_be_an_ipv6_network(self) -> None:
        configuration = f"ipv6LimitPrefix: 64\n{SECURED}"
        for client, whose in (("2001:db8::7", "2001:db8::/64"), ("192.0.2.8", "192.0.2.8")):
            printed = self.ask(configuration, "--port", "81", "--client-ip", client)
            self.assertIn(f"  maxConnectionsPerIP: 20 (top level), for {whose}", printed)

    def test_trusted_peer_is_noted(self) -> None:
        for accept, end in (
            ("true", "with one, that client counts"),
            ("require", "is refused (proxy_header_missing)"),
        ):
            configuration = f"acceptProxyProtocol: {accept}{SECURED}"
            printed = self.ask(configuration, "--port", "81", "--client-ip", "10.9.1.1")
            self.assertTrue(printed[-1].startswith("note: 10.9.1.1 is in proxyIPs"), printed)
            self.assertTrue(printed[-1].endswith(end), printed)
        printed = self.ask(f"acceptProxyProtocol: false{SECURED}", "--port", "81", "--client-ip", "10.9.1.1")
        self.assertFalse(printed[-1].startswith("note"))


class TimeoutTests(ExplainCase):
    """The timeouts that connections of the route are closed by."""

    def timeouts(self, top: str = "", route: str = "") -> list[str]:
        configuration = f"{top}\nroutes: [{{name: a, match: {{ports: 80}}, action: {{targets: [{{host: h, port: 1}}]}}{route}}}]"
        printed = self.ask(configuration, "--port", "80")
        begin = next(index for index, line in enumerate(printed) if line.startswith("timeouts"))
        return [line.strip() for line in printed[begin:]]

    def test_extended_multiplies_inactivity_and_replaces_the_lifetime(self) -> None:
        found = self.timeouts("inactivityTimeout: 1s\nmaxConnectionLifetime: 1h")
        self.assertEqual(found[0], "timeouts: keepAliveTreatment extended (built-in)")
        self.assertIn(
            "inactivityTimeout: 6s = 1s (top level) times keepAliveInactivityMultiplier 6 (built-in)", found
        )
        self.assertIn("maxConnectionLifetime: 7d = extendedKeepAliveLifetime (built-in)", found)

    def test_standard_and_no_keep_alive_keep_them_as_written(self) -> None:
        for keys in ("keepAliveTreatment: standard", "keepAlive: false"):
            found = self.timeouts(
                "defaults: {inactivityTimeout: 90s}", f", {keys}, maxConnectionLifetime: 36h"
            )
            self.assertEqual(found[0], f"timeouts: {keys.replace(':', '')} (route)")
            self.assertIn("inactivityTimeout: 1m30s (defaults)", found)
            self.assertIn("maxConnectionLifetime: 36h (route)", found)

    def test_immortal_has_none(self) -> None:
        found = self.timeouts(route=", keepAliveTreatment: immortal")
        for key in ("inactivityTimeout", "maxConnectionLifetime", "halfCloseTimeout"):
            self.assertIn(f"{key}: none", found)
        self.assertFalse(any("stuck" in line for line in found))

    def test_dialing_and_stuck_detection_are_timeouts_too(self) -> None:
        found = self.timeouts("connectionTimeout: 2s\nzombieDetection: {stuckPlain: 90s}")
        self.assertIn("connectionTimeout: 2s (top level), 6s for all targets", found)
        self.assertIn("zombieDetection.stuckPlain: 1m30s without any reply to what the client sent", found)
        self.assertFalse(any("stuck" in line for line in self.timeouts(route=", stuckDetection: false")))
        self.assertIn("connectionTimeout: none (route)", self.timeouts(route=", connectionTimeout: 0"))


class HttpTimeoutTests(ExplainCase):
    """Those of a route that speaks HTTP: the keep-alive treatment changes none, and the stuck check does not apply."""

    def timeouts(
        self, top: str = "", route: str = "", action: str = "targets: [{host: h, port: 1}]"
    ) -> list[str]:
        configuration = (
            f"{top}\nroutes: [{{name: a, match: {{ports: 80}}, action: {{protocol: http, {action}}}{route}}}]"
        )
        printed = self.ask(configuration, "--port", "80", "--path", "/")
        begin = next(index for index, line in enumerate(printed) if line.startswith("timeouts"))
        return [line.strip() for line in printed[begin:]]

    def test_no_treatment_and_no_stuck_check_apply(self) -> None:
        found = self.timeouts("zombieDetection: {stuckPlain: 90s}\nextendedKeepAliveLifetime: 9d")
        self.assertEqual(found[0], "timeouts: those of HTTP, without keepAliveTreatment")
        for key in ("keepAliveInactivityMultiplier", "extendedKeepAliveLifetime", "stuck", "extended"):
            self.assertFalse(any(key in line for line in found), found)

    def test_values_are_those_that_are_written(self) -> None:
        for treatment in ("standard", "extended", "immortal"):
            found = self.timeouts(
                "inactivityTimeout: 90s\ndefaults: {http: {websocket: {idleTimeout: 2h}}, halfCloseTimeout: 5s}",
                f", keepAliveTreatment: {treatment}, maxConnectionLifetime: 36h",
            )
            self.assertIn("inactivityTimeout: 1m30s (top level), within an exchange", found)
            self.assertIn("http.websocket.idleTimeout: 2h (defaults), within a tunnel", found)
            self.assertIn("maxConnectionLifetime: 36h (route), after the exchange in progress", found)
            self.assertIn("halfCloseTimeout: 5s (defaults)", found)

    def test_no_limits_are_shown_as_such(self) -> None:
        found = self.timeouts(
            "maxConnectionLifetime: 0",
            action="http: {websocket: {idleTimeout: 0}}, targets: [{host: h, port: 1}]",
        )
        self.assertIn("http.websocket.idleTimeout: none (route), within a tunnel", found)
        self.assertIn("maxConnectionLifetime: none (top level), after the exchange in progress", found)

    def test_jitter_is_that_of_tunnels(self) -> None:
        found = self.timeouts("timeoutJitter: 0.2")
        self.assertIn("timeoutJitter: 0.2 (top level); those of a tunnel may be that share shorter", found)

    def test_keep_alive_that_is_off_is_shown(self) -> None:
        found = self.timeouts(route=", keepAlive: false")
        self.assertEqual(found[0], "timeouts: those of HTTP, keepAlive false (route)")

    def test_routes_that_answer_themselves_have_them_too(self) -> None:
        for action in ("type: respond, response: {body: x}", "type: redirect, to: 'https://a.example'"):
            found = self.timeouts(action=action)
            self.assertEqual(found[0], "timeouts: those of HTTP, without keepAliveTreatment")
            self.assertFalse(any("stuck" in line or "Multiplier" in line for line in found), found)


class TargetTests(ExplainCase):
    """The targets in the order in which they are tried, and what each is sent."""

    def targets(self, action: str, *arguments: str, top: str = "") -> list[str]:
        configuration = f"{top}\nroutes: [{{name: a, match: {{ports: 443}}, action: {action}}}]"
        printed = self.ask(configuration, "--port", "443", *arguments)
        begin = next(index for index, line in enumerate(printed) if line.startswith("targets"))
        return [line.strip() for line in printed[begin + 1 :] if not line.startswith("next: ")]

    def test_order_weights_and_preserved_port(self) -> None:
        action = (
            "{targets: [{host: spare, port: 1, weight: 0}, {host: [a, b], port: preserve, weight: 2},"
            " {host: '::1', port: 3, weight: 5}]}"
        )
        self.assertEqual(
            [line.partition(";")[0] for line in self.targets(action)],
            [
                "1. a:443 weight 2",
                "2. [::1]:3 weight 5",
                "3. b:443 weight 2",
                "-  spare:1 weight 0, gets none",
            ],
        )

    def test_proxy_header_and_its_place(self) -> None:
        action = (
            "{targets: [{host: a, port: 1}, {host: b, port: 2, sendProxyProtocol: false},"
            " {host: c, port: 3, sendProxyProtocol: {version: 2, tlvs: [authority, ssl], customTlvs: {0xe0: x}}}]}"
        )
        found = [line.rpartition("; ")[2] for line in self.targets(action, top="sendProxyProtocol: true")]
        self.assertEqual(
            found,
            [
                "PROXY header version 1 (top level)",
                "no PROXY header (target)",
                "PROXY header version 2 with authority, ssl, 0xE0 (target)",
            ],
        )

    def test_tls_towards_a_target_has_its_name(self) -> None:
        action = (
            "{targets: [{host: a, port: 1, tls: true}, {host: b, port: 2, tls: {serverName: x.example, verify: false}},"
            " {host: c, port: 3, tls: {serverName: '{domain}'}}]}"
        )
        found = [line.split("; ")[1] for line in self.targets(action, "--sni", "www.example")]
        self.assertEqual(
            found, ["TLS as a, verified", "TLS as x.example, not verified", "TLS as www.example, verified"]
        )

    def test_other_actions_are_named(self) -> None:
        for action, line in (
            ("{type: redirect, to: 'https://{host}/x'}", "action: redirect 308 to https://{host}/x"),
            ("{type: respond, response: {status: 204}}", "action: respond 204"),
            ("{type: respond, response: {body: x}}", "action: respond bytes"),
            ("{type: block, mode: tarpit}", "action: block tarpit"),
        ):
            configuration = f"routes: [{{name: a, match: {{ports: 80}}, action: {action}}}]"
            self.assertIn(line, self.ask(configuration, "--port", "80"))


class TcpTests(ExplainCase):
    def test_user_timeout_and_bind_are_shown_where_set(self) -> None:
        configuration = """
tcpUserTimeout: 2m
routes:
  - name: a
    match: {ports: 80}
    tcpUserTimeout: 90s
    action: {targets: [{host: 10.0.0.2, port: 1, bind: 10.0.0.5}]}
  - {name: b, match: {ports: 81}, tcpUserTimeout: 0, action: {targets: [{host: h, port: 1}]}}
"""
        printed = self.ask(configuration, "--port", "80")
        self.assertIn("  tcpUserTimeout: 1m30s (route)", printed)
        self.assertIn("  1. 10.0.0.2:1 weight 1; from 10.0.0.5; without TLS; no PROXY header", printed)
        other = "\n".join(self.ask(configuration, "--port", "81"))
        self.assertNotIn("tcpUserTimeout", other)
        self.assertNotIn("from ", other)
