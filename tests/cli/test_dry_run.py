"""The second choice of a route inside TLS, and the certificates of a dry run."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.cli.explain import explain
from tests.cli.asking import ExplainCase
from tests.tls.made import Authority

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


class InsideTlsTests(ExplainCase):
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
        self.assertIn("refused: no_route (no route matches what is inside TLS, protocol http)", printed)

    def test_alpn_that_is_negotiated(self) -> None:
        for offered, expected in (("http/1.1", "alpn http/1.1"), ("h2", "alpn none")):
            printed = self.ask(INSIDE, "--port", "443", "--sni", "a.example", "--alpn", offered)
            self.assertIn(f"tls: terminate, minVersion 1.2, {expected}", printed)


class SilentClientTests(ExplainCase):
    """Clients that send nothing where some route needs their first bytes."""

    def silent(self, top: str = "", match: str = "domains: [a.example]", route: str = "") -> list[str]:
        action = "{targets: [{host: h, port: 1}]}"
        routes = f"[{{name: a, match: {{ports: 443, {match}}}, action: {action}{route}}}]"
        return self.ask(f"{top}\nroutes: {routes}", "--port", "443", "--client-ip", "192.0.2.1", "--silent")

    def test_silent_client_is_refused_when_its_time_is_up(self) -> None:
        printed = self.silent()
        self.assertEqual(printed[0], "no route")
        self.assertIn(
            "refused: initial_data_timeout (no byte was received in 60 s (initialDataTimeout))", printed
        )

    def test_time_is_the_longest_of_the_routes_of_the_listener(self) -> None:
        printed = self.silent("initialDataTimeout: 2s", route=", initialDataTimeout: 7s")
        self.assertIn(
            "refused: initial_data_timeout (no byte was received in 7 s (initialDataTimeout))", printed
        )

    def test_refusal_is_that_of_the_listener_where_another_client_is_taken(self) -> None:
        """A fallback takes silent clients of other addresses."""
        printed = self.silent(
            match="domains: [a.example], clientIp: [10.0.0.0/8]", route=", fallback: true, silence: 3s"
        )
        self.assertIn(
            "refused: initial_data_timeout (no byte was received in 60 s (initialDataTimeout))", printed
        )

    def test_client_is_waited_for_where_there_is_no_limit(self) -> None:
        printed = self.silent("initialDataTimeout: 0")
        self.assertFalse(any(line.startswith("refused") for line in printed), printed)
        self.assertIn("note: its first bytes are waited for without a limit (initialDataTimeout 0)", printed)

    def test_client_that_sends_something_else_has_no_route(self) -> None:
        action = "{targets: [{host: h, port: 1}]}"
        printed = self.ask(
            f"routes: [{{name: a, match: {{ports: 443, domains: [a.example]}}, action: {action}}}]",
            "--port",
            "443",
        )
        self.assertIn("refused: no_route (no route of the listener matches, protocol raw)", printed)

    def test_silent_client_where_no_first_bytes_are_needed_has_the_route(self) -> None:
        self.assertEqual(self.silent(match="clientIp: [192.0.2.0/24]")[0], "route a")


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
