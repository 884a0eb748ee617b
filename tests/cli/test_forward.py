"""``smartproxy forward``: its arguments, and the configuration that they mean. Traffic is in ``tests/live/test_forward.py``."""

from __future__ import annotations

import re
import shlex
from contextlib import chdir, redirect_stderr
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

from click.testing import CliRunner
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

import smartproxy
from smartproxy._version import __version__
from smartproxy.cli import main
from smartproxy.cli.foreground import ForegroundStop, ProblemPrinter, as_line, start_line
from smartproxy.cli.forward_arguments import HostPort, parse_listen, parse_target
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.model.record import ClosedConnection, ConnectionRecord
from smartproxy.settings import Settings
from tests.sessions.memory_proxy import MemoryProxy
from tests.settings.formats import folder
from tests.tls.made import Authority

ROOT = Path(smartproxy.__file__).parents[1]


def run(*arguments):
    """Exit code, standard output and standard error of ``smartproxy forward``."""
    done = CliRunner().invoke(main, ["forward", *arguments])
    return done.exit_code, done.stdout, done.stderr


def parsed(top=""):
    """The settings that a command is made into, with ``top`` in front."""
    route = "{name: forward, match: {ports: 80}, action: {targets: [{host: h, port: 9000}]}}"
    return Settings.parse(f"{top}routes: [{route}]\n", "yaml", "command line")


class PlaceTests(SynchronousTestCase):
    def test_places_to_listen_on(self):
        for text, place in (
            ("8080", ("", 8080)), (":8080", ("", 8080)), ("*:8080", ("", 8080)), ("0.0.0.0:80", ("0.0.0.0", 80)),
            ("127.0.0.1:8080", ("127.0.0.1", 8080)), ("[::1]:8080", ("::1", 8080)), ("[::]:65535", ("::", 65535)),
        ):  # fmt: skip
            self.assertEqual(parse_listen(text), place, text)

    def test_places_to_forward_to(self):
        for text, place in (
            ("127.0.0.1:9000", ("127.0.0.1", 9000)), ("[2001:db8::1]:1", ("2001:db8::1", 1)),
            ("backend.internal:9000", ("backend.internal", 9000)), ("no:80", ("no", 80)),
        ):  # fmt: skip
            self.assertEqual(parse_target(text), place, text)

    def test_place_is_printed_as_it_is_written(self):
        for text in ("127.0.0.1:9000", "[::1]:80", "h:1"):
            self.assertEqual(str(parse_target(text)), text)

    def test_wrong_places_are_usage_errors_that_say_what_to_write(self):
        for listen, target, says in (
            ("0", "h:1", "'0' is not a port: 1..65535"),
            ("65536", "h:1", "is not a port"),
            ("-1", "h:1", ""),
            ("http", "h:1", "'http' is not a port"),
            ("\u0668\u0660", "h:1", "is not a port"),
            ("::1:8080", "h:1", "write an IPv6 address in brackets, then the port, as in [::1]:8080"),
            ("[::1]", "h:1", "in brackets, then the port"),
            ("[127.0.0.1]:80", "h:1", "needs no brackets"),
            ("localhost:80", "h:1", "is not an IP address of this machine; did you mean 127.0.0.1 or [::1]?"),
            ("example.com:80", "h:1", "is not an IP address of this machine"),
            ("8080", "9000", "needs a host and a port, for example 127.0.0.1:9000"),
            ("8080", "host", "needs a host and a port, for example host:80"),
            ("8080", "http://host:80", "is not HOST:PORT, without scheme and path"),
            ("8080", ":9000", "'' is neither an IP address nor a host name"),
            ("8080", "a b:9000", "is neither an IP address nor a host name"),
            ("8080", "host:", "'' is not a port"),
            ("8080", "::1:80", "in brackets"),
        ):
            code, out, err = run(listen, target, "--print")
            self.assertEqual((code, out), (2, ""), (listen, target))
            self.assertIn(says, " ".join(err.split()))


class OptionTests(SynchronousTestCase):
    def test_wrong_usage_exits_2(self):
        for wrong, says in (
            ((), "Missing argument '[ADDRESS:]PORT'"),
            (("8080",), "Missing argument 'HOST:PORT'"),
            (("8080", "h:1", "more"), "unexpected extra argument"),
            (("8080", "h:1", "--send-proxy", "3"), "--send-proxy"),
            (("8080", "h:1", "--tls"), "Option '--tls' takes selfSigned, or two files: CERT KEY."),
            (
                ("8080", "h:1", "--tls", "cert.pem"),
                "Option '--tls' takes selfSigned, or two files: CERT KEY.",
            ),
            (("8080", "h:1", "--udp"), "--udp"),
        ):
            code, out, err = run(*wrong)
            self.assertEqual((code, out), (2, ""), wrong)
            self.assertIn(says, err)

    def test_file_that_cannot_be_used_is_named_with_its_option(self):
        code, out, err = run("8080", "h:1", "--tls", "/nowhere/cert.pem", "/nowhere/key.pem")
        self.assertEqual((code, out), (2, ""))
        self.assertEqual(
            err.splitlines()[0],
            "smartproxy forward: --tls CERT: /nowhere/cert.pem: cannot be read: No such file or directory",
        )


class PrintTests(SynchronousTestCase):
    def printed(self, *arguments):
        """The configuration, accepted by ``smartproxy check`` without a warning."""
        code, out, err = run(*arguments, "--print")
        self.assertEqual((code, err), (0, ""))
        file = folder(self) / "smartproxy.yaml"
        file.write_text(out)
        checked = CliRunner().invoke(main, ["check", "--strict", str(file)])
        self.assertEqual(checked.exit_code, 0, checked.output)
        return out, Settings.load(file).compile()

    def test_shortest_command_prints_the_shortest_configuration(self):
        out, plan = self.printed("8080", "127.0.0.1:9000")
        self.assertEqual(
            out,
            "# Run it with: twistd -n smartproxy --config smartproxy.yaml\n"
            "routes:\n"
            "  - name: forward\n"
            "    match: {ports: 8080}\n"
            "    action:\n"
            "      targets: [{host: 127.0.0.1, port: 9000}]\n",
        )
        (route,) = plan.routes
        self.assertIsNone(plan.admin)
        self.assertEqual([(one.hosts, one.port) for one in route.targets], [(("127.0.0.1",), 9000)])

    def test_every_option_is_in_the_configuration(self):
        for tls in (("--tls", "selfSigned"), ("--tls=selfSigned",)):
            out, plan = self.printed("[::1]:8443", "[::1]:9000", *tls, "--send-proxy", "2", "--admin")
            (route,) = plan.routes
            self.assertIsNotNone(route.tls)
            self.assertIn('    match: {ports: 8443, address: "::1"}\n', out)
            self.assertIn("      sendProxyProtocol: 2\n", out)
            self.assertEqual(plan.admin.port, 8404)

    def test_option_before_the_arguments_takes_one_value_or_two(self):
        for arguments in (("--tls", "selfSigned", "8443", "h:1"), ("8443", "--tls", "selfSigned", "h:1")):
            out, _ = self.printed(*arguments)
            self.assertIn("certificate: selfSigned", out)

    def test_host_that_yaml_would_take_for_another_type_is_quoted(self):
        for host in ("no", "null", "true", "12e3"):
            out, plan = self.printed("8080", f"{host}:9000")
            self.assertEqual(plan.routes[0].targets[0].hosts, (host,), out)

    def test_files_are_absolute_so_that_the_configuration_may_be_anywhere(self):
        directory = folder(self) / "with space"
        directory.mkdir()
        pem = Authority("intermediate", above=Authority()).leaf("shop.example")
        (directory / "shop.pem").write_bytes(pem.pem)
        (directory / "shop.key").write_bytes(pem.key_pem)
        with chdir(directory):
            out, _ = self.printed("8443", "h:1", "--tls", "shop.pem", "shop.key")
        self.assertIn(f'{{certFile: "{directory}/shop.pem", keyFile: "{directory}/shop.key"}}', out)


class DocumentedTests(SynchronousTestCase):
    def test_every_command_in_the_documentation_is_understood(self):
        """The README begins with one, and it is the first thing that a newcomer types."""
        commands = []
        for page in ("README.rst", "docs/quickstart.rst"):
            commands += re.findall(r"^ {4}smartproxy forward (.*)$", (ROOT / page).read_text(), re.MULTILINE)
        self.assertGreater(len(commands), 2)
        for command in commands:
            arguments = shlex.split(command.partition(">")[0])
            self.assertEqual(run(*arguments, "--print")[::2], (0, ""), command)

    def test_readme_shows_the_lines_as_they_are_printed(self):
        readme = (ROOT / "README.rst").read_text()
        self.assertIn(f"    {start_line(parsed(), '[::]:8080', '127.0.0.1:9000')}\n", readme)
        record = ConnectionRecord(1, Accepted(":80", 80, Endpoint("127.0.0.1", 40312), 0.0))
        record.moved_in(78, 0.0)
        record.moved_out(1256, 0.0)
        closed = ClosedConnection(record, CloseReason.NORMAL, 0.004)
        self.assertIn(f"    {as_line(closed, '127.0.0.1:9000')}\n", readme)


class LineTests(SynchronousTestCase):
    def test_first_line_names_the_admin_api_only_where_there_is_one(self):
        """Without ``--admin`` nothing listens there, or another proxy does."""
        line = f"smartproxy {__version__} forwards :80 to h:9000"
        for top, rest in (
            ("", ""),
            ("admin: false\n", ""),
            ("admin: true\n", "; admin API on http://127.0.0.1:8404"),
        ):
            self.assertEqual(start_line(parsed(top), ":80", "h:9000"), f"{line}{rest}; Ctrl-C stops")

    def closed(self, outcome, target=None):
        record = ConnectionRecord(1, Accepted(":80", 80, Endpoint("2001:db8::1", 4711), 10.0))
        record.target = target
        record.moved_in(42, 11.0)
        record.moved_out(1234, 11.0)
        return ClosedConnection(record, outcome, 10.3124)

    def test_connection_is_one_line(self):
        self.assertEqual(
            as_line(self.closed(CloseReason.NORMAL, Endpoint("127.0.0.1", 9000)), "h:9000"),
            "[2001:db8::1]:4711 -> 127.0.0.1:9000: 42 bytes received, 1234 sent, 0.312 s, normal",
        )

    def test_refused_connection_names_the_target_as_it_was_written(self):
        line = as_line(self.closed(RejectReason.UPSTREAM_UNREACHABLE), str(HostPort("h", 9000)))
        self.assertTrue(line.startswith("[2001:db8::1]:4711 -> h:9000: "), line)
        self.assertTrue(line.endswith(", upstream_unreachable"), line)

    def test_problems_are_printed_but_for_refusals_which_have_a_line(self):
        printed = StringIO()
        with redirect_stderr(printed):
            for level, namespace in (
                (LogLevel.info, "smartproxy.x"),
                (LogLevel.warn, "smartproxy.observe.refusal_log"),
                (LogLevel.warn, "smartproxy.upstream.dial_log"),
            ):
                ProblemPrinter()(
                    {"log_format": "{x}", "x": namespace, "log_level": level, "log_namespace": namespace}
                )
        self.assertEqual(printed.getvalue(), "smartproxy.upstream.dial_log\n")


class StopTests(SynchronousTestCase):
    def test_second_request_ends_the_connections_that_the_first_waits_for(self):
        proxy = MemoryProxy(self)
        client = proxy.client()
        proxy.backend()
        stops = []
        reactor = SimpleNamespace(stop=lambda: stops.append(True))
        stop = ForegroundStop(proxy.service, reactor)
        printed = StringIO()
        with redirect_stderr(printed):
            stop.requested()
        self.assertEqual(printed.getvalue(), "waiting up to 30 s for 1 connections; Ctrl-C ends them\n")
        self.assertEqual(stops, [])
        stop.requested()
        proxy.settle()
        self.assertEqual((stops, proxy.closed()), ([True], {"shutdown": 1}))
        self.assertTrue(client.gone)
