"""``smartproxy explain``: its output and exit codes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.cli.explain import explain
from tests.cli.asking import ExplainCase

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
                "group: www (the route's own targets), roundRobin",
                "  passiveHealth: 1 failed dial ejects a target for 10s",
                "targets, roundRobin by weight; the first connection tries them in this order:",
                "  1. 127.0.0.1:9001 weight 1; without TLS; no PROXY header",
                "next: 127.0.0.1:9001, while every target is up",
            ],
        )

    def test_silent_client_goes_to_the_fallback_with_silence(self) -> None:
        self.file.write_text(
            """
routes:
  - name: mail
    match: {ports: 443, clientIp: [10.0.0.0/8], domains: [mail.example.com]}
    fallback: true
    silence: 3s
    action: {targets: [{host: 127.0.0.1, port: 25}]}
  - name: web
    match: {ports: 443, domains: [www.example.com]}
    action: {targets: [{host: 127.0.0.1, port: 9000}]}
"""
        )
        self.assertEqual(
            self.lines("--silent", "--client-ip", "10.0.0.1")[:4],
            [
                "route mail",
                "  on :443",
                "  client address: wants 10.0.0.0/8, has 10.0.0.1",
                "  first bytes: wants none for 3 s, has none",
            ],
        )
        refused = self.lines("--silent", "--client-ip", "192.0.2.1")
        self.assertEqual(refused[0], "no route")
        self.assertIn("not web: first bytes: wants some, has none", refused)
        self.assertIn("not mail: client address: wants 10.0.0.0/8, has 192.0.2.1", refused)
        self.assertEqual(self.lines("--client-ip", "10.0.0.1")[0], "no route")
        self.assertIn("--silent", self.refused("--port", "443", "--silent", "--sni", "www.example.com"))

    def test_tlv_of_a_proxy_header_is_matched(self) -> None:
        self.file.write_text(
            """
proxyIPs: [10.0.0.1]
routes:
  - name: shop
    match: {ports: 443, proxyTlv: {authority: "*.shop.example", 0xEA: "hex:0176"}}
    action: {targets: [{host: 127.0.0.1, port: 9000}]}
"""
        )
        tlvs = ["--proxy-tlv", "authority=A.shop.example", "--proxy-tlv"]
        self.assertEqual(
            self.lines(*tlvs, "0xea=hex:0176")[:4],
            [
                "route shop",
                "  on :443",
                "  PROXY TLV authority: wants *.shop.example, has A.shop.example",
                r"  PROXY TLV 0xEA: wants \x01v, has \x01v",
            ],
        )
        self.assertEqual(self.lines(*tlvs, "0xEA=v")[2], r"not shop: PROXY TLV 0xEA: wants \x01v, has v")
        self.assertIn("PROXY TLV authority: wants *.shop.example, has none", self.lines()[2])
        for wrong in ("authority", "sni=a", "0xEA=hex:0"):
            self.assertIn("is not TYPE=VALUE", self.refused("--port", "443", "--proxy-tlv", wrong))

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

    def test_port_of_the_admin_listener_is_named(self) -> None:
        self.file.write_text("admin: true" + CONFIGURATION, encoding="utf-8")
        printed = self.run_with("--port", "8404").stdout.splitlines()
        self.assertEqual((printed[0], printed[-1]), ("no route", "note: port 8404 is the admin listener"))

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


AUTOMATIC = """
acme: {directory: "https://ca.internal/", until: UNTIL, onDemand: {ask: "http://127.0.0.1/ask"}}
routes:
  - name: own
    match: {ports: 443, domains: [a.example, "203.0.113.7", "2001:db8::7"]}
    action: {type: respond, response: {body: x}, tls: {mode: terminate, certificate: auto}}
  - name: any
    match: {ports: 443, domains: ["*.demand.example"]}
    action: {type: respond, response: {body: x}, tls: {mode: terminate, certificate: auto}}
  - name: rest
    match: {ports: 443, domains: b.example}
    fallback: true
    action: {type: respond, response: {body: x}}
"""


class AutomaticCertificateTests(ExplainCase):
    """Routes whose certificates are ordered: what happens with one, and before there is one."""

    def explained(self, *arguments: str, until: str = "refuse") -> list[str]:
        return self.ask(AUTOMATIC.replace("UNTIL", until), "--port", "443", *arguments)

    def test_certificate_is_shown_as_automatic(self) -> None:
        names = "certificate: a.example, 203.0.113.7, 2001:db8::7 (automatic); until it is issued"
        for until, told in (
            ("refuse", "clients are refused"),
            ("selfSigned", "clients get a self-signed one"),
        ):
            printed = self.explained("--sni", "a.example", until=until)
            self.assertEqual(printed[0], "route own")
            self.assertIn(f"{names} {told}", printed)

    def test_name_on_demand_is_shown_as_such(self) -> None:
        printed = self.explained("--sni", "x.demand.example")
        self.assertEqual(printed[0], "route any")
        self.assertIn(
            "certificate: ordered on demand for this name, if acme.onDemand.ask approves it", printed
        )
        self.assertFalse([line for line in printed if line.startswith("refused")])

    def test_address_is_explained_by_sni_or_by_address(self) -> None:
        """A client that connects to an address sends no name."""
        for options in (
            ["--sni", "203.0.113.7"],
            ["--sni", "2001:DB8::7"],
            ["--alpn", "h2", "--address", "203.0.113.7"],
        ):
            printed = self.explained(*options)
            self.assertEqual(printed[0], "route own", options)
            self.assertTrue(any(line.startswith("certificate: a.example") for line in printed), printed)

    def test_other_address_is_for_the_fallback(self) -> None:
        self.assertEqual(self.explained("--sni", "203.0.113.8")[0], "route rest")
