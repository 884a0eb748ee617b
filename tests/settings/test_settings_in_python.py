"""Settings that are made in Python."""

from __future__ import annotations

from pydantic import ValidationError
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Action, Match, Route, Settings, Target
from tests.settings.formats import as_json, route


class PythonTests(SynchronousTestCase):
    def test_python_names_and_file_names_are_equivalent(self) -> None:
        target = Target(host="h", port=1)
        made = Settings(
            routes=[Route(name="a", match=Match(ports=80), action=Action(targets=[target]))],
            proxy_ips=["10.0.0.1"],
            max_connections_per_ip=5,
        )
        by_file_name = {"proxyIPs": ["10.0.0.1"], "maxConnectionsPerIP": 5, "routes": made.routes}
        self.assertEqual(Settings.model_validate(by_file_name), made)
        self.assertEqual(made.check(), [])

    def test_type_of_a_tlv_may_be_a_number(self) -> None:
        """As errorPages: ``0xE0`` is the same in a file and in Python."""
        value = route(match={"ports": 80, "proxyTlv": {0xEA: "x"}})
        header = {"version": 2, "customTlvs": {0xE0: "TEXT"}}
        made = Settings.of({"proxyIPs": ["10.0.0.1"], "sendProxyProtocol": header, "routes": [value]})
        [plan] = made.compile().routes
        self.assertEqual([tlv.type for tlv in plan.match.proxy_tlv], [0xEA])
        self.assertEqual(
            [(tlv.type, tlv.value) for tlv in plan.targets[0].send_header.custom], [(0xE0, b"TEXT")]
        )
        for wrong in (0xDF, 0xF0, -1, True):
            header["customTlvs"] = {wrong: "TEXT"}
            self.assertRaises(
                ConfigurationError, Settings.of, {"sendProxyProtocol": header, "routes": [route()]}
            )

    def test_host_port_and_handler_may_be_callables(self) -> None:
        forward = Action(targets=[Target(host=lambda facts: "h", port=lambda facts: 1)])
        handle = Action(type="handler", handler=print)
        routes = [
            Route(name="a", match=Match(ports=80), action=forward),
            Route(name="b", match=Match(ports=81), action=handle),
        ]
        plan = Settings(routes=routes).compile()
        [target] = plan.routes[0].targets
        assert callable(target.hosts)
        assert callable(target.port)
        self.assertEqual((target.hosts(None), target.port(None)), ("h", 1))
        self.assertIs(plan.routes[1].handler, print)

    def test_malformed_table_raises_when_it_is_made(self) -> None:
        self.assertRaises(ConfigurationError, Target, host="h", port=0)
        self.assertRaises(ConfigurationError, Match, ports=80, domain=["x"])

    def test_conflict_raises_in_compile(self) -> None:
        error = self.assertRaises(ConfigurationError, Settings(routes=[]).compile)
        self.assertEqual(error.problems, ["routes: has no route that is enabled"])

    def test_table_is_frozen(self) -> None:
        target = Target(host="h", port=1)
        with self.assertRaises(ValidationError):
            target.port = 2  # type: ignore[misc]

    def test_with_routes_validates_the_new_routes(self) -> None:
        settings = Settings(
            routes=[Route(name="a", match=Match(ports=80), action=Action(type="block"))], keep_alive=False
        )
        changed = settings.with_routes([settings.routes[0], route("b", 81)])
        self.assertEqual(([r.name for r in changed.routes], changed.keep_alive), (["a", "b"], False))
        self.assertEqual([r.name for r in settings.routes], ["a"])
        error = self.assertRaises(ConfigurationError, settings.with_routes, [route("b", 0), {"name": "c"}])
        self.assertEqual(
            error.problems,
            [
                'routes: routes[0].match.ports: must be a port 1..65535, or a range like "8000-8010" (got 0)',
                "routes: routes[1].match: is required",
                "routes: routes[1].action: is required",
            ],
        )
        error = self.assertRaises(ConfigurationError, settings.with_routes, [route("b"), route("b", 81)])
        self.assertEqual(
            error.problems, ['routes: routes[1].name: is the name of an earlier route (got "b")']
        )

    def test_settings_that_look_like_mistakes_are_warnings(self) -> None:
        value = {
            "acceptProxyProtocol": "require",
            "maxConnections": 10,
            "routes": [route(security={"maxConnections": 20})],
        }
        self.assertEqual(
            Settings.parse(as_json(value), "json", "f").warnings(),
            [
                'f:2: acceptProxyProtocol: is "require", but proxyIPs is empty: no client is asked for a header',
                "f:19: routes[0].security.maxConnections: is above maxConnections of the whole proxy, 10 (got 20)",
            ],
        )
