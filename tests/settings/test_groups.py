"""Target groups: what is refused, and what they compile to."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from smartproxy import Action, CheckedTarget, HealthCheck, Match, Route, Target
from smartproxy.errors import ConfigurationError
from smartproxy.model.plan import Algorithm, BalancingPlan, PassiveHealthPlan, QueuePlan, SendHeader
from smartproxy.model.plan.check import CheckKind, CheckPlan, HttpCheckPlan, StepPlan
from smartproxy.settings import Settings
from tests.settings.formats import problems

PG = "routes: [{name: pg, match: {ports: 5432}, action: {group: db}}]\n"
ONE = "{name: one, host: 10.0.0.1, port: 5432}"

#: What is written, and the problem with it.
PROBLEMS = (
    ("targetGroups: {db: {}}\n" + PG, "targetGroups.db.targets: is required"),
    (
        f"targetGroups: {{db: {{targets: [{ONE}, {ONE}]}}}}\n" + PG,
        'targetGroups.db.targets[1].name: is the name of an earlier target (got "one")',
    ),
    (
        "targetGroups: {db: {targets: [{name: one, host: [10.0.0.1, 10.0.0.2], port: 1}]}}\n" + PG,
        "targetGroups.db.targets[0].name: names one target, but host is a list; give each host a target",
    ),
    (
        f"targetGroups: {{bd: {{targets: [{ONE}]}}}}\n" + PG,
        'routes[0].action.group: is not the name of a group in targetGroups (bd) (got "db")',
    ),
    (
        (
            f"targetGroups: {{db: {{targets: [{ONE}]}}}}\n"
            "routes: [{name: pg, match: {ports: 5432}, action: {group: db, queue: {size: 1}}}]"
        ),
        "routes[0].action.queue: has no meaning beside group; it belongs in targetGroups.db",
    ),
    (
        (
            f"targetGroups: {{db: {{targets: [{ONE}]}}}}\n"
            "routes: [{name: pg, match: {ports: 5432}, action: {group: db, sendProxyProtocol: true}}]"
        ),
        "routes[0].action.sendProxyProtocol: has no meaning beside group; it belongs to the targets of targetGroups.db",
    ),
    (
        (
            f"targetGroups: {{db: {{targets: [{ONE}]}}}}\n"
            f"routes: [{{name: pg, match: {{ports: 5432}}, action: {{group: db, targets: [{ONE}]}}}}]"
        ),
        "routes[0].action.targets: has no meaning beside group; it belongs in targetGroups.db",
    ),
    (
        (
            f"targetGroups: {{db: {{targets: [{ONE}]}}}}\n"
            f"routes: [{{name: db, match: {{ports: 5432}}, action: {{targets: [{ONE}]}}}}]"
        ),
        "targetGroups.db: is the name of a route with targets of its own, which is a group of that name",
    ),
    (
        (
            f"targetGroups: {{db: {{targets: [{ONE}]}}}}\n"
            "routes: [{name: pg, match: {ports: 5432}, action: {group: db, tls: {mode: terminate-and-reencrypt, "
            "certificate: selfSigned}}}]"
        ),
        'routes[0].action.tls.mode: is "terminate-and-reencrypt", but a target of group "db" has no tls',
    ),
    (
        "routes: [{name: pg, match: {ports: 5432}, action: {type: block, group: db}}]",
        'routes[0].action.group: has no meaning for type "block"',
    ),
    (
        "routes: [{name: pg, match: {ports: 5432}, action: {type: block, healthCheck: true}}]",
        'routes[0].action.healthCheck: has no meaning for type "block"',
    ),
    (
        f"routes: [{{name: pg, match: {{ports: 5432}}, loadBalancing: {{}}, action: {{targets: [{ONE}]}}}}]",
        'routes[0].loadBalancing: unknown key; it belongs in "action"',
    ),
    (
        f"targetGroups: {{db: {{targets: [{ONE}], loadBalancing: {{algorithm: leastconn}}}}}}\n" + PG,
        (
            'targetGroups.db.loadBalancing.algorithm: must be "roundRobin", "leastConnections", "random", "source" or '
            '"first" (got "leastconn")'
        ),
    ),
)
#: A health check, and the problem with it.
CHECK_PROBLEMS = (
    ("{type: script}", 'steps: is required for type "script"'),
    ("{path: /x}", 'path: has no meaning for type "connect"'),
    (
        "{type: script, steps: [{send: a, expect: b}]}",
        "steps[0]: must have exactly one of send, sendBase64, expect",
    ),
    (
        "{type: script, steps: [{expectRegex: '('}]}",
        "steps[0].expectRegex: is not a regular expression: missing )",
    ),
    ("{type: http, expectStatus: [700]}", "expectStatus[0]: must be a status from 100 to 599"),
    ("{type: http, path: x}", "path: must be a path that begins with /"),
    ("{type: http, path: '/x#y'}", "path: must be a path that begins with /, without blanks and #"),
    ("{type: tcp}", 'type: must be "connect", "tls", "http" or "script" (got "tcp")'),
    ("{type: 'module:check'}", 'type: must be "connect", "tls", "http" or "script"'),
    ("{interval: 0}", "interval: must be longer than 0"),
    ("{fall: 0}", "fall: "),
    ("{typ: http}", "typ: unknown key"),
)


def compiled(group: str, more: str = ""):
    return Settings.parse(f"targetGroups: {{db: {group}}}\n{more}" + PG, "yaml").compile().groups[0]


class ProblemTests(SynchronousTestCase):
    def test_each_problem_is_named_once(self) -> None:
        for text, problem in PROBLEMS:
            found = problems(text).splitlines()
            self.assertEqual([re.sub(r"^x.yaml:[0-9]+: ", "", line) for line in found], [problem], text)

    def test_body_of_an_answer_to_head_is_refused(self) -> None:
        """Such an answer has none (RFC 9110, section 9.3.2): every target would be down."""
        whole = "{type: http, method: HEAD, expectBody: ok}"
        found = problems(f"targetGroups: {{db: {{targets: [{ONE}], healthCheck: {whole}}}}}\n" + PG)
        self.assertIn('targetGroups.db.healthCheck.expectBody: is in no answer to HEAD (got "ok")', found)
        own = "{host: h, port: 1, healthCheck: {expectBody: ok}}"
        shared = "{type: http, method: HEAD}"
        found = problems(f"targetGroups: {{db: {{targets: [{own}], healthCheck: {shared}}}}}\n" + PG)
        self.assertIn("targetGroups.db.targets[0].healthCheck.expectBody: is in no answer to HEAD", found)

    def test_what_is_for_targets_is_refused_where_there_are_none(self) -> None:
        """The keys had no effect: a redirect connects to no target."""
        for keys, key, why in (
            ("sendProxyProtocol: 2", "sendProxyProtocol", "has no meaning"),
            ("queue: {size: 1}", "queue", "has no meaning"),
            (
                "tls: {mode: terminate-and-reencrypt, certificate: selfSigned}",
                "tls.mode",
                'must be "terminate"',
            ),
        ):
            for type_ in (
                "type: redirect, to: 'https://{host}{path}'",
                "type: block",
                "type: respond, response: {body: a}",
            ):
                found = problems(f"routes: [{{name: a, match: {{ports: 1}}, action: {{{type_}, {keys}}}}}]")
                name = type_.split(",")[0].removeprefix("type: ")
                self.assertEqual(found.count("x.yaml"), 1, found)
                self.assertIn(f'routes[0].action.{key}: {why} for type "{name}"', found)
        block = "routes: [{name: a, match: {ports: 1}, action: {type: block, sendProxyProtocol: false}}]"
        self.assertEqual(problems(block), "")

    def test_each_problem_of_a_check_is_named(self) -> None:
        for check, problem in CHECK_PROBLEMS:
            found = problems(f"targetGroups: {{db: {{targets: [{ONE}], healthCheck: {check}}}}}\n" + PG)
            self.assertIn(f"targetGroups.db.healthCheck.{problem}", found)

    def test_keys_of_a_check_belong_to_the_type_that_it_inherits(self) -> None:
        """Tables of a check are merged key by key, so the type may be that of an outer one."""
        script = "{type: script, steps: [{expect: OK}]}"
        for outer, inner, own in (
            ("{type: http}", "{path: /up}", ""),
            (script, "{steps: [{expect: PONG}]}", ""),
            (script, "{type: script, interval: 9s}", ""),
            ("{type: http}", "{rise: 1}", ", healthCheck: {path: /up}"),
            ("{rise: 1}", script, ", healthCheck: {type: script}"),
        ):
            target = f"{{host: 10.0.0.1, port: 1{own}}}"
            for text in (
                f"targetGroups: {{db: {{targets: [{target}], healthCheck: {inner}}}}}\n{PG}",
                f"routes: [{{name: pg, match: {{ports: 1}}, action: {{targets: [{target}], healthCheck: {inner}}}}}]\n",
            ):
                self.assertEqual(problems(f"defaults: {{healthCheck: {outer}}}\n{text}"), "")

    def test_an_inherited_type_refuses_the_keys_of_others(self) -> None:
        group = f"targetGroups: {{db: {{targets: [{ONE}], healthCheck: {{path: /up}}}}}}\n{PG}"
        found = problems(f"defaults: {{healthCheck: {{type: tls}}}}\n{group}")
        self.assertIn('targetGroups.db.healthCheck.path: has no meaning for type "tls"', found)

    def test_the_port_of_a_check_may_be_that_of_the_group(self) -> None:
        for own in ("true", "{interval: 9s}"):
            target = f"{{host: h, port: preserve, healthCheck: {own}}}"
            for holder, outer in (("{port: 8008}", ""), ("true", "defaults: {healthCheck: {port: 8008}}\n")):
                group = f"{{targets: [{target}], healthCheck: {holder}}}"
                self.assertEqual(compiled(group, outer).targets[0].check.port, 8008)

    def test_keys_of_a_check_belong_to_the_type_that_is_in_effect(self) -> None:
        """The type may be that of ``defaults``, or of the group of a target."""
        http = "defaults: {healthCheck: {type: http}}\n"
        plan = compiled(f"{{targets: [{ONE}], healthCheck: {{path: /up}}}}", http)
        self.assertEqual(
            (plan.targets[0].check.kind, plan.targets[0].check.http.path), (CheckKind.HTTP, "/up")
        )
        steps = "defaults: {healthCheck: {type: script, steps: {send: PING}}}\n"
        self.assertEqual(
            len(compiled(f"{{targets: [{ONE}], healthCheck: {{rise: 1}}}}", steps).targets[0].check.steps), 1
        )
        target = "{host: h, port: 1, healthCheck: {path: /up}}"
        for check in ("true", "{type: tls}"):
            found = problems(f"targetGroups: {{db: {{targets: [{target}], healthCheck: {check}}}}}\n" + PG)
            name = "connect" if check == "true" else "tls"
            self.assertIn(
                f'targetGroups.db.targets[0].healthCheck.path: has no meaning for type "{name}"', found
            )

    def test_a_target_without_a_fixed_port_needs_one_for_its_check(self) -> None:
        for holder in (
            "{name: a, host: h, port: preserve, healthCheck: true}",
            "{name: a, host: h, port: preserve}",
        ):
            found = problems(f"targetGroups: {{db: {{targets: [{holder}], healthCheck: true}}}}\n" + PG)
            self.assertIn("targetGroups.db.targets[0].healthCheck: needs a port of its own", found)

    def test_a_host_that_is_chosen_for_each_connection_is_not_checked(self) -> None:
        targets = [Target(host=lambda _: "h", port=1), Target(host="h", port=1)]
        action = Action(targets=targets, health_check=True)
        (problem,) = Settings(routes=[Route(name="a", match=Match(ports=1), action=action)]).check()
        self.assertIn("healthCheck: is not possible: the host is chosen for each connection", problem)
        self.assertIn("targets[0]", problem)


class CompileTests(SynchronousTestCase):
    def test_a_group_without_keys_has_the_defaults(self) -> None:
        plan = compiled(f"{{targets: [{ONE}]}}")
        self.assertEqual(
            (plan.name, plan.balancing, plan.passive), ("db", BalancingPlan(), PassiveHealthPlan())
        )
        self.assertEqual((plan.queue, plan.reset_when_down, plan.targets[0].check), (None, False, None))
        self.assertEqual((plan.targets[0].name, plan.targets[0].backup), ("one", False))

    def test_every_key_is_compiled(self) -> None:
        plan = compiled(
            "{targets: [{host: a, port: 1, backup: true, maxConnections: 7, weight: 3}], "
            "loadBalancing: {algorithm: source, slowStart: 30s}, passiveHealth: {failures: 3, ejectFor: 1m}, "
            "whenDown: reset, queue: {size: 5, timeout: 1s}}"
        )
        self.assertEqual(plan.balancing, BalancingPlan(Algorithm.SOURCE, 30.0))
        self.assertEqual(plan.passive, PassiveHealthPlan(3, 10.0, 60.0))
        self.assertEqual((plan.queue, plan.reset_when_down), (QueuePlan(5, 1.0), True))
        (target,) = plan.targets
        self.assertEqual((target.backup, target.max_connections, target.weight), (True, 7, 3))

    def test_routes_of_a_group_share_one_plan(self) -> None:
        text = (
            f"targetGroups: {{db: {{targets: [{ONE}]}}}}\n"
            "routes: [{name: a, match: {ports: 1}, action: {group: db}}, "
            "{name: b, match: {ports: 2}, action: {group: db}}, "
            f"{{name: c, match: {{ports: 3}}, action: {{targets: [{ONE}]}}}}]"
        )
        plan = Settings.parse(text, "yaml").compile()
        self.assertIs(plan.routes[0].group, plan.routes[1].group)
        self.assertEqual([group.name for group in plan.groups], ["db", "c"])

    def test_keys_of_a_targets_check_replace_those_of_its_group_and_the_defaults(self) -> None:
        plan = compiled(
            "{targets: [{host: a, port: 1, healthCheck: {interval: 9s}}, {host: b, port: 1, healthCheck: false}], "
            "healthCheck: {type: http, path: /up, expectStatus: [204, 300-301]}}",
            "defaults: {healthCheck: {rise: 5}}\n",
        )
        http = HttpCheckPlan(path="/up", statuses=(range(204, 205), range(300, 302)))
        self.assertEqual(
            [target.check for target in plan.targets],
            [CheckPlan(CheckKind.HTTP, interval=9.0, rise=5, http=http), None],
        )

    def test_the_fast_interval_is_not_longer_than_the_interval_unless_written(self) -> None:
        for check, interval in (
            ("{interval: 200ms}", 0.2),
            ("{interval: 5s}", 1.0),
            ("{interval: 200ms, fastInterval: 400ms}", 0.4),
        ):
            plan = compiled(f"{{targets: [{ONE}], healthCheck: {check}}}")
            self.assertEqual(plan.targets[0].check.fast_interval, interval)

    def test_a_callable_is_a_check_in_every_place(self) -> None:
        def lag(_: CheckedTarget) -> str:
            return "no lag"

        check = HealthCheck(type=lag, interval="9s")
        one = Target(host="h", port=1)
        places = (
            {"targetGroups": {"db": {"targets": [one], "healthCheck": check}}, "action": Action(group="db")},
            {"action": Action(targets=[one], health_check=check)},
            {"action": Action(targets=[Target(host="h", port=1, health_check=check)])},
            {"action": Action(targets=[one]), "defaults": {"health_check": check}},
        )
        for place in places:
            keys = dict(place)
            route = Route(name="a", match=Match(ports=1), action=keys.pop("action"))
            plan = Settings(routes=[route], **keys).compile().groups[0].targets[0].check
            self.assertEqual((plan.kind, plan.program, plan.interval), (CheckKind.PROGRAM, lag, 9.0))

    def test_a_class_is_no_check(self) -> None:
        with self.assertRaises(ConfigurationError) as raised:
            HealthCheck(type=CheckedTarget)
        self.assertIn('type: must be "connect"', str(raised.exception))

    def test_steps_are_bytes(self) -> None:
        plan = compiled(
            f"{{targets: [{ONE}], healthCheck: {{type: script, steps: "
            '[{send: "é"}, {sendBase64: AAE=}, {expect: x}, {expectBase64: /w==}, {expectRegex: "^a"}]}}'
        )
        self.assertEqual(
            plan.targets[0].check.steps,
            (
                StepPlan(send="é".encode()),
                StepPlan(send=b"\0\1"),
                StepPlan(expect=b"x"),
                StepPlan(expect=b"\xff"),
                StepPlan(pattern=re.compile(b"^a")),
            ),
        )

    def test_a_check_has_the_tls_of_its_target_unless_it_says_otherwise(self) -> None:
        def tls(check: str, target: str = "tls: {verify: false, serverName: a.example}") -> object:
            group = f"{{targets: [{{host: a, port: 1, {target}}}], healthCheck: {check}}}"
            found = compiled(group).targets[0].check.tls
            return found and (found.verify, found.server_name)

        self.assertEqual(tls("{type: http}"), (False, "a.example"))
        self.assertEqual(tls("{type: http, tls: false}"), None)
        self.assertEqual(tls("{type: http, tls: {serverName: b.example}}"), (True, "b.example"))
        self.assertEqual(tls("{type: connect}"), None)
        self.assertEqual(tls("{type: tls}", "weight: 1"), (False, None))

    def test_proxy_header_of_a_group_may_be_that_of_the_defaults(self) -> None:
        """As its health and its balancing; without it, targets silently stopped to see who the client is."""
        plan = compiled(
            "{targets: [{host: a, port: 1}, {host: b, port: 1, sendProxyProtocol: 1}]}",
            "sendProxyProtocol: false\ndefaults: {sendProxyProtocol: 2}\n",
        )
        self.assertEqual([target.send_header for target in plan.targets], [SendHeader(2), SendHeader(1)])

    def test_proxy_header_of_a_group_is_the_targets_or_that_of_the_top_level(self) -> None:
        plan = compiled(
            "{targets: [{host: a, port: 1}, {host: b, port: 1, sendProxyProtocol: false}]}",
            "sendProxyProtocol: 2\n",
        )
        self.assertEqual([target.send_header for target in plan.targets], [SendHeader(2), None])


class PassiveHealthTests(SynchronousTestCase):
    """Each key is that of the route where it has one, else that of the defaults."""

    def passive(self, own, default):
        action = {"targets": [{"host": "10.0.0.1", "port": 9}]} | (
            {} if own is None else {"passiveHealth": own}
        )
        route = {"name": "a", "match": {"ports": 80}, "action": action}
        defaults = {} if default is None else {"passiveHealth": default}
        return Settings.of({"routes": [route], "defaults": defaults}).compile().routes[0].group.passive

    def test_levels(self):
        usual = PassiveHealthPlan()
        for own, default, expected in (
            ({"ejectFor": "1s"}, {"failures": 5}, PassiveHealthPlan(5, usual.window, 1.0)),
            ({"failures": 2}, {"failures": 5}, PassiveHealthPlan(2, usual.window, usual.eject_for)),
            (True, {"failures": 5}, PassiveHealthPlan(5, usual.window, usual.eject_for)),
            ({"failures": 2}, False, PassiveHealthPlan(2, usual.window, usual.eject_for)),
            (False, {"failures": 5}, None),
            (None, False, None),
            (None, None, usual),
        ):
            self.assertEqual(self.passive(own, default), expected, (own, default))


class BalancerInPythonTests(SynchronousTestCase):
    def settings(self, algorithm):
        action = {"targets": [{"host": "10.0.0.1", "port": 1}], "loadBalancing": {"algorithm": algorithm}}
        return Settings.of({"routes": [{"name": "web", "match": {"ports": 80}, "action": action}]})

    def test_callable_is_kept(self) -> None:
        def make(group: str) -> str:
            return group

        (group,) = self.settings(make).compile().groups
        self.assertIs(group.balancing.algorithm, make)

    def test_anything_else_is_refused_with_the_known_names(self) -> None:
        for wrong in ("leastConnection", "package.module:make", 5, object()):
            refused = self.assertRaises(ConfigurationError, self.settings, wrong)
            self.assertIn(
                'algorithm: must be "roundRobin", "leastConnections", "random", "source" or "first"',
                str(refused),
            )
        self.assertIn(
            'did you mean "leastConnections"?',
            str(self.assertRaises(ConfigurationError, self.settings, "leastConnection")),
        )
