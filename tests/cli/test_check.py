"""``smartproxy check``, and the command group."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

import smartproxy
from smartproxy.cli import main
from tests.settings.formats import folder

ROOT = Path(smartproxy.__file__).parents[1]

VALID = """\
routes:
- {name: web, match: {ports: [443, 80]}, action: {targets: [{host: h, port: 1}]}}
- {name: more, match: {ports: "8000-8010"}, action: {type: block}}
"""


class CheckTests(SynchronousTestCase):
    def run_on(self, text: str, name: str = "x.yaml", *options: str) -> tuple[int, str, str, str]:
        file = folder(self) / name
        file.write_text(text)
        result = CliRunner().invoke(main, ["check", *options, str(file)])
        return result.exit_code, result.stdout, result.stderr, str(file)

    def test_valid_file_prints_its_routes_and_ports(self) -> None:
        code, out, err, file = self.run_on(VALID)
        self.assertEqual((code, out, err), (0, f"{file}: ok (2 routes, ports 80, 443, 8000-8010)\n", ""))

    def test_invalid_file_prints_one_line_per_problem_and_exits_2(self) -> None:
        code, out, err, file = self.run_on(
            VALID.replace("port: 1", "port: 70000").replace("type: block", "tipe: block")
        )
        self.assertEqual((code, out), (2, ""))
        self.assertEqual(
            err.splitlines(),
            [
                f'{file}:2: routes[0].action.targets[0].port: must be 1..65535 or "preserve" (got 70000)',
                f'{file}:3: routes[1].action.tipe: unknown key; did you mean "type"?',
            ],
        )

    def test_likely_mistake_is_a_warning_and_the_file_is_ok(self) -> None:
        code, out, err, file = self.run_on("acceptProxyProtocol: require\n" + VALID)
        self.assertEqual((code, out.partition(" (")[0]), (0, f"{file}: ok"))
        self.assertTrue(err.startswith(f"warning: {file}:1: acceptProxyProtocol: "), err)

    def test_strict_refuses_a_file_with_warnings(self) -> None:
        code, out, err, file = self.run_on("acceptProxyProtocol: require\n" + VALID, "x.yaml", "--strict")
        self.assertEqual((code, out), (2, ""))
        self.assertTrue(err.startswith(f"{file}:1: acceptProxyProtocol: "), err)

    def test_strict_accepts_a_file_without_warnings(self) -> None:
        code, out, err, _ = self.run_on(VALID, "x.yaml", "--strict")
        self.assertEqual((code, out != "", err), (0, True, ""))

    def test_unusable_certificate_is_a_warning_and_strict_refuses_it(self) -> None:
        text = "tls: {certificates: .}\n" + VALID
        *_, file = self.run_on(text)
        directory = Path(file).parent
        (directory / "foreign.pem").write_text("not a certificate")
        for options, expected in (((), 0), (("--strict",), 2)):
            result = CliRunner().invoke(main, ["check", *options, file])
            self.assertEqual(result.exit_code, expected)
            self.assertIn(f"{directory}/foreign.pem: contains no PEM certificate", result.stderr)

    def test_standard_input_is_read_in_the_format_that_is_named(self) -> None:
        toml = '[[routes]]\nname = "a"\nmatch = {ports = 80}\naction = {type = "block"}\n'
        for options, text in (((), VALID), (("--format", "yaml"), VALID), (("--format", "toml"), toml)):
            result = CliRunner().invoke(main, ["check", *options, "-"], input=text)
            self.assertEqual((result.exit_code, result.stdout.partition(" (")[0]), (0, "<stdin>: ok"))
        result = CliRunner().invoke(main, ["check", "-"], input="routes:\n- name:web\n  match: {ports: 1}\n")
        self.assertEqual(result.exit_code, 2)
        self.assertEqual(
            result.stderr, '<stdin>:2: not valid YAML: no blank after the colon: write "name: web"\n'
        )

    def test_format_wins_over_the_suffix(self) -> None:
        code, out, _, file = self.run_on(VALID, "x.conf", "--format", "yaml")
        self.assertEqual((code, out.partition(" (")[0]), (0, f"{file}: ok"))

    def test_missing_file_is_one_line_and_exit_code_2(self) -> None:
        result = CliRunner().invoke(main, ["check", "/nowhere/x.yaml"])
        self.assertEqual(result.exit_code, 2)
        self.assertEqual(result.stderr, "/nowhere/x.yaml: cannot be read: No such file or directory\n")


AUTOMATIC = """\
acme: {ACME}
routes:
- name: web
  match: {ports: PORTS, domains: [a.example.com, www.example.com]}
  action: {type: block, tls: {mode: terminate, certificate: auto}}
- name: more
  match: {ports: 443, domains: [OTHER, a.example.com]}
  action: {type: block, tls: {mode: terminate, certificate: auto}}
"""


class AcmeLinesTests(SynchronousTestCase):
    """What is said of automatic certificates after the first line."""

    def lines(self, acme: str = "", ports: str = "[80, 443]", other: str = "b.example.com") -> list[str]:
        text = AUTOMATIC.replace("ACME", acme).replace("PORTS", ports).replace("OTHER", other)
        place = folder(self).resolve()
        (place / "x.yaml").write_text(text)
        (place / "dns").write_text("")
        (place / "dns").chmod(0o755)
        result = CliRunner().invoke(main, ["check", str(place / "x.yaml")])
        self.assertEqual(result.exit_code, 0, result.output)
        first, *more = result.stdout.replace(str(place), "DIR").splitlines()
        self.assertTrue(first.startswith("DIR/x.yaml: ok (2 routes, ports "), first)
        return more

    def test_everything_is_said_of_the_defaults(self) -> None:
        first = (
            "acme: certificates are ordered at letsencrypt (https://acme-v02.api.letsencrypt.org/directory); "
            "its use means agreement with its terms: https://letsencrypt.org/repository/"
        )
        self.assertEqual(
            self.lines(),
            [
                first,
                "acme: 2 certificates for 3 names, stored in DIR/acme",
                "acme: http-01: port 80 of each name must reach this proxy",
                (
                    "acme: tls-alpn-01, where the one before fails: port 443 of each name must reach the TLS port of its "
                    "route"
                ),
                "acme: without acme.email the authority cannot send warnings, as of a certificate that it will revoke",
            ],
        )

    def test_email_that_is_given_is_no_line(self) -> None:
        self.assertNotIn("email", "".join(self.lines("email: a@example.com")))

    def test_staging_is_for_trials(self) -> None:
        said = self.lines("directory: letsencrypt-staging")
        self.assertIn("acme: letsencrypt-staging is for trials: clients do not trust its certificates", said)

    def test_own_directory_has_terms_of_its_own(self) -> None:
        [first, *_] = self.lines("directory: 'https://ca.internal/dir'")
        self.assertEqual(
            first,
            "acme: certificates are ordered at https://ca.internal/dir; its use means agreement with its terms of service",
        )

    def test_zerossl_has_its_terms(self) -> None:
        [first, *_] = self.lines("directory: zerossl, eab: {keyId: a, hmacKey: AAAA}")
        self.assertTrue(first.endswith("https://zerossl.com/terms/"), first)

    def test_port_that_the_proxy_opens_itself_is_named(self) -> None:
        said = self.lines("challenge: http-01, httpPort: 8080", ports="443")
        line = "acme: http-01: port 80 of each name must reach port 8080 of this proxy, which listens on it without a route"
        self.assertIn(line, said)

    def test_http_is_not_used_without_a_route_on_its_port(self) -> None:
        self.assertNotIn("http-01", "".join(self.lines(ports="443")))

    def test_dns_is_for_what_the_others_cannot_prove(self) -> None:
        line = "acme: dns-01, for wildcards, and where the one before fails: no port must be reachable; DIR/dns changes TXT records"
        self.assertIn(line, self.lines("dns: {command: dns}"))

    def test_wildcards_need_dns_and_it_needs_no_port(self) -> None:
        said = self.lines("challenge: dns-01, dns: {command: dns}", other='"*.example.com"')
        self.assertIn("acme: dns-01: no port must be reachable; DIR/dns changes TXT records", said)
        self.assertIn("acme: wildcards are proven by dns-01 only: *.example.com", said)

    def test_orders_on_demand_are_told(self) -> None:
        said = self.lines("onDemand: {ask: 'http://127.0.0.1/ask'}", other='"*"')
        self.assertIn("acme: 2 certificates for 2 names, stored in DIR/acme", said)
        line = "acme: more are ordered on demand, each after http://127.0.0.1/ask approves its name, at most 20 in an hour"
        self.assertIn(line, said)

    def test_nothing_is_said_where_no_route_uses_it(self) -> None:
        file = folder(self) / "x.yaml"
        file.write_text("acme: {}\n" + VALID)
        result = CliRunner().invoke(main, ["check", str(file)])
        self.assertEqual((result.exit_code, len(result.stdout.splitlines())), (0, 1))
        self.assertIn("acme: is used by no route", result.stderr)


class GroupTests(SynchronousTestCase):
    def test_unknown_command_is_answered_with_the_one_that_was_meant(self) -> None:
        for typed, meant in (
            ("chek", "check"),
            ("explian", "explain"),
            ("validate", "check"),
            ("status", "top"),
        ):
            result = CliRunner().invoke(main, [typed])
            self.assertEqual(result.exit_code, 2)
            self.assertIn(f"No such command '{typed}'; did you mean {meant}?", result.stderr)
        self.assertNotIn("did you mean", CliRunner().invoke(main, ["zzz"]).stderr)

    def test_wrong_usage_exits_2(self) -> None:
        for arguments in (["check"], ["chekc"], ["check", "--lenient", "x.yaml"]):
            self.assertEqual(CliRunner().invoke(main, arguments).exit_code, 2, arguments)

    def test_help_lists_every_command(self) -> None:
        result = CliRunner().invoke(main, ["--help"])
        self.assertEqual(result.exit_code, 0)
        for command in ("forward", "check", "explain", "schema", "reload", "drain", "connections"):
            self.assertRegex(result.stdout, rf"\n  {command} ")
            own = CliRunner().invoke(main, [command, "--help"])
            self.assertEqual((own.exit_code, "Usage:" in own.stdout), (0, True), command)

    def test_no_line_of_help_is_cut(self) -> None:
        """click cuts the first sentence of a docstring to the width of the list; a ``short_help`` it wraps."""
        for width in (60, 80, 120):
            for arguments in ([], ["forward"], ["check"], ["explain"], ["reload"], ["connections"], ["top"]):
                shown = CliRunner().invoke(main, [*arguments, "--help"], terminal_width=width).stdout
                _usage, *lines = shown.splitlines()
                cut = [line for line in lines if line.rstrip().endswith("...")]
                self.assertEqual(cut, [], (width, arguments))

    def test_command_is_imported_only_when_it_is_run(self) -> None:
        """``smartproxy check`` must not wait for the import of Twisted and treq."""
        script = (
            "import sys, smartproxy.cli; print([m for m in sys.modules if m.startswith('smartproxy.cli.')])"
        )
        shown = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
        )
        self.assertEqual(shown.stdout, "[]\n")
