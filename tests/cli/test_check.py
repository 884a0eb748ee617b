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

    def test_missing_file_is_one_line_and_exit_code_2(self) -> None:
        result = CliRunner().invoke(main, ["check", "/nowhere/x.yaml"])
        self.assertEqual(result.exit_code, 2)
        self.assertEqual(result.stderr, "/nowhere/x.yaml: cannot be read: No such file or directory\n")


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
        for command in ("check", "explain", "schema", "reload", "drain", "connections"):
            self.assertRegex(result.stdout, rf"\n  {command} ")
            own = CliRunner().invoke(main, [command, "--help"])
            self.assertEqual((own.exit_code, "Usage:" in own.stdout), (0, True), command)

    def test_no_line_of_help_is_cut(self) -> None:
        """click cuts the first sentence of a docstring to the width of the list; a ``short_help`` it wraps."""
        for width in (60, 80, 120):
            for arguments in ([], ["check"], ["explain"], ["reload"], ["connections"], ["top"]):
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
