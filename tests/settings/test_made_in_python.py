"""What a program is told that makes a table wrongly: the names of the Python API, and what to write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy import Action, ConfigurationError, Match, Route, Settings, SmartProxy, Target, UpstreamTls
from smartproxy.settings.tables.base import Table

BLOCK = Action(type="block")
ROUTE = Route(name="web", match=Match(ports=80), action=BLOCK)


class CallTests(SynchronousTestCase):
    def told(self, make: Any, *arguments: Any, **keys: Any) -> list[str]:
        error = self.assertRaises(ConfigurationError, make, *arguments, **keys)
        return list(error.problems)

    def test_unknown_argument_gets_the_nearest_name_of_the_python_api(self) -> None:
        for table, keys, written, meant in (
            (Settings, {"routes": []}, "max_connection", "max_connections"),
            (Settings, {"routes": []}, "max_connection_per_ip", "max_connections_per_ip"),
            (Settings, {"routes": []}, "maxConnection", "max_connections"),
            (Settings, {"routes": []}, "proxy_ip", "proxy_ips"),
            (Route, {"name": "a", "match": Match(ports=1), "action": BLOCK}, "keepalive", "keep_alive"),
            (Match, {"ports": 1}, "domain", "domains"),
            (Target, {"host": "h", "port": 1}, "send_proxy_protocl", "send_proxy_protocol"),
            (UpstreamTls, {}, "servername", "server_name"),
        ):
            with self.subTest(written):
                (line,) = self.told(table, **keys, **{written: 1})
                self.assertEqual(
                    line, f'{table.__name__}: {written}: unknown argument; did you mean "{meant}"?'
                )

    def test_key_of_a_mapping_within_is_told_with_its_place(self) -> None:
        route = {"name": "a", "match": {"prots": 1}, "action": {"type": "block"}}
        self.assertEqual(
            self.told(Settings, routes=[route]),
            [
                "Settings: routes[0].match.ports: is required",
                'Settings: routes[0].match.prots: unknown key; did you mean "ports"?',
            ],
        )

    def test_wrong_value_is_told_with_the_python_name(self) -> None:
        self.assertEqual(
            self.told(Settings, routes=[], max_connections_per_ip="x", keep_alive_treatment="y"),
            [
                'Settings: keep_alive_treatment: must be "standard", "extended" or "immortal" (got "y")',
                'Settings: max_connections_per_ip: must be a whole number (got "x")',
            ],
        )

    def test_one_table_in_place_of_a_list_is_told_to_be_put_in_brackets(self) -> None:
        target = Target(host="h", port=1)
        for told, key, name in (
            (self.told(Settings, routes=ROUTE), "Settings: routes", "Route"),
            (self.told(Action, targets=target), "Action: targets", "Target"),
            (
                self.told(Route, name="a", match=Match(ports=1), action={"targets": target}),
                "Route: action.targets",
                "Target",
            ),
            (
                self.told(
                    Settings,
                    routes=[{"name": "a", "match": {"ports": 1}, "action": {"targets": target}}],
                ),
                "Settings: routes[0].action.targets",
                "Target",
            ),
        ):
            self.assertEqual(
                told, [f"{key}: must be a list: put the {name} in brackets, [...] (got a {name})"]
            )

    def test_arguments_without_names_are_refused_with_what_to_write(self) -> None:
        self.assertEqual(
            self.told(Settings, "a.yaml"),
            ["Settings: takes arguments by name only; to read a file: Settings.load('a.yaml')"],
        )
        self.assertEqual(
            self.told(Settings, Path("a.yaml")),
            ["Settings: takes arguments by name only; to read a file: Settings.load('a.yaml')"],
        )
        self.assertEqual(
            self.told(Match, {"ports": 80}),
            ["Match: takes arguments by name only; for a mapping: Match(**mapping)"],
        )
        self.assertEqual(self.told(Route, "web"), ["Route: takes arguments by name only"])

    def test_class_or_other_value_in_place_of_a_target_is_refused(self) -> None:
        for wrong in (Target, 5, "host"):
            (line,) = self.told(Action, targets=[wrong])
            self.assertTrue(line.startswith("Action: targets[0]: must be a mapping (got "), line)

    def test_no_message_names_a_key_of_a_file(self) -> None:
        """Every key whose name differs, unknown by one letter, is suggested in snake_case."""
        for table in [table for table in Table.__subclasses__() if table.model_config["extra"] == "forbid"]:
            for name in table.model_fields:
                error = self.assertRaises(ConfigurationError, table, **{f"{name}_x": 1})
                lines = [line for line in error.problems if f"{name}_x:" in line]
                self.assertNotRegex("".join(lines).partition("did you mean")[2], "[a-z][A-Z]")


class ProxyTests(SynchronousTestCase):
    """``SmartProxy`` and ``update_routes`` with what a program may take for their argument."""

    def proxy(self, settings: Any) -> SmartProxy:
        return SmartProxy(settings, MemoryReactorClock())

    def test_path_text_and_mapping_are_taken_as_settings(self) -> None:
        configuration: dict[str, Any] = {
            "acceleration": "off",
            "maxConnections": 7,
            "routes": [{"name": "web", "match": {"ports": 80}, "action": {"type": "block"}}],
        }
        file = Path(self.mktemp()).with_suffix(".json")
        file.write_text(json.dumps(configuration))
        in_python = {"acceleration": "off", "max_connections": 7, "routes": [ROUTE]}
        for given in (file, str(file), configuration, in_python, Settings(**in_python)):
            plan = self.proxy(given).plan
            self.assertEqual(([route.name for route in plan.routes], plan.max_connections), (["web"], 7))

    def test_file_given_by_path_is_reloaded(self) -> None:
        file = Path(self.mktemp()).with_suffix(".yaml")
        text = "acceleration: off\nroutes: [{name: NAME, match: {ports: 80}, action: {type: block}}]\n"
        file.write_text(text.replace("NAME", "old"))
        proxy = self.proxy(str(file))
        file.write_text(text.replace("NAME", "new"))
        self.assertEqual([route.name for route in proxy._configuration.settings.again().routes], ["new"])

    def test_invalid_settings_are_refused_with_every_problem(self) -> None:
        needed = "settings: must be Settings, the path of a configuration file, or a mapping with its keys"
        for given, problem in (
            (5, f"{needed} (got 5)"),
            (None, f"{needed} (got null)"),
            ([ROUTE], f'{needed} (got a list); for routes: {{"routes": [...]}}'),
            (ROUTE, f'{needed} (got a Route); for routes: {{"routes": [...]}}'),
            ("a: 1\nb: 2", f'{needed} (got "a: 1\\nb: 2"); to read a text: Settings.parse(text, "yaml")'),
            ("none.yaml", "none.yaml: cannot be read: No such file or directory"),
            ({"routes": []}, "settings: routes: has no route that is enabled"),
            ({"routs": []}, 'settings: routs: unknown key; did you mean "routes"?'),
        ):
            error = self.assertRaises(ConfigurationError, self.proxy, given)
            self.assertIn(problem, error.problems)

    def test_update_with_anything_but_a_list_of_routes_is_refused(self) -> None:
        proxy = self.proxy(Settings(routes=[ROUTE], acceleration="off"))
        brackets = "routes: must be a list: put the {0} in brackets, [...] (got a {1})"
        for given, problem in (
            (ROUTE, brackets.format("Route", "Route")),
            ({"name": "web"}, brackets.format("dict", "mapping")),
            ("web", 'routes: must be a list of Route objects or mappings (got "web")'),
            (None, "routes: must be a list of Route objects or mappings (got null)"),
            (["web"], 'routes: routes[0]: must be a mapping (got "web")'),
            ([{"nmae": "web"}], 'routes: routes[0].nmae: unknown key; did you mean "name"?'),
            ([[ROUTE]], "routes: routes[0]: must be a mapping (got a list)"),
        ):
            with self.subTest(problem):
                error = self.failureResultOf(proxy.update_routes(given), ConfigurationError).value
                self.assertIn(problem, error.problems)
        self.assertEqual([route.name for route in proxy.plan.routes], ["web"])

    def test_update_takes_any_iterable_of_routes_and_mappings(self) -> None:
        proxy = self.proxy(Settings(routes=[ROUTE], acceleration="off"))
        other = {"name": "other", "match": {"ports": 81}, "action": {"type": "block"}}
        self.successResultOf(proxy.update_routes(iter([ROUTE, other])))
        self.assertEqual([route.name for route in proxy.plan.routes], ["web", "other"])
