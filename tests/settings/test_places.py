"""Hints for unknown keys: a typing error, or a key that belongs in another table."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.settings.checks.places import hint
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
    (ROUTE, "host", 'it belongs in "action.targets[]"'),
    (ROUTE, "protocol", 'it belongs in "match" or in "action"'),
    (ROUTE, "port", 'did you mean "ports" in "match"?'),
    (ACTION, "weight", 'it belongs in "targets[]"'),
    (ACTION, "clientAuth", 'it belongs in "tls"'),
    ((), "security", 'it belongs in "routes[]" or in "defaults"'),
    ((), "targets", 'it belongs in "routes[].action"'),
    ((), "ports", 'it belongs in "routes[].match"'),
    # one level too far down, or beside
    (MATCH, "priority", 'it belongs in "routes[0]"'),
    (MATCH, "action", 'it belongs in "routes[0]"'),
    (MATCH, "targets", 'it belongs in "routes[0].action"'),
    (ACTION, "inactivityTimeout", 'it belongs in "routes[0]"'),
    (ACTION, "match", 'it belongs in "routes[0]"'),
    (ACTION, "domains", 'it belongs in "routes[0].match"'),
    (TARGET, "tlvs", 'it belongs in "sendProxyProtocol"'),
    (TARGET, "certificate", 'it belongs in "routes[0].action.tls"'),
    (TLS, "targets", 'it belongs in "routes[0].action"'),
    (ROUTE, "proxyIPs", "it belongs at the top level"),
    (ROUTE, "proxy_ips", 'did you mean "proxyIPs" at the top level?'),
    (("admin",), "accessLog", "it belongs at the top level"),
    # nothing like it
    ((), "zzz", ""),
]  # fmt: skip


class HintTests(SynchronousTestCase):
    def test_each_unknown_key_gets_the_nearest_place(self) -> None:
        for table, key, expected in HINTS:
            self.assertEqual(hint((*table, key), Configuration), expected, (table, key))
