"""``smartproxy explain``: its output and exit codes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.cli.explain import explain
from tests.settings.formats import folder
from tests.tls.made import Authority

CONFIGURATION = """
routes:
  - name: rest
    match: {ports: [443, "8000-8002"]}
    action: {type: forward, targets: [{host: 127.0.0.1, port: 9000}]}
  - name: www
    match: {ports: 443, domains: ["*.example.com", "b\u00fccher.example"]}
    action: {type: forward, targets: [{host: 127.0.0.1, port: 9001}]}
  - name: api
    match: {ports: 443, domains: [www.example.com], path: "/api/*", methods: [POST], headers: {X-Env: staging}}
    action: {type: forward, targets: [{host: 127.0.0.1, port: 9002}]}
  - name: office
    priority: 1
    match: {ports: 443, clientIp: [10.0.0.0/8], protocol: tcp}
    action: {type: forward, targets: [{host: 127.0.0.1, port: 9003}]}
  - name: old
    enabled: false
    match: {ports: "440-445"}
    action: {type: block}
  - name: local
    match: {ports: 9443, address: 127.0.0.1}
    action: {type: forward, targets: [{host: 127.0.0.1, port: 9004}]}
"""


class ExplainCommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.file = Path(directory.name) / "smartproxy.yaml"
        self.file.write_text(CONFIGURATION, encoding="utf-8")

    def run_with(self, *arguments: str) -> Result:
        return CliRunner().invoke(explain, [str(self.file), *arguments])

    def lines(self, *arguments: str) -> list[str]:
        result = self.run_with("--port", "443", *arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.stdout.splitlines()

    def refused(self, *arguments: str) -> str:
        result = self.run_with(*arguments)
        self.assertEqual(result.exit_code, 2, result.output)
        self.assertEqual(result.stdout, "")
        return result.stderr

    def test_prints_the_route_then_why_then_why_not_earlier_ones(self) -> None:
        self.assertEqual(
            self.lines("--sni", "WWW.example.com"),
            [
                "route www",
                "  on :443",
                "  domain: wants *.example.com or xn--bcher-kva.example, has www.example.com",
                "not office: client address: wants 10.0.0.0/8, has none",
                "not api: path: wants /api/*, has none",
                "not old: disabled",
                "tls: passthrough",
                "limits: none",
                "timeouts: keepAliveTreatment extended (built-in)",
                "  initialDataTimeout: 1m (the longest of the listener's routes)",
                "  connectionTimeout: 30s (built-in), 1m30s for all targets",
                "  inactivityTimeout: 24h = 4h (built-in) times keepAliveInactivityMultiplier 6 (built-in)",
                "  maxConnectionLifetime: 7d = extendedKeepAliveLifetime (built-in)",
                "  halfCloseTimeout: 1m (built-in)",
                "  zombieDetection.stuckTls: 5m without any reply to what the client sent",
                "targets, roundRobin by weight; the first connection tries them in this order:",
                "  1. 127.0.0.1:9001 weight 1; without TLS; no PROXY header",
            ],
        )

    def test_request_is_matched_by_host_path_header_and_method(self) -> None:
        request = ["--host", "www.example.com:443", "--path", "/api/x?y=*", "--header", "x-env: staging"]
        self.assertEqual(self.lines(*request, "--method", "POST")[0], "route api")
        self.assertEqual(self.lines(*request)[0], "route www")

    def test_host_can_be_given_as_a_header(self) -> None:
        self.assertEqual(self.lines("--header", "Host: www.example.com")[0], "route www")

    def test_request_without_a_host_has_no_domain(self) -> None:
        printed = self.lines("--path", "/")
        self.assertEqual(printed[0], "route rest")
        self.assertIn("not www: domain: wants *.example.com or xn--bcher-kva.example, has none", printed)

    def test_client_address_is_accepted_in_any_spelling(self) -> None:
        self.assertEqual(self.lines("--client-ip", "::ffff:10.0.0.1")[0], "route office")
        self.assertEqual(self.lines("--client-ip", "192.0.2.1")[0], "route rest")

    def test_alpn_alone_is_a_tls_client_without_a_name(self) -> None:
        printed = self.lines("--alpn", "h2", "--alpn", "http/1.1", "--client-ip", "10.0.0.1")
        self.assertEqual(printed[0], "route rest")
        self.assertIn("not office: protocol: wants tcp, has tls", printed)

    def test_unicode_name_is_converted_to_its_ascii_form(self) -> None:
        self.assertEqual(self.lines("--sni", "b\u00fccher.example")[0], "route www")

    def test_address_as_server_name_is_ignored(self) -> None:
        self.assertEqual(self.lines("--sni", "192.0.2.1")[0], "route rest")

    def test_request_inside_tls_is_not_used_and_a_note_says_so(self) -> None:
        printed = self.lines("--sni", "www.example.com", "--path", "/api/x")
        self.assertEqual(printed[0], "route www")
        self.assertTrue(printed[-1].startswith("note: inside TLS"), printed)

    def test_disabled_route_of_the_port_is_named_as_disabled(self) -> None:
        """Someone who asks why a route does not match may have disabled it."""
        self.assertEqual(
            self.run_with("--port", "440").stdout.splitlines(),
            [
                "no route",
                "  no listener on port 440; the listening ports are: 443, 8000-8002, 9443",
                "not old: disabled",
            ],
        )
        self.assertNotIn("not old: disabled", self.run_with("--port", "9443").stdout)

    def test_unused_port_prints_the_ports_in_use(self) -> None:
        result = self.run_with("--port", "9")
        self.assertEqual(result.exit_code, 0)
        first, second = result.stdout.splitlines()
        self.assertEqual(first, "no route")
        self.assertTrue(second.endswith("443, 8000-8002, 9443"), second)

    def test_address_is_optional_if_the_port_has_only_one(self) -> None:
        for where in ([], ["--address", "127.0.0.1"]):
            result = self.run_with("--port", "9443", *where)
            self.assertEqual(result.stdout.splitlines()[:2], ["route local", "  on 127.0.0.1:9443"])
        self.assertTrue(self.run_with("--port", "9443", "--address", "::1").stdout.startswith("no route\n"))

    def test_address_without_a_listener_of_its_own_is_served_by_every_address(self) -> None:
        printed = self.run_with("--port", "8000", "--address", "192.0.2.9").stdout.splitlines()
        self.assertEqual(printed[:2], ["route rest", "  on :8000"])

    def test_options_that_no_client_could_send_are_wrong_usage(self) -> None:
        for arguments, why in {
            ("--client-ip", "10.0.0"): "'10.0.0' is not an IP address",
            ("--client-ip", "10.0.0.0/8"): "--client-ip",
            ("--client-ip", ""): "is not an IP address",
            ("--address", "eth0"): "'eth0' is not an IP address",
            ("--method", "G T"): "--method",
            ("--sin", "a.example"): "No such option",
            ("--path", "api"): "not a request target",
            ("--header", "no colon"): "not a header field",
            ("--host", "a b"): "not a host",
            ("--host", "a", "--header", "Host: b"): "not exactly one Host",
            ("--sni", "a b"): "not a host name",
            ("--sni", "\u200b.example"): "is not a domain",
            ("--alpn", "x" * 300): "--alpn",
            ("--header", "X: " + "x" * 70_000): "--header",
        }.items():
            self.assertIn(why, self.refused("--port", "443", *arguments))

    def test_port_is_required_and_in_range(self) -> None:
        self.assertIn("--port", self.refused())
        self.assertIn("65535", self.refused("--port", "65536"))

    def test_invalid_configuration_prints_its_problems(self) -> None:
        self.file.write_text("routes:\n  - name: a\n    match: {ports: 70000}\n", encoding="utf-8")
        self.assertIn(f"{self.file}:3: routes[0].match.ports", self.refused("--port", "443"))

    def test_missing_file_is_reported(self) -> None:
        self.file.unlink()
        self.assertIn(str(self.file), self.refused("--port", "443"))


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
"""


class EffectCase(SynchronousTestCase):
    """Asks about configurations that the test gives."""

    def ask(self, configuration: str, *arguments: str) -> list[str]:
        file = Path(folder(self)) / "smartproxy.yaml"
        file.write_text(configuration, encoding="utf-8")
        result = CliRunner().invoke(explain, [str(file), *arguments])
        self.assertEqual(result.exit_code, 0, result.output)
        return result.stdout.splitlines()


class SecurityTests(EffectCase):
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
            (84, "192.0.2.8", "no_route"),
        ):
            self.assertEqual(self.refusals(port, client), [f"refused: {line}"])

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


class TimeoutTests(EffectCase):
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


class TargetTests(EffectCase):
    """The targets in the order in which they are tried, and what each is sent."""

    def targets(self, action: str, *arguments: str, top: str = "") -> list[str]:
        configuration = f"{top}\nroutes: [{{name: a, match: {{ports: 443}}, action: {action}}}]"
        printed = self.ask(configuration, "--port", "443", *arguments)
        begin = next(index for index, line in enumerate(printed) if line.startswith("targets"))
        return [line.strip() for line in printed[begin + 1 :]]

    def test_order_weights_and_preserved_port(self) -> None:
        action = (
            "{targets: [{host: spare, port: 1, weight: 0}, {host: [a, b], port: preserve, weight: 2},"
            " {host: '::1', port: 3, weight: 5}]}"
        )
        self.assertEqual(
            [line.partition(";")[0] for line in self.targets(action)],
            [
                "1. [::1]:3 weight 5",
                "2. a:443 weight 2",
                "3. b:443 weight 2",
                "4. spare:1 weight 0, only when all others fail",
            ],
        )

    def test_proxy_header_and_its_place(self) -> None:
        action = (
            "{targets: [{host: a, port: 1}, {host: b, port: 2, sendProxyProtocol: false},"
            " {host: c, port: 3, sendProxyProtocol: {version: 2, tlvs: [authority, ssl]}}]}"
        )
        found = [line.rpartition("; ")[2] for line in self.targets(action, top="sendProxyProtocol: true")]
        self.assertEqual(
            found,
            [
                "PROXY header version 1 (top level)",
                "no PROXY header (target)",
                "PROXY header version 2 with authority, ssl (target)",
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


INSIDE = """
routes:
  - name: api
    match: {ports: 443, domains: [a.example], path: "/api/*"}
    action: {targets: [{host: api, port: 1}], tls: &tls {mode: terminate, certificate: selfSigned, alpn: [http/1.1]}}
  - name: web
    match: {ports: 443, domains: [a.example]}
    action: {targets: [{host: web, port: 1}], tls: *tls}
    security: {ipAllowList: [10.0.0.0/8]}
  - name: admin
    match: {ports: 443, domains: [b.example], path: "/admin/*"}
    action: {targets: [{host: admin, port: 1}], tls: *tls}
"""


class InsideTlsTests(EffectCase):
    """Routes that are chosen again by the request inside of TLS that is terminated here."""

    def test_route_is_chosen_by_the_request_inside(self) -> None:
        printed = self.ask(INSIDE, "--port", "443", "--sni", "a.example", "--path", "/api/x")
        self.assertEqual(printed[0], "route api")
        self.assertIn("  path: wants /api/*, has /api/x", printed)
        printed = self.ask(
            INSIDE, "--port", "443", "--sni", "a.example", "--path", "/x", "--client-ip", "192.0.2.1"
        )
        self.assertEqual(printed[0], "route web")
        self.assertIn(
            "  chosen by what is inside TLS, among the routes that terminate it as api does", printed
        )
        self.assertIn("not api: path: wants /api/*, has /x", printed)
        self.assertIn("refused: ip_not_allowed (security.ipAllowList 10.0.0.0/8)", printed)

    def test_without_a_request_the_choice_is_open(self) -> None:
        printed = self.ask(INSIDE, "--port", "443", "--sni", "a.example")
        self.assertTrue(
            printed[-1].startswith("note: the route is chosen again by what is inside TLS"), printed
        )

    def test_no_route_for_the_request_inside(self) -> None:
        printed = self.ask(INSIDE, "--port", "443", "--sni", "b.example", "--path", "/")
        self.assertEqual(printed[0], "no route")
        self.assertIn("not admin: path: wants /admin/*, has /", printed)
        self.assertIn("refused: no_route", printed)

    def test_alpn_that_is_negotiated(self) -> None:
        for offered, expected in (("http/1.1", "alpn http/1.1"), ("h2", "alpn none")):
            printed = self.ask(INSIDE, "--port", "443", "--sni", "a.example", "--alpn", offered)
            self.assertIn(f"tls: terminate, minVersion 1.2, {expected}", printed)


class CertificateTests(SynchronousTestCase):
    """The certificate that a client of a TLS-terminating route gets."""

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.folder = Path(directory.name)
        leaf = Authority().leaf("a.example")
        (self.folder / "a.pem").write_bytes(leaf.pem + leaf.key_pem)
        self.until = f"{leaf.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"

    def lines(
        self, *arguments: str, tls: str = "{mode: terminate, certificate: {certFile: a.pem}}"
    ) -> list[str]:
        file = self.folder / "smartproxy.yaml"
        action = "{targets: [{host: h, port: 1}], tls: " + tls + "}"
        file.write_text("routes: [{name: web, match: {ports: 443}, action: " + action + "}]")
        result = CliRunner().invoke(explain, [str(file), "--port", "443", *arguments])
        self.assertEqual(result.exit_code, 0, result.output)
        return result.stdout.splitlines()

    def test_certificate_line_has_names_file_kind_and_expiry(self) -> None:
        self.assertIn(
            f"certificate: a.example ({self.folder}/a.pem, P256), expires {self.until}",
            self.lines("--sni", "a.example"),
        )

    def test_no_certificate_for_the_name_is_a_refusal(self) -> None:
        printed = self.lines("--sni", "b.example")
        self.assertEqual(printed[0], "route web")
        self.assertIn("refused: tls_error (unrecognized_name: no certificate for b.example)", printed)
        self.assertIn("certificate: none for this name; refused with unrecognized_name", printed)

    def test_client_without_tls_is_refused_where_it_is_terminated(self) -> None:
        refused = [line for line in self.lines() if line.startswith("refused")]
        self.assertEqual(len(refused), 1)
        self.assertTrue(refused[0].startswith("refused: tls_error (the route terminates TLS"), refused)

    def test_required_client_certificate_is_named(self) -> None:
        (self.folder / "ca.pem").write_bytes(Authority().pem)
        tls = "{mode: terminate, certificate: {certFile: a.pem}, clientAuth: {mode: require, ca: ca.pem}}"
        self.assertIn(
            "tls: terminate, minVersion 1.2, client certificate required",
            self.lines("--sni", "a.example", tls=tls),
        )

    def test_no_certificate_line_without_tls_or_in_passthrough(self) -> None:
        for arguments, tls in (((), "{mode: passthrough}"), (("--sni", "a.example"), "{mode: passthrough}")):
            printed = self.lines(*arguments, tls=tls)
            self.assertFalse(any(line.startswith("certificate") for line in printed), printed)
            self.assertIn("tls: passthrough", printed)
