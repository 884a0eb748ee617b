"""``host: "{domain}"``: where it is refused, and what is warned about."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings

NEEDS = "is {domain}, the name that the client asks for, which needs domains in match"
OWN = "routes: [{{name: web, match: {{ports: 443{}}}, action: {{targets: [{{host: {}, port: 443{}}}]}}{}}}]\n"
SHARED = (
    'targetGroups: {{any: {{targets: [{{host: "{{domain}}", port: 443}}]}}}}\n'
    "routes: [{{name: web, match: {{ports: 443{}}}, action: {{group: any}}}}]\n"
)
NAMES = ', domains: ["*.example.com"]'


def own(match=NAMES, host='"{domain}"', target="", route=""):
    return OWN.format(match, host, target, route)


class ClientNameSettingsTests(SynchronousTestCase):
    def assert_refused(self, text, problem):
        self.assertIn(problem, str(self.assertRaises(ConfigurationError, Settings.parse, text, "yaml")))

    def test_route_without_domains_is_refused(self):
        self.assert_refused(own(""), f"routes[0].action.targets[0].host: {NEEDS}")
        self.assert_refused(own("", '[a, "{domain}"]'), f"routes[0].action.targets[0].host: {NEEDS}")
        self.assert_refused(SHARED.format(""), f"routes[0].action.group: has a target whose host {NEEDS}")

    def test_other_fields_are_refused(self):
        self.assert_refused(own(host='"{host}"'), "targets[0].host: must be a host name or an IP address")
        self.assert_refused(own(host='"a.{domain}"'), "targets[0].host: must be a host name or an IP address")

    def test_check_is_refused(self):
        problem = "healthCheck: is not possible: the host is chosen for each connection; set it to false for this target"
        self.assert_refused(own(target=", healthCheck: true"), f"targets[0].{problem}")
        self.assert_refused(own() + "defaults: {healthCheck: {port: 80}}\n", f"targets[0].{problem}")
        Settings.parse(own(target=", healthCheck: false") + "defaults: {healthCheck: true}\n", "yaml")

    def test_check_of_a_callable_host_is_refused(self):
        target = {"host": lambda _: "a", "port": 80, "healthCheck": True}
        given = {"routes": [{"name": "web", "match": {"ports": 80}, "action": {"targets": [target]}}]}
        self.assertIn("is not possible", str(self.assertRaises(ConfigurationError, Settings.of, given)))

    def test_names_of_the_route_have_no_warning(self):
        for text in (own(), SHARED.format(NAMES)):
            self.assertEqual(Settings.parse(text, "yaml").warnings(), [])

    def test_any_name_and_no_name_are_warned_about(self):
        for match, route, words in (
            (
                ', domains: ["*"]',
                "",
                'match.domains: has "*", and a target has the host {domain}: clients reach every host',
            ),
            (
                NAMES,
                ", fallback: true",
                "fallback: takes clients without a name, for which a target with the host {domain}",
            ),
        ):
            (line,) = Settings.parse(own(match, route=route), "yaml").warnings()
            self.assertIn(words, line)
