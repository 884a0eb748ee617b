"""Environment variables in values, and keys that are ignored."""

from __future__ import annotations

import os
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Route, Settings
from tests.settings.formats import FORMATS, route

ENVIRONMENT = {
    "PORT": "8080", "HOST": "10.0.0.1", "ON": "true", "FACTOR": "2.5", "EMPTY": "", "NUMBER": "4711", "DOLLAR": "a${HOST}",
    "SECRET": "hunter2", "LIST": "[1, 2]",
}  # fmt: skip


class VariableTests(SynchronousTestCase):
    def setUp(self) -> None:
        patched = patch.dict(os.environ, ENVIRONMENT)
        patched.start()
        self.addCleanup(patched.stop)
        os.environ.pop("UNSET", None)

    def refused(self, text: str, format_: str = "yaml") -> list[str]:
        return self.assertRaises(ConfigurationError, Settings.parse, text, format_, "f").problems

    def test_values_have_the_type_that_their_key_wants_in_every_format(self) -> None:
        value = {
            "maxConnections": "${NUMBER}",
            "keepAlive": "${ON}",
            "keepAliveInactivityMultiplier": "${FACTOR}",
            "inactivityTimeout": "${UNSET:-5m}",
            "proxyIPs": "${HOST}",
            "admin": {"port": "${UNSET:-8405}", "token": "x${SECRET}y"},
            "routes": [
                route(
                    "${NUMBER}",
                    "${PORT}",
                    match={"headers": {"X-A": "${NUMBER}", "X-B": "$$/$"}, "path": "/${NUMBER}"},
                ),
                route("second", 81, action={"targets": [{"host": "${HOST}", "port": "${PORT}"}]}),
            ],
        }
        for spelling, write in FORMATS.items():
            made = Settings.parse(write(value), spelling)
            self.assertEqual((made.max_connections, made.keep_alive), (4711, True))
            self.assertEqual(made.keep_alive_inactivity_multiplier, 2.5)
            self.assertEqual((made.inactivity_timeout, made.proxy_ips), ("5m", ["10.0.0.1"]))
            self.assertEqual((made.admin.port, made.admin.token), (8405, "xhunter2y"))
            first, second = made.routes
            self.assertEqual((first.name, first.match.headers), ("4711", {"X-A": "4711", "X-B": "$/$"}))
            self.assertEqual((first.match.path, first.match.ports), ("/4711", "8080"))
            self.assertEqual(
                (second.action.targets[0].host, second.action.targets[0].port), ("10.0.0.1", 8080)
            )
            made.compile()

    def test_empty_variable_has_its_default_and_is_empty_without(self) -> None:
        text = "routes: [{name: 'a${EMPTY:-b}${EMPTY}', match: {ports: 80}, action: {type: block}}]"
        self.assertEqual(Settings.parse(text, "yaml").routes[0].name, "ab")

    def test_value_of_a_variable_is_only_a_string(self) -> None:
        """It has no variables of its own, and becomes no list and no key."""
        text = 'routes: [{name: "${DOLLAR}", match: {ports: "${LIST}"}, action: {type: block}}]'
        self.assertEqual(
            self.refused(text),
            [
                'f:1: routes[0].match.ports: must be a port 1..65535, or a range like "8000-8010" (got "[1, 2]")'
            ],
        )

    def test_every_unset_variable_is_reported_with_line_and_key(self) -> None:
        text = "routes:\n- name: ${UNSET}\n  match: {ports: 80}\n  action:\n    targets:\n    - host: x\n      port: ${UNSET}\n"
        why = "${UNSET} is not set in the environment; ${UNSET:-VALUE} has a default"
        self.assertEqual(
            self.refused(text),
            [f"f:2: routes[0].name: {why}", f"f:7: routes[0].action.targets[0].port: {why}"],
        )

    def test_another_form_is_refused(self) -> None:
        for form in ("${A-b}", "${A:?b}", "${1}", "${}", "${A", "${A:-${B}}"):
            self.assertEqual(
                self.refused(f"admin: {{token: '{form}'}}\nroutes: []\n"),
                ['f:1: admin.token: must be ${NAME} or ${NAME:-default}; write "$$" for a dollar sign'],
            )

    def test_keys_are_left_alone(self) -> None:
        self.assertIn("f:1: ${HOST}: unknown key", self.refused('"${HOST}": 1\nroutes: []\n'))

    def test_secret_from_a_variable_is_never_repeated(self) -> None:
        """Whoever writes the passphrase in place of the name of its variable must not find it in the log."""
        target = "{host: a, port: 1}"
        for key in ("passphraseEnv", "passphraseFile", "key", "cert"):
            shown = f'{{certFile: a.pem, {key}: "${{SECRET}}"}}'
            tls = f"{{mode: terminate, certificate: {shown}}}"
            text = f"routes: [{{name: a, match: {{ports: 80}}, action: {{targets: {target}, tls: {tls}}}}}]"
            self.assertNotIn("hunter2", str(self.refused(text)))
        self.assertNotIn("hunter2", str(self.refused('admin: {token: "${SECRET}", port: 0}\nroutes: []')))

    def test_alias_of_a_variable_is_replaced_once(self) -> None:
        text = (
            "x-target: &target {host: '$$${HOST}', port: '${PORT}'}\n"
            "routes: [{name: a, match: {ports: 80}, action: {targets: [*target]}},"
            " {name: b, match: {ports: 81}, action: {targets: [*target]}}]"
        )
        self.assertIn("$10.0.0.1", self.refused(text)[0])
        made = Settings.parse(text.replace("$$", ""), "yaml")
        self.assertEqual([one.action.targets[0].port for one in made.routes], [8080, 8080])

    def test_routes_given_by_the_api_are_taken_as_they_are(self) -> None:
        """The environment of the proxy is not for everybody who may set routes."""
        made = Settings(routes=[Route.model_validate(route("web"))]).with_routes([route("${SECRET}")])
        self.assertEqual(made.routes[0].name, "${SECRET}")


class ExtensionTests(SynchronousTestCase):
    TEXT = """\
x-limits: &limits
  maxConnections: 5
x-empty:
x-unset: ${UNSET_AND_IGNORED}
routes:
  - name: web
    x-owner: {team: edge}
    x-nothing:
    match: {ports: 80}
    action: {type: block}
    security:
      <<: *limits
      ipBlockList: 10.0.0.1
"""

    def test_extensions_are_ignored_and_serve_as_anchors(self) -> None:
        made = Settings.parse(self.TEXT, "yaml")
        self.assertEqual(made.routes[0].security.max_connections, 5)
        value = {"x-a": 1, "routes": [route("a", **{"x-b": {"c": 1}})]}
        for spelling, write in FORMATS.items():
            self.assertEqual(Settings.parse(write(value), spelling).routes[0].name, "a")
        self.assertEqual(made.with_routes([route("b", **{"x-c": 1})]).routes[0].name, "b")

    def test_extension_elsewhere_is_refused_with_the_place(self) -> None:
        text = self.TEXT.replace("{ports: 80}", "{ports: 80, x-y: 1}")
        error = self.assertRaises(ConfigurationError, Settings.parse, text, "yaml", "f")
        self.assertEqual(
            error.problems,
            [
                "f:9: routes[0].match.x-y: unknown key; keys that begin with x- may stand at the top level and in a route"
            ],
        )
