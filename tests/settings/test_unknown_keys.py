"""Unknown keys: the message says which key was meant, or where it belongs."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings

_TEXT = """\
routes:
  - name: web
    match:
      ports: 80{match}
    action:
      targets:
      - host: a
        port: 1{target}{action}{route}
{top}"""
_INDENTS = {"match": 6, "target": 8, "action": 6, "route": 4, "top": 0}

#: The table in which a word is written, the word, and the message.
CASES = [
    ("match", "port", 'unknown key; did you mean "ports"?'),
    ("match", "listen", 'unknown key; did you mean "ports"?'),
    ("match", "bind", 'unknown key; did you mean "ports"?'),
    ("match", "server_name", 'unknown key; did you mean "domains"?'),
    ("match", "host", 'unknown key; did you mean "domains"?'),
    ("match", "location", 'unknown key; did you mean "path"?'),
    ("match", "client_ip", 'unknown key; did you mean "clientIp"?'),
    ("match", "regex", "unknown key"),
    ("match", "port:80", 'unknown key; did you mean "ports"?'),
    ("target", "address", 'unknown key; did you mean "host"?'),
    ("target", "url", 'unknown key; did you mean "host"?'),
    ("target", "server", 'unknown key; did you mean "host"?'),
    ("target", "ssl", 'unknown key; did you mean "tls"?'),
    ("target", "wieght", 'unknown key; did you mean "weight"?'),
    ("action", "upstream", 'unknown key; did you mean "targets"?'),
    ("action", "backend", 'unknown key; did you mean "targets"?'),
    ("action", "servers", 'unknown key; did you mean "targets"?'),
    ("action", "server", 'unknown key; did you mean "targets"?'),
    ("action", "proxy_pass", 'unknown key; did you mean "targets"?'),
    ("action", "to-url", "unknown key"),
    ("action", "ssl", 'unknown key; did you mean "tls"?'),
    ("action", "certificate", 'unknown key; it belongs in "tls"'),
    ("action", "redirect", 'unknown key; "type: redirect" in "action" needs the URL in "to"'),
    ("action", "ports", 'unknown key; it belongs in "match" of the route'),
    ("route", "headers", 'unknown key; it belongs in "action"; as a condition it belongs in "match"'),
    ("route", "rewrite", 'unknown key; it belongs in "action"'),
    ("action", "forwardHeaders", 'unknown key; did you mean "forwardedHeaders"?'),
    ("route", "upstream", 'unknown key; write "targets" in "action"'),
    ("route", "listen", 'unknown key; write "ports" in "match"'),
    ("route", "bind", 'unknown key; write "ports" in "match"'),
    ("route", "server", 'unknown key; write "targets" in "action"'),
    ("route", "ssl", 'unknown key; write "tls" in "action"'),
    ("route", "timeout", 'unknown key; "inactivityTimeout" is for silence, "connectionTimeout" for dialing a target'),
    ("route", "connect_timeout", 'unknown key; did you mean "connectionTimeout"?'),
    ("route", "proxyProtocol", 'unknown key; "acceptProxyProtocol" is for the headers of peers in proxyIPs, "sendProxyProtocol" for those to targets'),
    ("route", "send-proxy", 'unknown key; write "sendProxyProtocol" in "action"'),
    ("route", "healthCheck", 'unknown key; it belongs in "action"'),
    ("route", "targets", 'unknown key; it belongs in "action"'),
    ("route", "domains", 'unknown key; it belongs in "match"'),
    ("route", "host", 'unknown key; write "domains" in "match"'),
    ("route", "allow", 'unknown key; write "ipAllowList" in "security"'),
    ("route", "whitelist", 'unknown key; write "ipAllowList" in "security"'),
    ("route", "port", 'unknown key; write "ports" in "match"'),
    ("route", "targetGroups", "unknown key; it belongs at the top level"),
    ("route", "x", "unknown key"),
    ("top", "upstream", 'unknown key; write "targets" in "action" of a route'),
    ("top", "server", 'unknown key; write "targets" in "action" of a route'),
    ("top", "listen", 'unknown key; write "ports" in "match" of a route'),
    ("top", "location", 'unknown key; write "path" in "match" of a route'),
    ("top", "proxy_pass", 'unknown key; write "targets" in "action" of a route'),
    ("top", "proxyProtocol", 'unknown key; "acceptProxyProtocol" is for the headers of peers in proxyIPs, "sendProxyProtocol" for those to targets'),
    ("top", "send_proxy_protocol", 'unknown key; did you mean "sendProxyProtocol"?'),
    ("top", "max-connections-per-ip", 'unknown key; did you mean "maxConnectionsPerIP"?'),
    ("top", "ssl", 'unknown key; did you mean "tls"?'),
    ("top", "cert", 'unknown key; did you mean "tls"?'),
    ("top", "timeout", 'unknown key; "inactivityTimeout" is for silence, "connectionTimeout" for dialing a target'),
    ("top", "security", 'unknown key; it belongs in a route, or in "defaults" for all of them'),
    ("top", "targets", 'unknown key; it belongs in "action" of a route'),
    ("top", "ports", 'unknown key; it belongs in "match" of a route'),
    ("top", "healthCheck", 'unknown key; it belongs in "defaults"'),
    ("top", "user", "unknown key; it is the option -u of twistd"),
    ("top", "logfile", "unknown key; it is the option --logfile of twistd"),
    ("top", "log", 'unknown key; did you mean "accessLog"?'),
    ("top", "whitelist", 'unknown key; write "ipAllowList" in "security" of a route'),
    ("top", "trusted_ips", 'unknown key; did you mean "proxyIPs"?'),
    ("top", "worker_processes", 'unknown key; did you mean "workers"?'),
    ("top", "rotues", 'unknown key; did you mean "routes"?'),
    ("top", "zzz", "unknown key"),
]  # fmt: skip


class UnknownKeyTests(SynchronousTestCase):
    def test_each_word_is_answered_with_the_key_or_its_place(self) -> None:
        for table, word, message in CASES:
            written = f"{' ' * _INDENTS[table]}{word}: x"
            parts = dict.fromkeys(_INDENTS, "") | {table: written if table == "top" else f"\n{written}"}
            error = self.assertRaises(ConfigurationError, Settings.parse, _TEXT.format(**parts), "yaml", "f")
            self.assertEqual(
                [problem.split(": ", 2)[2] for problem in error.problems], [message], (table, word)
            )

    def test_words_in_tables_of_http_are_answered_with_their_keys(self) -> None:
        """The same words mean keys of other tables elsewhere: ``origin`` is a target there."""
        route = "routes: [{name: web, match: {ports: 80}, action: {targets: [{host: a, port: 1}], http: {%s: {%s: 9s}}}}]"
        for table, word, key in (
            ("pool", "idle", "idleTimeout"),
            ("pool", "timeout", "idleTimeout"),
            ("pool", "inactivityTimeout", "idleTimeout"),
            ("pool", "keepalive_timeout", "idleTimeout"),
            ("websocket", "idle", "idleTimeout"),
            ("websocket", "timeout", "idleTimeout"),
            ("websocket", "inactivityTimeout", "idleTimeout"),
            ("websocket", "origin", "origins"),
        ):
            error = self.assertRaises(ConfigurationError, Settings.parse, route % (table, word), "yaml", "f")
            place = f"f:1: routes[0].action.http.{table}.{word}"
            self.assertEqual(error.problems, [f'{place}: unknown key; did you mean "{key}"?'])

    def test_required_key_in_another_spelling_is_reported_once(self) -> None:
        text = "routes:\n  - nane: web\n    match: {port: 80}\n    action: {type: block}\n"
        error = self.assertRaises(ConfigurationError, Settings.parse, text, "yaml", "f")
        self.assertEqual(
            error.problems,
            [
                'f:2: routes[0].nane: unknown key; did you mean "name"?',
                'f:3: routes[0].match.port: unknown key; did you mean "ports"?',
            ],
        )
