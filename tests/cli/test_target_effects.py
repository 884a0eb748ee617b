"""The lines of ``smartproxy explain`` about the target group, and what a running proxy answers about it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from treq.testing import RequestTraversalAgent

from smartproxy.cli.explain import explain
from smartproxy.model.plan import GroupPlan
from smartproxy.settings import Settings
from tests.admin.doubles import FakeControl, Listener
from tests.cli.asking import ExplainCase
from tests.cli.test_remote import FailingAgent, RemoteCase
from tests.settings.formats import folder

SHARED = """
sendProxyProtocol: 2
admin: {token: s3cret}
targetGroups:
  db:
    targets:
      - {name: one, host: 10.0.0.1, port: 5432, maxConnections: 200, weight: 3}
      - {name: two, host: 10.0.0.2, port: 5432, backup: true, sendProxyProtocol: false}
    loadBalancing: {algorithm: leastConnections, slowStart: 30s}
    healthCheck: {type: tls, port: 5433, interval: 5s}
    passiveHealth: {failures: 3, ejectFor: 20s}
    whenDown: reset
    queue: {size: 100, timeout: 4s}
  each:
    targets:
      - {host: 10.0.0.1, port: 1, healthCheck: true}
      - {host: 10.0.0.2, port: 1, maxConnections: 5}
    passiveHealth: false
    loadBalancing: {algorithm: random}
  source:
    targets: [{name: a, host: a, port: 1}, {name: b, host: b, port: 1}]
    loadBalancing: {algorithm: source}
routes:
  - {name: pg, match: {ports: 1}, action: {group: db}}
  - name: own
    match: {ports: 4}
    action: {targets: [{host: a, port: 1}, {host: b, port: 1, backup: true}, {host: c, port: 1, weight: 0}]}
  - {name: every, match: {ports: 2}, action: {group: each}}
  - {name: by, match: {ports: 3}, action: {group: source}}
"""


class GroupLineTests(ExplainCase):
    def group(self, port: int, *arguments: str) -> list[str]:
        printed = self.ask(SHARED, "--port", f"{port}", *arguments)
        return printed[next(at for at, line in enumerate(printed) if line.startswith("group: ")) :]

    def test_a_shared_group_has_all_its_terms(self) -> None:
        self.assertEqual(
            self.group(1),
            [
                "group: db (targetGroups), leastConnections, slowStart 30s",
                "  healthCheck: tls to port 5433 every 5s, 1s between states, timeout 2s, rise 2, fall 3",
                "  whenDown: reset",
                "  passiveHealth: 3 failed dials within 10s eject a target for 20s",
                "  queue: 100 clients for 4s",
                "targets, leastConnections by weight; the first connection tries them in this order:",
                "  1. one 10.0.0.1:5432 weight 3, maxConnections 200; without TLS; PROXY header version 2 (top level)",
                "  -  two 10.0.0.2:5432 weight 1, backup: only while no other is up; without TLS; no PROXY header (target)",
                "next: one, while every target is up",
            ],
        )

    def test_the_proxy_header_of_defaults_is_named_in_a_shared_group(self) -> None:
        text = SHARED.replace("sendProxyProtocol: 2\n", "defaults: {sendProxyProtocol: 2}\n", 1)
        line = self.ask(text, "--port", "1")[-3]
        self.assertTrue(line.endswith("PROXY header version 2 (defaults)"), line)

    def test_a_check_that_not_every_target_has_is_with_the_target(self) -> None:
        printed = self.group(2)
        self.assertEqual(
            printed[:5],
            [
                "group: each (targetGroups), random",
                "  healthCheck: see each target",
                "  whenDown: keep",
                "  passiveHealth: false",
                "  queue: none, a client is refused while every target is at maxConnections",
            ],
        )
        checks = {line.split()[1]: line.rpartition("; ")[2] for line in printed[6:8]}
        self.assertEqual(checks["10.0.0.2:1"], "check: none")
        self.assertTrue(checks["10.0.0.1:1"].startswith("check: connect every 2s"))

    def test_backups_are_tried_when_the_others_have_failed(self) -> None:
        printed = [line.partition(";")[0] for line in self.group(4)]
        self.assertEqual(
            printed[-4:],
            [
                "  1. a:1 weight 1",
                "  2. b:1 weight 1, backup: only while no other is up",
                "  -  c:1 weight 0, gets none",
                "next: a:1, while every target is up",
            ],
        )

    def test_a_client_of_names_waits_for_their_first_answer(self) -> None:
        for known in ("", ", {host: 10.0.0.1, port: 1, weight: 0}"):
            printed = self.ask(
                f"targetGroups: {{app: {{targets: [{{srv: _pg._tcp.test}}{known}]}}}}\n"
                "routes: [{name: a, match: {ports: 1}, action: {group: app}}]\n",
                *("--port", "1"),
            )
            self.assertEqual(printed[-1], "next: one that is found; the client waits for the first answer")

    def in_file(self, targets: str, keys: str = "healthCheck: {interval: 5s}") -> list[str]:
        """The lines about a group all of whose targets are in a file."""
        file = Path(self.mktemp()).absolute().with_suffix(".yaml")
        file.write_text(targets, encoding="utf-8")
        printed = self.ask(
            f"targetGroups: {{app: {{targetsFile: {file}, {keys}}}}}\n"
            "routes: [{name: a, match: {ports: 1}, action: {group: app}}]\n",
            *("--port", "1"),
        )
        return printed[next(at for at, line in enumerate(printed) if line.startswith("group: ")) :]

    def test_targets_of_a_file_are_explained_like_others(self) -> None:
        printed = self.in_file("- {host: 10.0.0.1, port: 1, maxConnections: 5}\n")
        self.assertEqual(
            printed,
            [
                "group: app (targetGroups), roundRobin",
                "  healthCheck: connect every 5s, 1s between states, timeout 2s, rise 2, fall 3",
                "  whenDown: keep",
                "  passiveHealth: 1 failed dial ejects a target for 10s",
                "  queue: none, a client is refused while every target is at maxConnections",
                "targets, roundRobin by weight; the first connection tries them in this order:",
                "  1. 10.0.0.1:1 weight 1, maxConnections 5; without TLS; no PROXY header",
                "next: 10.0.0.1:1, while every target is up",
            ],
        )

    def test_a_header_that_the_file_sets_is_explained_by_it(self) -> None:
        printed = self.in_file("[{host: a, port: 1}, {host: b, port: 1, sendProxyProtocol: 2}]")
        self.assertEqual(
            [line.rpartition("; ")[2] for line in printed[-3:-1]],
            ["no PROXY header", "PROXY header version 2 (targetsFile)"],
        )

    def test_checks_of_targets_of_a_file_are_with_the_targets(self) -> None:
        printed = self.in_file("[{host: a, port: 1}, {host: b, port: 1, healthCheck: {interval: 1s}}]")
        self.assertEqual(printed[1], "  healthCheck: see each target")
        self.assertIn("check: connect every 1s, 1s between states", printed[-2])

    def test_who_is_next_may_be_drawn_or_depend_on_the_client(self) -> None:
        self.assertEqual(
            self.group(2)[-1],
            "next: one of 10.0.0.1:1, 10.0.0.2:1, drawn at random, while every target is up",
        )
        self.assertEqual(
            self.group(3)[-1],
            "next: one of a, b, by the client's address: --client-ip, while every target is up",
        )
        found = {self.group(3, "--client-ip", f"192.0.2.{number}")[-1] for number in range(8)}
        self.assertEqual(found, {"next: a, while every target is up", "next: b, while every target is up"})


class RunningTests(RemoteCase):
    def setUp(self) -> None:
        super().setUp()
        self.file = Path(folder(self)) / "smartproxy.yaml"
        self.file.write_text(SHARED, encoding="utf-8")
        plan = Settings.load(self.file).compile()
        self.control = FakeControl(*plan.routes)
        self.use(RequestTraversalAgent(Listener(self.control, plan.admin).site.resource))

    def now(self, port: int, *arguments: str) -> list[str]:
        result = self.ask(port, *arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        lines: list[str] = result.stdout.splitlines()
        return lines[lines.index("now, in http://127.0.0.1:8404 (--admin):") + 1 :]

    def ask(self, port: int, *arguments: str):
        return self.run_command(explain, str(self.file), "--port", f"{port}", "--admin", ":8404", *arguments)

    def test_states_of_the_running_proxy_decide_who_is_next(self) -> None:
        group = self.control.groups._groups.find("db")
        group.take("192.0.2.1")
        self.assertEqual(
            self.now(1),
            ["  one: up, weight 3, connections 1", "  two: up, weight 1, now 0, connections 0", "next: one"],
        )
        self.control.groups.set_state("db", "one", "drain")
        self.assertEqual(
            self.now(1),
            [
                "  one: drain by hand, weight 3, connections 1",
                "  two: up, weight 1, connections 0",
                "next: two",
            ],
        )
        self.control.groups.set_state("db", "two", "down")
        self.assertEqual(self.now(1)[-1], "next: none, the client would be refused: no_target")

    def test_an_ejected_target_has_its_reason(self) -> None:
        group = self.control.groups._groups.find("source")
        group.failed(group.take("192.0.2.1"), "refused", "b:1: Connection refused\x1b")
        self.assertIn(" (b:1: Connection refused\\x1b), weight 1, connections 0", "\n".join(self.now(3)))

    def test_source_is_asked_with_the_client(self) -> None:
        names = [self.now(3, "--client-ip", f"192.0.2.{number}")[-1] for number in range(8)]
        taken = [
            self.control.groups._groups.find("source").take(f"192.0.2.{number}").name for number in range(8)
        ]
        self.assertEqual(names, [f"next: {name}" for name in taken])
        self.assertEqual(self.now(3)[-1], "next: one of a, b, by the client's address: --client-ip")

    def test_clients_that_wait_are_shown(self) -> None:
        group = self.control.groups._groups.find("db")
        self.control.groups.set_state("db", "two", "down")
        for _ in range(200):
            group.take("192.0.2.1")
        self.assertEqual(self.now(1)[-1], "next: none has room, the client would wait in the queue")
        waiting = group.wait_for_room("192.0.2.1")
        self.assertEqual(self.now(1)[-2], "  clients that wait: 1")
        waiting.addErrback(lambda _: None)
        waiting.cancel()

    def test_a_client_that_would_wait_for_the_first_target_is_no_matter_of_room(self) -> None:
        self.control.groups._groups.configure([GroupPlan("db", is_searching=True)])
        self.assertEqual(self.now(1)[-1], "next: no target is found yet, the client would wait for one")

    def test_the_explanation_is_printed_where_no_proxy_answers(self) -> None:
        self.use(FailingAgent(OSError("gone")))
        result = self.ask(1)
        self.assertEqual((result.exit_code, result.stderr.count("\n")), (1, 1))
        self.assertTrue(result.stdout.startswith("route pg\n"))
        self.assertNotIn("next:", result.stdout)

    def test_a_proxy_with_another_configuration_says_so(self) -> None:
        self.control.groups._groups.apply({})
        result = self.ask(1)
        self.assertEqual(result.exit_code, 1)
        self.assertIn("refused: there is no group 'db'; there is none", result.stderr)

    def test_the_token_is_that_of_the_file_or_of_the_option(self) -> None:
        self.assertEqual(self.ask(1, "--token", "wrong").exit_code, 1)
        self.file.write_text(
            self.file.read_text(encoding="utf-8").replace("s3cret", '"${X}"'), encoding="utf-8"
        )
        result = CliRunner().invoke(
            explain, [str(self.file), "--port", "1", "--admin", ":8404"], env={"X": "s3cret"}
        )
        self.assertEqual(result.exit_code, 0, result.output)

    def test_nothing_is_asked_about_a_route_without_targets(self) -> None:
        result = self.ask(9)
        self.assertEqual((result.exit_code, self.admins), (0, []))
