"""Hints for unknown keys: a typing error, or a key that belongs in another table."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings
from smartproxy.settings.checks.unknown_keys import unknown_key
from smartproxy.settings.tables.root import Configuration

ROUTE, MATCH, ACTION = ("routes", 0), ("routes", 0, "match"), ("routes", 0, "action")
TARGET, TLS = (*ACTION, "targets", 1), (*ACTION, "tls")

HINTS = [
    # typing errors in the table itself
    ((), "maxConections", 'did you mean "maxConnections"?'),
    ((), "proxy_ips", 'did you mean "proxyIPs"?'),
    (ACTION, "tipe", 'did you mean "type"?'),
    (MATCH, "port", 'did you mean "ports"?'),
    (TARGET, "wieght", 'did you mean "weight"?'),
    (TLS, "certificates", 'did you mean "certificate"?'),
    # one level too far up
    (ROUTE, "ports", 'it belongs in "match"'),
    (ROUTE, "domains", 'it belongs in "match"'),
    (ROUTE, "clientIp", 'it belongs in "match"'),
    (ROUTE, "path", 'it belongs in "match"'),
    (ROUTE, "targets", 'it belongs in "action"'),
    (ROUTE, "tls", 'it belongs in "action"'),
    (ROUTE, "sendProxyProtocol", 'it belongs in "action"'),
    (ROUTE, "ipBlockList", 'it belongs in "security"'),
    (ROUTE, "maxConnections", 'it belongs in "security"'),
    (ROUTE, "host", 'write "domains" in "match"'),
    (ROUTE, "protocol", 'it belongs in "match"'),
    (ROUTE, "port", 'write "ports" in "match"'),
    (ACTION, "weight", 'it belongs in "targets"'),
    (ACTION, "clientAuth", 'it belongs in "tls"'),
    (ROUTE, "root", 'it belongs in "action"'),
    (MATCH, "spa", 'it belongs in "action" of the route'),
    ((), "precompressed", 'it belongs in "action" of a route'),
    (ACTION, "Root", 'did you mean "root"?'),
    ((), "security", 'it belongs in a route, or in "defaults" for all of them'),
    ((), "stuckDetection", "it belongs in a route"),
    ((), "priority", "it belongs in a route"),
    (("defaults",), "fallback", "it belongs in a route"),
    (("admin",), "inactivityTimeout", "it belongs at the top level"),
    *[
        ((*table, name), "enabled", f'leave it out: a mapping turns "{name}" on, and "{name}: false" off')
        for table, name in (((), "admin"), ((), "metrics"), ((), "accessLog"), (ACTION, "healthCheck"))
    ],
    (("tls",), "enabled", "it belongs in a route"),
    ((), "targets", 'it belongs in "action" of a route'),
    ((), "ports", 'it belongs in "match" of a route'),
    # one level too far down, or beside
    (MATCH, "priority", "it belongs in the route itself"),
    (MATCH, "action", "it belongs in the route itself"),
    (MATCH, "targets", 'it belongs in "action" of the route'),
    (ACTION, "inactivityTimeout", "it belongs in the route itself"),
    (ACTION, "match", "it belongs in the route itself"),
    (ACTION, "domains", 'it belongs in "match" of the route'),
    (TARGET, "tlvs", 'it belongs in "sendProxyProtocol"'),
    (TARGET, "certificate", 'it belongs in "action.tls" of the route'),
    (TLS, "targets", 'it belongs in "action" of the route'),
    (ROUTE, "proxyIPs", "it belongs at the top level"),
    (ROUTE, "proxy_ips", "it belongs at the top level"),
    (("admin",), "accessLog", "it belongs at the top level"),
    # automatic certificates
    ((), "letsEncrypt", 'did you mean "acme"?'),
    (("acme",), "caServer", 'did you mean "directory"?'),
    (TLS, "certResolver", 'write "acme" at the top level'),
    # groups of targets
    (("targetGroups", "db", "targets", 0), "wieght", 'did you mean "weight"?'),
    (("targetGroups", "db"), "algorithm", 'did you mean "loadBalancing"?'),
    # words that mean a key of the table itself, and not one of the same name elsewhere
    (ACTION, "port", 'it belongs in "targets"'),
    (("targetGroups", "db"), "port", 'it belongs in "targets"'),
    (("admin",), "host", 'did you mean "address"?'),
    (("admin",), "listen", 'did you mean "address"?'),
    (("admin",), "socket", 'did you mean "unix"?'),
    (("accessLog",), "file", 'did you mean "path"?'),
    ((*ACTION, "healthCheck"), "status", 'did you mean "expectStatus"?'),
    (("targetGroups", "db", "healthCheck"), "host", 'did you mean "hostHeader"?'),
    ((*ACTION, "loadBalancing"), "method", 'did you mean "algorithm"?'),
    (("defaults", "loadBalancing"), "policy", 'did you mean "algorithm"?'),
    ((*ACTION, "response"), "code", 'did you mean "status"?'),
    # nothing like it
    ((), "zzz", ""),
]  # fmt: skip


class HintTests(SynchronousTestCase):
    def test_each_unknown_key_gets_the_nearest_place(self) -> None:
        for table, key, expected in HINTS:
            message = unknown_key((*table, key), Configuration).message
            self.assertEqual(message, f"unknown key; {expected}" if expected else "unknown key", (table, key))


class ValueHintTests(SynchronousTestCase):
    """What to write instead of a value of ``tls`` that is no mapping."""

    def problem(self, text: str) -> str:
        raised = self.assertRaises(ConfigurationError, Settings.parse, text, "yaml", "x.yaml")
        [problem] = raised.problems
        return problem.partition(": ")[2]

    def test_words_of_yaml_1_1_for_tls_of_a_target_are_named(self) -> None:
        """YAML 1.2 reads ``yes`` as a string; the hint was that for a route, which a target does not take."""
        for value, meant in (("yes", "true"), ("off", "false"), ("'true'", "true")):
            route = (
                f"{{name: a, match: {{ports: 1}}, action: {{targets: [{{host: h, port: 1, tls: {value}}}]}}}}"
            )
            found = self.problem(f"routes: [{route}]\n")
            self.assertIn(f"targets[0].tls: must be true, false or a mapping; write {meant} (got", found)

    def test_tls_of_the_proxy_has_no_mode(self) -> None:
        routes = "routes: [{name: a, match: {ports: 1}, action: {type: block}}]\n"
        self.assertEqual(
            self.problem(f"{routes}tls: true"),
            'tls: must be a mapping; TLS is terminated by "tls: {mode: terminate}" in the action of a route (got true)',
        )
