"""Targets that are found by name or in a file: what is refused, and what they compile to."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from smartproxy import Action, Match, Route, Settings, Target
from smartproxy.errors import ConfigurationError, InvalidTargetsFile
from smartproxy.model.plan.target import Discover
from tests.live.programs import ROOT

PG = "routes: [{name: pg, match: {ports: 5432}, action: {group: db}}]\n"

#: A target, and the problem with it.
PROBLEMS = (
    ("{srv: _pg._tcp.test, host: a}", "targets[0].host: has no meaning beside srv: the records have hosts"),
    ("{srv: _pg._tcp.test, port: 1}", "targets[0].port: has no meaning beside srv: the records have ports"),
    (
        "{srv: _pg._tcp.test, weight: 1}",
        "targets[0].weight: has no meaning beside srv: the records have weights",
    ),
    (
        "{srv: _pg._tcp.test, addresses: all}",
        "targets[0].addresses: has no meaning beside srv: every address of its hosts is a target",
    ),
    (
        "{srv: _pg._tcp.test, name: one}",
        'targets[0].name: has no meaning beside srv: each answer is a target called address:port (got "one")',
    ),
    (
        "{host: a.test, port: 1, addresses: all, name: one}",
        'targets[0].name: has no meaning beside addresses: all: each answer is a target called address:port (got "one")',
    ),
    (
        "{host: a.test, port: 1, addresses: some}",
        'targets[0].addresses: must be "first" or "all" (got "some")',
    ),
    (
        "{srv: 192.0.2.1}",
        'targets[0].srv: must be the name of an SRV record, like _pg._tcp.db.internal (got "192.0.2.1")',
    ),
    (
        "{srv: a b}",
        'targets[0].srv: must be the name of an SRV record, like _pg._tcp.db.internal (got "a b")',
    ),
    ("{host: a.test}", "targets[0].port: is required"),
    ("{weight: 2}", "targets[0].host: is required"),
)


class TargetTests(SynchronousTestCase):
    def problems(self, text):
        return self.assertRaises(ConfigurationError, Settings.parse, text, "yaml").problems

    def test_keys_that_have_no_meaning_are_refused(self):
        for target, message in PROBLEMS:
            found = self.problems(f"targetGroups: {{db: {{targets: [{target}]}}}}\n" + PG)
            self.assertIn(f"<string>:1: targetGroups.db.{message}", found)
            found = self.problems(
                f"routes: [{{name: pg, match: {{ports: 5432}}, action: {{targets: [{target}]}}}}]\n"
            )
            self.assertIn(f"<string>:1: routes[0].action.{message}", found)

    def test_callables_are_not_looked_up(self):
        for more in ({"host": lambda _: "a", "port": 1}, {"host": "a", "port": lambda _: 1}):
            target = Target(addresses="all", **more)
            route = Route(name="a", match=Match(ports=1), action=Action(targets=[target]))
            key = next(name for name in more if callable(more[name]))
            self.assertEqual(
                Settings(routes=[route]).check(),
                [f'routes[0].action.targets[0].addresses: is "all", but {key} is a callable'],
            )

    def test_target_made_in_python_needs_an_address_at_once(self):
        problems = self.assertRaises(ConfigurationError, Target, weight=1).problems
        self.assertEqual(problems, ["Target: host: is required", "Target: port: is required"])

    def test_what_they_compile_to(self):
        plan = Settings.parse(
            "targetGroups: {db: {targets: [{srv: _pg._tcp.test, backup: true}, {host: [a.test, b.test], port: preserve, "
            "addresses: all, maxConnections: 3}, {host: c.test, port: 1}]}}\n" + PG,
            "yaml",
        ).compile()
        one, two, three = plan.groups[0].targets
        self.assertEqual(
            (one.hosts, one.port, one.discover, one.backup),
            (("_pg._tcp.test",), None, Discover.SERVICES, True),
        )
        self.assertEqual(
            (two.hosts, two.port, two.discover), (("a.test", "b.test"), None, Discover.ADDRESSES)
        )
        self.assertEqual((three.discover, list(plan.groups[0].fixed())), (Discover.NOTHING, [three]))
        self.assertTrue(plan.groups[0].is_discovered)

    def test_checks_need_no_port_where_records_have_one(self):
        Settings.parse(
            "targetGroups: {db: {targets: [{srv: _pg._tcp.test}], healthCheck: true}}\n" + PG, "yaml"
        )


class FileCase(SynchronousTestCase):
    """A configuration with ``db.yaml`` beside it."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.targets = self.directory / "db.yaml"
        self.configuration = self.directory / "proxy.yaml"

    def write(self, text, group="targetsFile: db.yaml", routes=PG):
        if text is not None:
            self.targets.write_text(text, encoding="utf-8")
        self.configuration.write_text(f"targetGroups:\n  db: {{{group}}}\n{routes}", encoding="utf-8")

    def load(self, *given, **more):
        self.write(*given, **more)
        return Settings.load(self.configuration)

    def problems(self, *given, **more):
        self.write(*given, **more)
        found = self.assertRaises(ConfigurationError, Settings.load, self.configuration).problems
        return [line.replace(f"{self.directory}/", "") for line in found]

    def refused(self, *given, **more):
        """What is wrong with the file; the line of the configuration is always the same."""
        prefix = "proxy.yaml:2: targetGroups.db.targetsFile: "
        found = self.problems(*given, **more)
        self.assertEqual([line for line in found if not line.startswith(prefix)], [])
        return [line.removeprefix(prefix) for line in found]

    def plan(self, settings):
        return settings.compile().groups[0]


class FileTests(FileCase):
    def test_targets_in_the_file_are_those_of_the_group(self):
        plan = self.plan(
            self.load(
                "- {name: one, host: 192.0.2.1, port: 1, weight: 3, maxConnections: 9, sendProxyProtocol: 2}\n"
                "- {host: 192.0.2.2, port: 2, backup: true, tls: true, healthCheck: true}\n"
                "- {srv: _pg._tcp.test}\n- {host: a.test, port: 3, addresses: all}\n"
            )
        )
        one, two, three, four = plan.file.targets
        self.assertEqual(
            (one.name, one.weight, one.max_connections, one.send_header.version), ("one", 3, 9, 2)
        )
        self.assertEqual((two.backup, two.tls is None, two.check is None), (True, False, False))
        self.assertEqual((three.discover, four.discover), (Discover.SERVICES, Discover.ADDRESSES))
        self.assertEqual(list(plan.fixed()), [one, two])

    def test_json_and_a_mapping_with_targets(self):
        (self.directory / "db.json").write_text('[{"host": "a", "port": 1}]', encoding="utf-8")
        self.assertEqual(len(self.plan(self.load(None, "targetsFile: db.json")).file.targets), 1)
        self.assertEqual(
            len(self.plan(self.load("x-made: by hand\ntargets:\n- {host: a, port: 1}\n")).file.targets), 1
        )
        self.assertEqual(len(self.plan(self.load("{targets: {host: a, port: 1}}")).file.targets), 1)

    def test_variables_are_replaced(self):
        with mock.patch.dict(os.environ, {"DB_PORT": "5433"}):
            plan = self.plan(self.load("- {host: a, port: '${DB_PORT}'}\n"))
        self.assertEqual(plan.file.targets[0].port, 5433)

    def test_problems_name_the_file_its_line_and_its_key(self):
        for text, expected in (
            (None, "db.yaml: cannot be read: No such file or directory"),
            ("", "db.yaml: is empty"),
            ("# none\n", "db.yaml: is empty"),
            ("[]\n", "db.yaml:1: has no target"),
            ("text", 'db.yaml:1: not a configuration: no colon after "text": write "text: VALUE"'),
            ("\nhost: a\nport: 1\n", 'db.yaml:2: host: has no place in a file of targets, which is a list of them; begin each with "- host: NAME"'),
            ("- {host: a, port: 1}\n- {host: b, port: 70000}\n", 'db.yaml:2: targets[1].port: must be 1..65535 or "preserve" (got 70000)'),
            ("- host: a\n  port: 1\n  wieght: 2\n", 'db.yaml:3: targets[0].wieght: unknown key; did you mean "weight"?'),
            ("- host: a\n", "db.yaml:1: targets[0].port: is required"),
            ("- host: a\n  port:\n", "db.yaml:2: targets[0].port: has no value; give it one, or leave it out for its default"),
            ("- {name: a, host: b, port: 1}\n- {name: a, host: c, port: 1}\n", 'db.yaml:2: targets[1].name: is the name of an earlier target (got "a")'),
            ("targets:\n- {host: a, port: 1}\n- {srv: _a._tcp.test, port: 1}\n", "db.yaml:3: targets[1].port: has no meaning beside srv: the records have ports"),
            ("- {host: a, port: 1, tls: {ca: none.pem}}\n", "db.yaml:1: targets[0].tls.ca: none.pem: cannot be read: No such file or directory"),
            ("- {host: a, port: 1, weight: 0}\n", "db.yaml: has no target with a weight above 0"),
            ("- {host: a, port: 1, healthCheck: {type: script}}\n", 'db.yaml:1: targets[0].healthCheck.steps: is required for type "script"'),
        ):  # fmt: skip
            self.targets.unlink(missing_ok=True)
            self.assertEqual(self.refused(text), [expected], text)

    def test_broken_yaml_names_its_line(self):
        self.assertTrue(
            self.refused("- {host: a, port: 1}\n- {host: [\n")[0].startswith("db.yaml:2: not valid YAML")
        )

    def test_names_of_the_group_are_taken(self):
        group = "targets: [{name: one, host: a, port: 1}], targetsFile: db.yaml"
        text = "- {name: one, host: b, port: 1}\n"
        self.assertEqual(
            self.refused(text, group),
            ['db.yaml:1: targets[0].name: is the name of an earlier target (got "one")'],
        )

    def test_file_beside_targets_may_have_none(self):
        plan = self.plan(self.load("[]", "targets: [{host: a, port: 1}], targetsFile: db.yaml"))
        self.assertEqual(plan.file.targets, ())

    def test_format_is_that_of_the_suffix(self):
        (self.directory / "db.toml").write_text("", encoding="utf-8")
        self.assertEqual(
            self.problems(None, "targetsFile: db.toml"),
            ["proxy.yaml:2: targetGroups.db.targetsFile: db.toml: must end in .yaml, .yml, .json"],
        )

    def test_huge_file_is_refused_before_it_is_read(self):
        self.assertEqual(self.refused("#" * (1 << 20) + "##"), ["db.yaml: is larger than 1 MiB"])

    def test_many_problems_are_cut(self):
        found = self.refused("- {host: a}\n" * 50)
        self.assertEqual((len(found), found[-1]), (21, "db.yaml: 30 more problems"))

    def test_every_target_needs_tls_where_a_route_reencrypts(self):
        routes = (
            "routes: [{name: pg, match: {ports: 5432}, action: {group: db, tls: {mode: terminate-and-reencrypt, "
            "certificate: selfSigned}}}]\n"
        )
        text = "- {host: a, port: 1, tls: true}\n- {host: b, port: 1}\n"
        self.assertEqual(
            self.refused(text, routes=routes),
            ['db.yaml:2: targets[1].tls: is required: route "pg" has "terminate-and-reencrypt"'],
        )

    def test_file_of_a_route(self):
        """Its targets have what the route says: TLS, and the PROXY header."""
        routes = (
            "routes: [{name: pg, match: {ports: 5432}, action: {targetsFile: db.yaml, sendProxyProtocol: 2, "
            "tls: {mode: terminate-and-reencrypt, certificate: selfSigned}}}]\n"
        )
        self.targets.write_text("- {host: a, port: 1}\n", encoding="utf-8")
        self.configuration.write_text(routes, encoding="utf-8")
        plan = Settings.load(self.configuration).compile().routes[0].group
        self.assertEqual(plan.name, "pg")
        (target,) = plan.file.targets
        self.assertEqual((target.send_header.version, target.tls is None), (2, False))

    def test_file_beside_a_shared_group_is_refused(self):
        routes = "routes: [{name: pg, match: {ports: 5432}, action: {group: db, targetsFile: db.yaml}}]\n"
        found = self.problems("- {host: a, port: 1}\n", routes=routes)
        self.assertEqual(
            found,
            [
                "proxy.yaml:3: routes[0].action.targetsFile: has no meaning beside group; it belongs in targetGroups.db"
            ],
        )

    def test_file_of_a_route_directly_names_its_place(self):
        routes = "routes: [{name: pg, match: {ports: 5432}, targetsFile: db.yaml, action: {group: db}}]\n"
        found = self.problems("- {host: a, port: 1}\n", routes=routes)
        self.assertEqual(found, ['proxy.yaml:3: routes[0].targetsFile: unknown key; it belongs in "action"'])

    def test_file_of_a_disabled_route_is_not_read(self):
        routes = PG.replace(
            "]\n", ", {name: b, enabled: false, match: {ports: 1}, action: {targetsFile: none.yaml}}]\n"
        )
        self.load("- {host: a, port: 1}\n", routes=routes).compile()

    def test_group_without_any_targets_is_refused(self):
        self.assertEqual(self.problems(None, ""), ["proxy.yaml:2: targetGroups.db.targets: is required"])


class ReadingAgainTests(FileCase):
    """What the proxy does when the file has changed."""

    def test_file_is_read_again_as_it_was_read_first(self):
        file = self.plan(self.load("- {host: a, port: 1}\n")).file
        self.targets.write_text("- {host: b, port: 2}\n", encoding="utf-8")
        found = file.read()
        self.assertEqual([target.hosts for target in found.targets], [("b",)])
        self.assertNotEqual(found.state, file.state)
        self.assertEqual([target.hosts for target in file.targets], [("a",)])

    def test_broken_file_names_line_and_key(self):
        file = self.plan(self.load("- {host: a, port: 1}\n")).file
        for text, expected in (
            ("- {host: a, prot: 1}\n", ':1: targets[0].prot: unknown key; did you mean "port"?'),
            ("", ": is empty"),
            ("[]", ":1: has no target"),
        ):
            self.targets.write_text(text, encoding="utf-8")
            problem = self.assertRaises(InvalidTargetsFile, file.read).problems[0]
            self.assertEqual(problem, f"{self.targets}{expected}")

    def test_empty_list_keeps_the_former_one_beside_targets(self):
        file = self.plan(
            self.load("- {host: b, port: 1}\n", "targets: [{host: a, port: 1}], targetsFile: db.yaml")
        ).file
        self.targets.write_text("[]", encoding="utf-8")
        self.assertEqual(
            self.assertRaises(InvalidTargetsFile, file.read).problems, [f"{self.targets}: has no target"]
        )

    def test_file_without_any_weight_keeps_the_former_one(self):
        """As at the start: a list that no client could use is a mistake of what has written it."""
        group = "targets: [{host: b, port: 1, weight: 0}], targetsFile: db.yaml"
        file = self.plan(self.load("- {host: a, port: 1}\n", group)).file
        self.targets.write_text("- {host: a, port: 1, weight: 0}\n", encoding="utf-8")
        self.assertEqual(
            self.assertRaises(InvalidTargetsFile, file.read).problems,
            [f"{self.targets}: has no target with a weight above 0"],
        )
        file = self.plan(self.load("- {host: a, port: 1}\n", group.replace("weight: 0", "weight: 1"))).file
        self.targets.write_text("- {host: a, port: 1, weight: 0}\n", encoding="utf-8")
        self.assertEqual([target.weight for target in file.read().targets], [0])

    def test_compiling_uses_what_was_checked(self):
        """A file that breaks between the check and the start does not prevent it."""
        settings = self.load("- {host: a, port: 1}\n")
        self.targets.write_text("", encoding="utf-8")
        self.assertEqual(len(self.plan(settings).file.targets), 1)

    def test_reload_reads_the_file_again(self):
        settings = self.load("- {host: a, port: 1}\n")
        self.targets.write_text("- {host: b, port: 1}\n", encoding="utf-8")
        self.assertEqual([target.hosts for target in self.plan(settings.again()).file.targets], [("b",)])
        self.targets.write_text("- {host: b}\n", encoding="utf-8")
        self.assertRaises(ConfigurationError, settings.again)

    def test_other_routes_keep_what_was_read_last_of_a_file_that_is_broken(self):
        """Not what it had when the configuration was read: those targets may not exist any more."""
        settings = self.load("- {host: a, port: 1}\n")
        file = self.plan(settings).file
        self.targets.write_text("- {host: b, port: 1}\n", encoding="utf-8")
        file.read()
        self.targets.write_text("", encoding="utf-8")
        self.assertRaises(InvalidTargetsFile, file.read)
        for changed in (settings.with_routes(settings.routes), settings):
            self.assertEqual([target.hosts for target in self.plan(changed).file.targets], [("b",)])

    def test_file_that_this_user_may_not_read_keeps_its_targets(self):
        """The process may have become another user since it was read."""
        settings = self.load("- {host: a, port: 1}\n")
        denied = PermissionError(13, "Permission denied")
        real = Path.read_bytes

        def read_bytes(path):
            if path.name == "db.yaml":
                raise denied
            return real(path)

        with (
            mock.patch.object(Path, "read_bytes", read_bytes),
            mock.patch("os.access", return_value=False),
        ):
            again = settings.again()
            self.assertEqual(len(self.plan(again).file.targets), 1)
            self.assertIn(str(self.targets), settings.denied())

    def test_file_is_relative_to_the_configuration(self):
        self.load("- {host: a, port: 1}\n")
        here = Path.cwd()
        self.addCleanup(os.chdir, here)
        os.chdir(ROOT)
        self.assertEqual(len(self.plan(Settings.load(self.configuration)).file.targets), 1)


class SchemaTests(SynchronousTestCase):
    def test_schema_has_both_forms_of_a_target(self):
        target = Settings.json_schema()["$defs"]["Target"]
        self.assertIn({"required": ["srv"]}, target["anyOf"])
        self.assertEqual(json.loads(json.dumps(target["properties"]["addresses"]["default"])), "first")
