"""``smartproxy check`` and the group that it belongs to."""

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
    def run_on(self, text: str, name: str = "x.yaml") -> tuple[int, str, str, str]:
        file = folder(self) / name
        file.write_text(text)
        result = CliRunner().invoke(main, ["check", str(file)])
        return result.exit_code, result.stdout, result.stderr, str(file)

    def test_a_valid_file_is_ok_with_its_routes_and_ports(self) -> None:
        code, out, err, file = self.run_on(VALID)
        self.assertEqual((code, out, err), (0, f"{file}: ok (2 routes, ports 80, 443, 8000-8010)\n", ""))

    def test_an_invalid_file_is_one_line_a_problem_on_standard_error(self) -> None:
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

    def test_a_doubt_is_a_warning_and_the_file_is_ok(self) -> None:
        code, out, err, file = self.run_on("acceptProxyProtocol: require\n" + VALID)
        self.assertEqual((code, out.partition(" (")[0]), (0, f"{file}: ok"))
        self.assertTrue(err.startswith(f"warning: {file}:1: acceptProxyProtocol: "), err)

    def test_a_file_that_is_not_there_is_one_line(self) -> None:
        result = CliRunner().invoke(main, ["check", "/nowhere/x.yaml"])
        self.assertEqual(result.exit_code, 2)
        self.assertEqual(result.stderr, "/nowhere/x.yaml: cannot be read: No such file or directory\n")


class GroupTests(SynchronousTestCase):
    def test_wrong_usage_is_2(self) -> None:
        for arguments in (["check"], ["chekc"], ["check", "--strict", "x.yaml"]):
            self.assertEqual(CliRunner().invoke(main, arguments).exit_code, 2, arguments)

    def test_help_tells_of_every_command(self) -> None:
        result = CliRunner().invoke(main, ["--help"])
        self.assertEqual(result.exit_code, 0)
        for command in ("check", "explain", "schema", "reload", "drain", "connections"):
            self.assertRegex(result.stdout, rf"\n  {command} ")
            own = CliRunner().invoke(main, [command, "--help"])
            self.assertEqual((own.exit_code, "Usage:" in own.stdout), (0, True), command)

    def test_a_command_is_imported_only_when_it_is_asked_for(self) -> None:
        script = (
            "import sys, smartproxy.cli; print([m for m in sys.modules if m.startswith('smartproxy.cli.')])"
        )
        shown = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
        )
        self.assertEqual(shown.stdout, "[]\n")
