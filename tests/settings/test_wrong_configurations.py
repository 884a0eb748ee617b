"""Wrong and odd configurations as people write them: each is refused in the line of its mistake, with what to write instead.

What is valid here and only looks like a mistake has its tests with the warnings; problems with certificates are in ``test_tls``.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings

_HEAD = "routes:\n  - name: web\n"
_MATCH = _HEAD + "    match: {ports: 18080}\n"
_TARGETS = "    action: {targets: [{host: 127.0.0.1, port: 9000}]}\n"
_ROUTE = _MATCH + _TARGETS


class Wrong(NamedTuple):
    """A configuration, the line of its mistake, the key if it has one, and the message."""

    text: str
    line: int
    key: str
    message: str


CASES = {
    "acme": Wrong(_ROUTE + "acme: {mail: a@b.c}\n", 5, "acme.mail", 'unknown key; did you mean "email"?'),
    "acme-auto-without-acme": Wrong(_HEAD + "    match: {ports: 443, domains: www.example.com}\n    action: {targets: [{host: a, port: 1}], tls: {mode: terminate, certificate: auto}}\n", 4, "routes[0].action.tls.certificate", 'is "auto", which needs acme at the top level, like "acme: {email: admin@example.com}"'),
    "acme-directory-typo": Wrong(_ROUTE + "acme: {directory: letsencript}\n", 5, "acme.directory", 'must be "letsencrypt", "letsencrypt-staging", "zerossl" or an https URL; did you mean "letsencrypt"? (got "letsencript")'),
    "addr2": Wrong(_HEAD + "    match: {ports: 18080, address: eth0}\n" + _TARGETS, 3, "routes[0].match.address", 'must be an IP address, or "" for every address; write an address of the interface (got "eth0")'),
    "admin-port-clash": Wrong(_ROUTE + "admin: {port: 18080}\n", 5, "admin.port", 'is a port of route "web" (got 18080)'),
    "bracket": Wrong(_HEAD + "    match: {ports: 80\n    action: {targets: [{host: a, port: 1}]}\n", 3, "", "not valid YAML: { is not closed"),
    "cert-missing": Wrong(_MATCH + "    action: {targets: [{host: a, port: 1}], tls: {mode: terminate, certificate: {certFile: nope.pem, keyFile: nope.key}}}\n", 4, "routes[0].action.tls.certificate.certFile", "nope.pem: cannot be read: No such file or directory"),
    "domain-dotprefix": Wrong(_HEAD + '    match: {ports: 80, domains: [".example.com"]}\n' + _TARGETS, 3, "routes[0].match.domains[0]", 'must be a name like "example.com", "*.example.com" or "*"; write "*.example.com" for the names below it, and "example.com" for itself (got ".example.com")'),
    "domain-port": Wrong(_HEAD + '    match: {ports: 80, domains: ["example.com:443"]}\n' + _TARGETS, 3, "routes[0].match.domains[0]", 'must be a name like "example.com", "*.example.com" or "*"; write "example.com" and put 443 in ports (got "example.com:443")'),
    "domain-regex": Wrong(_HEAD + '    match: {ports: 80, domains: ["^(www\\\\.)?example\\\\.com$"]}\n' + _TARGETS, 3, "routes[0].match.domains[0]", 'must be a name like "example.com", "*.example.com" or "*"; regular expressions are not supported; list the names, a leading * stands for one label or more (got "^(www\\\\.)?example\\\\.com$")'),
    "domain-unquoted-star": Wrong(_HEAD + "    match:\n      ports: 80\n      domains:\n        - *.example.com\n    action: {targets: [{host: a, port: 1}]}\n", 6, "", "not valid YAML: quote a value that begins with *"),
    "dup-name": Wrong(_ROUTE + "  - name: web\n    match: {ports: 18081}\n    action: {targets: [{host: b, port: 2}]}\n", 5, "routes[1].name", 'is the name of an earlier route (got "web")'),
    "dur-bad": Wrong(_ROUTE + "inactivityTimeout: 5 minutes\n", 5, "inactivityTimeout", 'must be a number of milliseconds, or a string with a unit: "100ms", "30s", "5m", "4h", "7d"; write "5m" (got "5 minutes")'),
    "dur-huge": Wrong(_ROUTE + "connectionTimeout: 99999999999999999999d\n", 5, "connectionTimeout", 'must be 0 to 100 years ("36500d") (got "99999999999999999999d")'),
    "dur-unitless": Wrong(_ROUTE + 'inactivityTimeout: "30"\n', 5, "inactivityTimeout", 'must be a number of milliseconds, or a string with a unit: "100ms", "30s", "5m", "4h", "7d"; write "30s" for seconds, or 30 without quotes for milliseconds (got "30")'),
    "handler-bad": Wrong(_MATCH + '    action: {type: handler, handler: "no.such:thing"}\n', 4, "routes[0].action.handler", 'cannot be imported from {cwd} or sys.path: ModuleNotFoundError: No module named \'no\' (got "no.such:thing")'),
    "header-list": Wrong(_HEAD + "    match: {ports: 80, headers: [X-A]}\n" + _TARGETS, 3, "routes[0].match.headers", "must be a mapping; write {NAME: VALUE} (got a list)"),
    "header-blank": Wrong(_HEAD + '    match: {ports: 80, headers: {X-A: "b "}}\n' + _TARGETS, 3, "routes[0].match.headers.X-A", 'must be a string without line breaks, and without blanks at its ends (got "b ")'),
    "header-break": Wrong(_HEAD + '    match: {ports: 80, headers: {X-A: "b\\nc"}}\n' + _TARGETS, 3, "routes[0].match.headers.X-A", 'must be a string without line breaks, and without blanks at its ends (got "b\\nc")'),
    "flag-word": Wrong(_ROUTE + "zombieDetection: off\n", 5, "zombieDetection", 'must be true, false or a mapping; write false (got "off")'),
    "flag-word-or-choice": Wrong(_ROUTE + "acceptProxyProtocol: yes\n", 5, "acceptProxyProtocol", 'must be true, false or "require"; write true (got "yes")'),
    "flag-word-or-version": Wrong(_ROUTE + 'sendProxyProtocol: "2"\n', 5, "sendProxyProtocol", 'must be true, false, 1, 2 or a mapping with version and tlvs; write 2 without quotes (got "2")'),
    "host-url": Wrong(_MATCH + '    action: {targets: [{host: "http://127.0.0.1", port: 9000}]}\n', 4, "routes[0].action.targets[0].host", 'must be a host name or an IP address, without a port; write "127.0.0.1" (got "http://127.0.0.1")'),
    "http-feature-passthrough": Wrong(_HEAD + "    match: {ports: 443, protocol: tls, path: /x}\n" + _TARGETS, 3, "routes[0].match.path", 'can never match where protocol is "tls"'),
    "indent": Wrong(_HEAD + "  match: {ports: 80}\n    action: {targets: [{host: a, port: 1}]}\n", 3, "", "not valid YAML: must be indented like the keys of the list item above, whose list begins in line 2"),
    "lb": Wrong(_ROUTE + "    loadBalancing: {algorithm: leastConnections}\n", 5, "routes[0].loadBalancing", 'unknown key; it belongs in "action"'),
    "match-port-sing": Wrong(_HEAD + "    match: {port: 80}\n" + _TARGETS, 3, "routes[0].match.port", 'unknown key; did you mean "ports"?'),
    "minver-11": Wrong(_ROUTE + 'tls: {minVersion: "1.1"}\n', 5, "tls.minVersion", 'must be "1.2" or "1.3" (got "1.1")'),
    "no-space": Wrong("routes:\n  - name:web\n    match: {ports: 80}\n    action: {targets: [{host: a, port: 1}]}\n", 2, "", 'not valid YAML: no blank after the colon: write "name: web"'),
    "null": Wrong(_HEAD + "    match:\n    action: {targets: [{host: a, port: 1}]}\n", 3, "routes[0].match", "has no value, and is required; what belongs to it must be indented below it"),
    "num-neg": Wrong(_ROUTE + "maxConnections: -1\n", 5, "maxConnections", "must be at least 0 (got -1)"),
    "num-under": Wrong(_ROUTE + "maxConnections: 10_000\n", 5, "maxConnections", 'must be a whole number; write 10000 (got "10_000")'),
    "path-noslash": Wrong(_HEAD + "    match: {ports: 80, path: api/*}\n" + _TARGETS, 3, "routes[0].match.path", 'must be a path that begins with / or *, without blanks and without a query; write "/api/*" (got "api/*")'),
    "path-regex": Wrong(_HEAD + '    match: {ports: 80, path: "^/api/.*$"}\n' + _TARGETS, 3, "routes[0].match.path", 'looks like a regular expression; a path is exact, with * for anything and :name for one segment; write "/api/*" (got "^/api/.*$")'),
    "port-70000": Wrong(_MATCH + "    action: {targets: [{host: a, port: 70000}]}\n", 4, "routes[0].action.targets[0].port", 'must be 1..65535 or "preserve" (got 70000)'),
    "priority-str": Wrong(_ROUTE + "    priority: high\n", 5, "routes[0].priority", 'must be a whole number (got "high")'),
    "proxyIps": Wrong(_ROUTE + "proxyIps: [10.0.0.0/8]\n", 5, "proxyIps", 'unknown key; did you mean "proxyIPs"?'),
    "routes-empty": Wrong("routes: []\n", 1, "routes", "has no route that is enabled"),
    "security-top": Wrong(_ROUTE + "security: {ipBlockList: [1.2.3.4]}\n", 5, "security", 'unknown key; it belongs in a route, or in "defaults" for all of them'),
    "sendproxy-3": Wrong(_ROUTE + "sendProxyProtocol: 3\n", 5, "sendProxyProtocol", "must be true, false, 1, 2 or a mapping with version and tlvs (got 3)"),
    "shadowed": Wrong(_HEAD + '    match: {ports: 80, domains: ["*"]}\n    action: {targets: [{host: 127.0.0.1, port: 9000}]}\n    priority: 10\n  - name: two\n    match: {ports: 80, domains: [a.example.com]}\n    action: {targets: [{host: b, port: 2}]}\n', 7, "routes[1].match", 'is never reached: every connection that it matches goes to "web"'),
    "snake_case": Wrong(_ROUTE + "max_connections_per_ip: 5\n", 5, "max_connections_per_ip", 'unknown key; did you mean "maxConnectionsPerIP"?'),
    "target-string": Wrong(_MATCH + '    action: {targets: ["127.0.0.1:9000"]}\n', 4, "routes[0].action.targets[0]", 'must be a mapping; write {host: 127.0.0.1, port: 9000} (got "127.0.0.1:9000")'),
    "tls-true": Wrong(_MATCH + "    action: {targets: [{host: a, port: 1}], tls: true}\n", 4, "routes[0].action.tls", "must be a mapping; write {mode: terminate}, or {mode: passthrough}; tls: true is for a target (got true)"),
    "tlv": Wrong(_ROUTE + "sendProxyProtocol: {version: 1, tlvs: [authority]}\n", 5, "sendProxyProtocol.tlvs", "has no meaning for version 1"),
    "typo-routes": Wrong("rotes:\n  - name: web\n    match: {ports: 18080}\n" + _TARGETS, 1, "rotes", 'unknown key; did you mean "routes"?'),
    "unixsock": Wrong(_MATCH + '    action: {targets: [{host: "unix:/run/x.sock", port: 1}]}\n', 4, "routes[0].action.targets[0].host", 'must be a host name or an IP address, without a port; for a unix socket write {unix: /run/x.sock}, without host and port (got "unix:/run/x.sock")'),
    "workers": Wrong(_ROUTE + "workers: 0\n", 5, "workers", 'must be a number of processes from 1 to 256, or "auto" (got 0)'),
}  # fmt: skip

#: What people write where a list is meant, or a number in quotes: it is clear, so it is valid.
ACCEPTED = {
    "cidr-string": "routes:\n  - name: web\n    match: {ports: 18080}\n    action: {targets: [{host: 127.0.0.1, port: 9000}]}\nproxyIPs: 10.0.0.0/8\n",
    "domain-star-com-list": 'routes:\n  - name: web\n    match: {ports: 80, domains: ["*.com"]}\n    action: {targets: [{host: 127.0.0.1, port: 9000}]}\n',
    "domains-string": "routes:\n  - name: web\n    match: {ports: 80, domains: a.example.com}\n    action: {targets: [{host: 127.0.0.1, port: 9000}]}\n",
    "port-list-str": 'routes:\n  - name: web\n    match: {ports: ["80","443"]}\n    action: {targets: [{host: 127.0.0.1, port: 9000}]}\n',
    "port-string": 'routes:\n  - name: web\n    match: {ports: "80"}\n    action: {targets: [{host: 127.0.0.1, port: 9000}]}\n',
    "targets-mapping": "routes:\n  - name: web\n    match: {ports: 18080}\n    action: {targets: {host: 127.0.0.1, port: 9000}}\n",
}  # fmt: skip


class WrongConfigurationTests(SynchronousTestCase):
    def test_each_is_refused_once_with_line_key_and_hint(self) -> None:
        for name, wrong in CASES.items():
            error = self.assertRaises(ConfigurationError, Settings.parse, wrong.text, "yaml", "f.yaml")
            key = f"{wrong.key}: " if wrong.key else ""
            expected = f"f.yaml:{wrong.line}: {key}{wrong.message}".replace("{cwd}", str(Path.cwd()))
            self.assertEqual(error.problems, [expected], name)

    def test_what_is_clear_is_accepted(self) -> None:
        for text in ACCEPTED.values():
            self.assertEqual(Settings.parse(text, "yaml").check(), [])
