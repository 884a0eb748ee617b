"""The README, ``docs/`` and ``tap/`` agree with the code: configurations load, programs run, lists are complete."""

from __future__ import annotations

import re
import shlex
import subprocess
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from shutil import copy, which
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest import skipIf

from click.testing import CliRunner
from jsonschema import Draft202012Validator
from OpenSSL import SSL
from twisted.application.service import IServiceCollection
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy import Action, Match, Route, Settings, SmartProxy
from smartproxy.cli import main as command
from smartproxy.connections.registry import Registry
from smartproxy.errors import HandshakeRefused
from smartproxy.metrics.counters import Counters
from smartproxy.metrics.families import families
from smartproxy.metrics.family import HistogramFamily
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.model.plan import CleanupPlan, ProxyPlan
from smartproxy.model.record import ClosedConnection, ConnectionRecord
from smartproxy.model.timestamps import Moment
from smartproxy.observe.access_log import entry
from smartproxy.settings.reading.files import parse_text, read_file
from smartproxy.testing import MemoryNetwork
from smartproxy.workers.supervisor_control import worker_families
from tests.documented import write_files
from tests.reactors import watch_no_descriptors
from tests.tls import talk

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TAP = ROOT / "tap"
BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:    .*\n|\n)+)", re.MULTILINE)
SCHEMA = Draft202012Validator(Settings.json_schema())


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def pages() -> list[Path]:
    built = DOCS / "_build"
    return [ROOT / "README.rst", *(page for page in DOCS.rglob("*.rst") if built not in page.parents)]


def blocks(page: Path, *languages: str) -> Iterator[tuple[str, str]]:
    """The code blocks of a page in one of these languages, each with its language."""
    for found in BLOCK.finditer(text(page)):
        if found[1] in languages:
            yield found[1], "".join(line[4:] or line for line in found[2].splitlines(keepends=True))


def program(page: Path, containing: str) -> dict[str, Any]:
    """The names that a page's program defines."""
    (source,) = [source for _, source in blocks(page, "python") if containing in source]
    defined: dict[str, Any] = {"__name__": "a_page"}
    exec(compile(source, str(page), "exec"), defined)  # noqa: S102 - our own documentation
    return defined


class ConfigurationTests(SynchronousTestCase):
    def setUp(self) -> None:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.directory = Path(made.name)
        write_files(self.directory)

    def written(self, source: str, language: str = "yaml") -> Path:
        """The file of a configuration, beside the files that it names."""
        file = self.directory / f"smartproxy.{language}"
        file.write_text(source, encoding="utf-8")
        return file

    def printed(self, arguments: str, file: Path, exit_code: int = 0) -> list[str]:
        """The lines that ``smartproxy`` prints for the configuration in ``file``."""
        with chdir(self.directory):
            done = CliRunner().invoke(command, shlex.split(arguments.replace(file.name, str(file))))
        self.assertEqual(done.exit_code, exit_code, done.output)
        return done.output.replace(f"{self.directory}/", "").splitlines()

    def assert_valid(self, file: Path, name: str) -> None:
        """The file has routes, no problem and no warning, and editors that use the JSON Schema agree."""
        settings = Settings.load(file)
        self.assertTrue(settings.compile().routes, name)
        self.assertEqual(settings.warnings(), [], name)
        value, _ = parse_text(*read_file(file), str(file))
        if "${" in file.read_text(encoding="utf-8"):
            return  # an editor sees the name of a variable where a number is due
        self.assertEqual([str(fault) for fault in SCHEMA.iter_errors(value)], [], name)

    def test_every_configuration_in_the_documentation_is_valid(self) -> None:
        checked = 0
        for page in pages():
            for language, source in blocks(page, "yaml", "json", "toml"):
                self.assert_valid(self.written(source, language), page.name)
                checked += 1
        self.assertGreater(checked, 6)

    def test_every_example_in_tap_is_valid_without_warnings(self) -> None:
        examples = sorted(TAP.glob("*.yaml"))
        self.assertIn(TAP / "demo.yaml", examples)
        for module in TAP.glob("*.py"):
            copy(module, self.directory)  # handlers are found beside the configuration
        for example in examples:
            if example.name == "prometheus-rules.yaml":
                continue  # for Prometheus: tests/test_monitoring.py
            self.assert_valid(self.written(text(example)), example.name)

    def test_the_demo_listens_on_every_port_that_its_text_names(self) -> None:
        plan = Settings.load(TAP / "demo.yaml").compile()
        listened = {port for route in plan.routes for ports in route.match.ports for port in ports}
        assert plan.admin is not None
        named = {
            int(port) for port in re.findall(r"(?:://[\w.]+:|nc 127\.0\.0\.1 )(\d+)", text(TAP / "demo.txt"))
        }
        self.assertEqual(named - listened, {plan.admin.port})
        self.assertGreater(len(named), 3)

    def test_the_command_prints_the_explanation_in_the_readme(self) -> None:
        readme = text(ROOT / "README.rst")
        found = re.search(r"^    \$ smartproxy (explain .*)\n((?:    .*\n)+)", readme, re.MULTILINE)
        assert found is not None
        ((_, configuration),) = blocks(ROOT / "README.rst", "yaml")
        printed = self.printed(found[1], self.written(configuration))
        self.assertEqual(printed, [line[4:] for line in found[2].splitlines()])

    @skipIf(which("openssl") is None, "needs openssl")
    def test_the_readmes_configuration_checks_in_an_empty_folder(self) -> None:
        """As pasted, check names the files that are missing; what the README says beside it makes them."""
        page = ROOT / "README.rst"
        ((_, configuration),), ((_, commands),) = blocks(page, "yaml"), blocks(page, "shell")
        folder = self.directory / "empty"
        folder.mkdir()
        (folder / "smartproxy.yaml").write_text(configuration, encoding="utf-8")
        with chdir(folder):
            done = CliRunner().invoke(command, ["check", "smartproxy.yaml"])
            self.assertEqual(done.exit_code, 2)
            self.assertIn("certificates: does not exist: create it", done.output)
            self.assertIn("targets-ca.pem: cannot be read: No such file or directory", done.output)
            *makes, checks = commands.replace("\\\n", "").strip().splitlines()
            for line in makes:
                subprocess.run(shlex.split(line), check=True, capture_output=True)
            program, *arguments = shlex.split(checks)
            self.assertEqual(program, "smartproxy")
            done = CliRunner().invoke(command, arguments)
        self.assertEqual(
            (done.exit_code, done.output), (0, "smartproxy.yaml: ok (4 routes, ports 443, 2222)\n")
        )

    def test_the_commands_print_the_quick_starts_output(self) -> None:
        page = DOCS / "quickstart.rst"
        (configuration,) = [
            source for _, source in blocks(page, "yaml") if "{mode: terminate, certificate: {" in source
        ]
        said = [line.strip() for line in text(page).splitlines()]
        file = self.written(configuration)
        explained = self.printed("explain smartproxy.yaml --port 8443 --sni shop.localhost", file)
        self.assertEqual(
            [line.strip().partition(", expires")[0] for line in explained],
            [line.partition(", expires")[0] for line in said[said.index("route shop") :][: len(explained)]],
        )
        file = self.written(configuration.replace("shop.key", "other.key"))
        (refused,) = self.printed("check smartproxy.yaml", file, 2)
        self.assertIn(refused, said)

    def test_the_tls_example_has_a_certificate_for_each_name(self) -> None:
        file = self.written(text(TAP / "tls-termination.yaml"))
        for name in ("www.example.com", "account.example.com", "machines.example.com"):
            printed = self.printed(f"explain smartproxy.yaml --port 443 --sni {name}", file)
            self.assertTrue(any(line.startswith(f"certificate: {name}") for line in printed), printed)
        asked = "explain smartproxy.yaml --port 80 --host www.example.com"
        self.assertEqual(self.printed(asked, file)[0], "route to-https")

    def test_the_readme_has_a_place_for_the_benchmark_table(self) -> None:
        readme = text(ROOT / "README.rst")
        begin, end = (readme.index(f".. benchmark-table-{mark}") for mark in ("begin", "end"))
        self.assertLess(begin, end)


class MetricsPageTests(SynchronousTestCase):
    page = text(DOCS / "metrics.rst")

    def test_it_lists_exactly_the_exported_metrics_with_labels(self) -> None:
        suffixes = {"counter": "_total", "info": "_info"}
        exposed = set()
        shown = families(Registry(Counters(), CleanupPlan(), Clock()), Counters())
        for family in (*shown, *worker_families({}, 0)):
            if isinstance(family, HistogramFamily):
                whole = any(route is None for route, _ in family.rows)
                exposed.add((family.name if whole else f"{family.name}{{route}}", "histogram"))
            else:
                labels = f"{{{','.join(family.labels)}}}" if family.labels else ""
                exposed.add((f"{family.name}{suffixes.get(family.kind, '')}{labels}", family.kind))
        listed = re.findall(r"^``(smartproxy_[\w{},]+)`` +(\w+)", self.page, re.MULTILINE)
        self.assertEqual(set(listed), exposed)

    def test_it_lists_every_field_of_the_access_log(self) -> None:
        accepted = Accepted(":80", 80, Endpoint("192.0.2.1", 1), 0.0)
        ended = ClosedConnection(ConnectionRecord(1, accepted), CloseReason.NORMAL, 1.0)
        listed = re.search(r"^``time``, .*?\.$", self.page, re.MULTILINE | re.DOTALL)
        assert listed is not None
        self.assertEqual(re.findall(r"``(\w+)``", listed[0]), list(entry(ended, Moment(0.0, 0.0))))


class OperationsPageTests(SynchronousTestCase):
    page = text(DOCS / "operations.rst")

    def test_it_explains_every_reason(self) -> None:
        first_words = set(re.findall(r"^``(\w+)`` ", self.page, re.MULTILINE))
        self.assertEqual({*CloseReason, *RejectReason} - first_words, set())

    def test_it_lists_every_command_of_the_api(self) -> None:
        listed = set(re.findall(r"^``(?:GET|PUT|POST|DELETE) (/\S+)``", self.page, re.MULTILINE))
        from smartproxy.admin.api import Api  # noqa: PLC0415 - only this test looks at it
        from tests.admin.doubles import FakeControl  # noqa: PLC0415 - likewise

        unused: Any = None
        paths = Api(FakeControl(), unused, unused).table()
        named = {"*/*": "GROUP/NAME", "*/renew": "NAME/renew", "*": "ID"}
        there = set()
        for path in paths:
            for stars, names in named.items():
                path = path.replace(stars, names)  # noqa: PLW2901 - one after the other
            there.add(path)
        self.assertEqual(listed, there)


class EmbeddingPageTests(SynchronousTestCase):
    page = DOCS / "embedding.rst"

    def test_every_program_on_it_runs(self) -> None:
        for _, source in blocks(self.page, "python"):
            exec(compile(source, "embedding.rst", "exec"), {"__name__": "a_page"})  # noqa: S102 - our own documentation

    def test_the_program_listens_and_stops_with_the_reactor(self) -> None:
        watch_no_descriptors(self)  # it watches none in fact, although it provides the interface
        reactor = MemoryReactorClock()
        defined = program(self.page, "async def main(")
        running = Deferred.fromCoroutine(defined["main"](reactor))
        self.assertEqual([server[0] for server in reactor.tcpServers], [8080])
        self.assertNoResult(running)
        ((stop, _, _),) = reactor.triggers["before"]["shutdown"]
        self.successResultOf(stop())
        self.assertEqual(reactor.getDelayedCalls(), [])
        running.addErrback(lambda _: None)
        running.cancel()

    def test_a_callable_chooses_the_host(self) -> None:
        defined = program(self.page, "def tenant(")
        plan = defined["settings"].compile()
        self.assertEqual([route.name for route in plan.routes], ["by-tenant", "echo"])
        self.assertIs(plan.routes[0].targets[0].hosts, defined["tenant"])

    def test_a_callable_returns_the_certificate(self) -> None:
        defined = program(self.page, "async def certificate_of(")
        settings = Settings(routes=[defined["tenants"]])
        with TemporaryDirectory() as directory, chdir(directory):
            write_files(Path(directory))
            (route,) = settings.compile().routes
        assert route.tls is not None
        contexts = talk.contexts(ProxyPlan(routes=(route,)))
        chosen = contexts.for_hello(route, talk.hello("red.apps.example"))
        assert isinstance(chosen, Deferred)
        self.assertIsInstance(self.successResultOf(chosen), SSL.Context)
        refused = contexts.for_hello(route, talk.hello("blue.apps.example"))
        assert isinstance(refused, Deferred)
        self.failureResultOf(refused, HandshakeRefused)

    def test_both_kinds_of_handler_greet_alike(self) -> None:
        defined = program(self.page, "class GreetFactory(")
        for handler in (defined["greet"], defined["GreetFactory"]()):
            network = MemoryNetwork()
            route = Route(name="hello", match=Match(ports=7), action=Action(type="handler", handler=handler))
            proxy = network.start(Settings(routes=[route], acceleration="off"))
            client = network.connect(7, client=("203.0.113.7", 4711))
            network.settle()
            self.assertEqual(client.received, b"203.0.113.7:4711 on hello: nobody\n")
            client.close()
            network.stop(proxy)

    def test_handlers_of_requests_stand_beside_a_target(self) -> None:
        settings = program(self.page, "async def hello(")["settings"]
        network = MemoryNetwork()
        backend = network.backend("127.0.0.1", 9000)
        proxy = network.start(Settings(routes=settings.routes, acceleration="off"))
        client = network.connect(8080)
        for head, answer in [
            (b"GET /hello/you HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n\r\nHello you\n"),
            (b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n\r\n<p>up</p>\n"),
            (b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", b"2\r\n3\n\r\n0\r\n\r\n"),
            (b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", b"Content-Length: 0\r\n\r\n"),
        ]:
            client.write(head)
            network.settle()
            self.assertTrue(client.received.endswith(answer), client.received)
            if (
                b"Connection: close" in client.received
            ):  # the answer to a body that is read has begun before its end
                client = network.connect(8080)
        client.write(b"GET /rest HTTP/1.1\r\nHost: a\r\n\r\n")
        network.settle()
        self.assertTrue(backend.connections[0].received.startswith(b"GET /rest "))
        other = network.connect(8080)
        other.write(b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        network.settle()
        other.write(b"words")
        network.settle()
        self.assertTrue(other.received.endswith(b"\r\n\r\nwords"), other.received)
        client.close()
        other.close()
        network.stop(proxy)

    def test_a_callable_gives_the_target_of_each_tenant(self) -> None:
        defined = program(self.page, "async def backend_of(")
        network = MemoryNetwork()
        backend = network.backend("10.0.0.11", 9000)
        proxy = network.start(Settings(routes=[defined["by_name"]], acceleration="off"))
        client = network.connect(8080)
        client.write(b"GET / HTTP/1.1\r\nHost: red.apps.example\r\n\r\n")
        network.settle()
        self.assertTrue(backend.connections[0].received.startswith(b"\r\n\r\n\0\r\nQUIT\n"))
        other = network.connect(8080)
        other.write(b"GET / HTTP/1.1\r\nHost: pink.apps.example\r\n\r\n")
        network.settle()
        self.assertTrue(other.received.startswith(b"HTTP/1.1 404 "))
        backend.connections[0].close()
        client.close()
        network.stop(proxy)

    def test_replace_puts_routes_in_force_or_prints_the_problem(self) -> None:
        replace = program(self.page, "async def replace(")["replace"]
        settings = Settings.parse(
            "routes: [{name: web, match: {ports: 80}, action: {targets: [{host: 127.0.0.1, port: 81}]}}]\n",
            "yaml",
        )
        proxy = SmartProxy(settings, MemoryReactorClock())
        other = Route(name="other", match={"ports": 82}, action={"type": "block"})
        self.successResultOf(Deferred.fromCoroutine(replace(proxy, [other])))
        self.assertEqual([route.name for route in proxy.plan.routes], ["other"])
        printed = StringIO()
        with redirect_stdout(printed):
            self.successResultOf(Deferred.fromCoroutine(replace(proxy, [other, other])))
        self.assertIn("is the name of an earlier route", printed.getvalue())
        self.assertEqual(len(proxy.plan.routes), 1)

    def test_the_application_in_tap_has_a_proxy_in_it(self) -> None:
        path = TAP / "smartproxy.tac"
        defined: dict[str, Any] = {"__file__": str(path)}
        exec(compile(text(path), str(path), "exec"), defined)  # noqa: S102 - our own example
        services = list(IServiceCollection(defined["application"]))
        (proxy,) = [service for service in services if isinstance(service, SmartProxy)]
        self.assertEqual([route.name for route in proxy.plan.routes], ["echo"])
        self.assertEqual([defined["next_port"](None) for _ in range(3)], [9101, 9102, 9101])
