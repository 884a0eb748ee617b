"""Loading: every kind of problem has its exact message and line in all three formats, and all are reported at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings
from tests.settings.formats import FORMATS, as_json, folder, route

#: A configuration, the key path of its problem, a pattern of the line that is reported, and the message.
CASES: list[tuple[dict[str, Any], str, str, str]] = [
    # shapes and limits
    (
        {"routes": [route(), route("b", 81, action={"targets": [{"host": "h", "port": 70000}]})]},
        "routes[1].action.targets[0].port", r"port\W+70000", 'must be 1..65535 or "preserve" (got 70000)',
    ),
    ({"routes": [route(ports=[80, "9-5"])]}, "routes[0].match.ports[1]", "9-5|ports",
     'must be a range that does not end before it begins; write "5-9" (got "9-5")'),
    ({"routes": [route(ports=0)]}, "routes[0].match.ports", r"ports\W+0",
     'must be a port 1..65535, or a range like "8000-8010" (got 0)'),
    ({"routes": [route(ports=[])]}, "routes[0].match.ports", "ports", "must not be empty (got a list)"),
    ({"routes": [route(match={"domains": ["a.*.b"]})]}, "routes[0].match.domains[0]", r"a\.\*|domains",
     'must be a name like "example.com", "*.example.com" or "*"; a * stands for the first labels only (got "a.*.b")'),
    ({"routes": [route(match={"domains": ".example.com"})]}, "routes[0].match.domains", "domains",
     ('must be a name like "example.com", "*.example.com" or "*"; write "*.example.com" for the names below it, and '
      '"example.com" for itself (got ".example.com")')),
    ({"routes": [route(match={"path": "^/api/.*$"})]}, "routes[0].match.path", "path",
     'looks like a regular expression; a path is exact, with * for anything and :name for one segment; write "/api/*" (got "^/api/.*$")'),
    ({"routes": [route(match={"path": "api"})]}, "routes[0].match.path", "path",
     'must be a path that begins with / or *, without blanks and without a query; write "/api" (got "api")'),
    ({"routes": [route(match={"path": "/a/:"})]}, "routes[0].match.path", "path",
     'must have a name after each : that begins a segment (got "/a/:")'),
    ({"routes": [route(match={"path": "/:a/x/:a"})]}, "routes[0].match.path", "path",
     'must not have two segments with the same name (got "/:a/x/:a")'),
    ({"routes": [route(match={"query": {"debug": 1}})]}, "routes[0].match.query.debug", "debug", "must be a string; put it in quotes (got 1)"),
    ({"routes": [route(match={"headers": {"X-Debug": True}})]}, "routes[0].match.headers.X-Debug", "X-Debug", "must be a string without line breaks, and without blanks at its ends; put it in quotes (got true)"),
    ({"routes": [route(action={"headers": {"response": {"set": {"X-Age": 600}}}})]}, "routes[0].action.headers.response.set.X-Age", "X-Age", "must be the value of a header: printable ASCII; put it in quotes (got 600)"),
    ({"routes": [route(name=5)]}, "routes[0].name", "name", "must be a printable string of 1 to 200 characters; put it in quotes (got 5)"),
    ({"routes": [route(match={"domains": [80]})]}, "routes[0].match.domains[0]", "80|domains", 'must be a name like "example.com", "*.example.com" or "*" (got 80)'),
    ({"routes": [route(match={"methods": ["get"]})]}, "routes[0].match.methods[0]", '- get|methods|"get"',
     'must be a method in capitals, like GET; write "GET" (got "get")'),
    ({"routes": [route(match={"clientIp": ["10.0.0.300"]})]}, "routes[0].match.clientIp[0]", "300",
     'must be an IP address, a CIDR, a range a-b or file:PATH (got "10.0.0.300")'),
    ({"routes": [route(match={"address": "eth0"})]}, "routes[0].match.address", "address",
     'must be an IP address, or "" for every address; write an address of the interface (got "eth0")'),
    ({"routes": [route(action={"targets": [{"host": "h:80", "port": 1}]})]}, "routes[0].action.targets[0].host",
     "h:80", 'must be a host name or an IP address, without a port; write "h" and port: 80 (got "h:80")'),
    ({"routes": [route(action={"targets": [{"host": ["h", "10.0.0.300"], "port": 1}]})]},
     "routes[0].action.targets[0].host[1]", r"300|host", 'must be a host name or an IP address, without a port (got "10.0.0.300")'),
    ({"routes": [route(action={"targets": [{"host": 5, "port": 1}]})]}, "routes[0].action.targets[0].host", "host",
     "must be a host name or an IP address, or a list of them (got 5)"),
    ({"routes": [route(action={"type": "forwrd"})]}, "routes[0].action.type", "type",
     'must be "forward", "redirect", "respond", "block", "static" or "handler"; did you mean "forward"? (got "forwrd")'),
    ({"routes": [route(enabled="yes")]}, "routes[0].enabled", "enabled", 'must be true or false; write true (got "yes")'),
    ({"routes": [route(priority="high")]}, "routes[0].priority", "priority", 'must be a whole number (got "high")'),
    ({"routes": [route(name="")]}, "routes[0].name", "name",
     'must be a printable string of 1 to 200 characters (got "")'),
    ({"routes": "none"}, "routes", "routes", 'must be a list; begin each route with "- name: NAME" (got "none")'),
    ({"routes": [route()], "defaults": 3}, "defaults", "defaults", "must be a mapping (got 3)"),
    ({"routes": [route()], "inactivityTimeout": "4 hours"}, "inactivityTimeout", "inactivity",
     'must be a number of milliseconds, or a string with a unit: "100ms", "30s", "5m", "4h", "7d"; write "4h" (got "4 hours")'),
    ({"routes": [route()], "maxPendingDataSize": "10MB"}, "maxPendingDataSize", "maxPending",
     'must be a number of bytes, or a string with a unit: "64KiB", "10MiB", "1GiB"; write "10MiB" (got "10MB")'),
    ({"routes": [route()], "maxConnections": -1}, "maxConnections", "maxConn", "must be at least 0 (got -1)"),
    ({"routes": [route()], "keepAliveInactivityMultiplier": 0.5}, "keepAliveInactivityMultiplier", "Multiplier",
     "must be at least 1 (got 0.5)"),
    ({"routes": [route()], "keepAliveInterval": "500ms"}, "keepAliveInterval", "Interval",
     'must be 1s to 32767s, or 0 for the default of the system (got "500ms")'),
    ({"routes": [route()], "keepAliveInitialDelay": "10h"}, "keepAliveInitialDelay", "InitialDelay",
     'must be 1s to 32767s, or 0 for the default of the system (got "10h")'),
    ({"routes": [route()], "tcpUserTimeout": 30}, "tcpUserTimeout", "tcpUser",
     'must be 1s to "24d", or 0 for the default of the system (got 30)'),
    ({"routes": [route()], "tcpUserTimeout": "25d"}, "tcpUserTimeout", "tcpUser",
     'must be 1s to "24d", or 0 for the default of the system (got "25d")'),
    ({"routes": [route()], "keepAliveCount": 128}, "keepAliveCount", "Count", "must be at most 127 (got 128)"),
    ({"routes": [route()], "ipv6LimitPrefix": 129}, "ipv6LimitPrefix", "ipv6", "must be at most 128 (got 129)"),
    ({"routes": [route()], "ipv6LimitPrefix": 0}, "ipv6LimitPrefix", "ipv6", "must be at least 1 (got 0)"),
    ({"routes": [route()], "timeoutJitter": 1.5}, "timeoutJitter", "Jitter", "must be at most 1 (got 1.5)"),
    ({"routes": [route()], "acceptProxyProtocol": "maybe"}, "acceptProxyProtocol", "accept",
     'must be true, false or "require" (got "maybe")'),
    ({"routes": [route()], "sendProxyProtocol": 3}, "sendProxyProtocol", "send",
     "must be true, false, 1, 2 or a mapping with version and tlvs (got 3)"),
    ({"routes": [route()], "sendProxyProtocol": {"version": 2, "tlvs": ["sni"]}}, "sendProxyProtocol.tlvs[0]",
     '- sni|"sni"', 'must be "authority", "alpn", "ssl", "uniqueId", "crc32c" or "passThrough" (got "sni")'),
    ({"routes": [route()], "zombieDetection": "on"}, "zombieDetection", "zombie",
     'must be true, false or a mapping; write true (got "on")'),
    ({"routes": [route()], "zombieDetection": {"interval": 0}}, "zombieDetection.interval", "interval",
     "must be longer than 0 (got 0)"),
    # a sample in each turn of the event loop, and a number of samples that overflows
    ({"routes": [route()], "metrics": {"sampleInterval": 0.0001}}, "metrics.sampleInterval", "sampleInterval",
     "must be 1ms or longer (got 0.0001)"),
    ({"routes": [route()], "workers": 0}, "workers", "workers",
     'must be a number of processes from 1 to 256, or "auto" (got 0)'),
    ({"routes": [route()], "admin": {"port": 8404, "token": 5}}, "admin.token", "token",
     "must be a string that is not empty; put it in quotes"),
    # keys
    ({"routes": [route()], "maxConections": 5}, "maxConections", "maxConections",
     'unknown key; did you mean "maxConnections"?'),
    ({"routes": [route()], "proxy_ips": []}, "proxy_ips", "proxy_ips", 'unknown key; did you mean "proxyIPs"?'),
    ({"routes": [route(targets=[])]}, "routes[0].targets", "targets", 'unknown key; it belongs in "action"'),
    ({"routes": [route()], "zzz": 1}, "zzz", "zzz", "unknown key"),
    ({"routes": [route(action={"targets": [{"host": "h", "port": 1, "wieght": 1}]})]},
     "routes[0].action.targets[0].wieght", "wieght", 'unknown key; did you mean "weight"?'),
    ({"routes": [{"name": "a", "action": {"type": "block"}}]}, "routes[0].match", r"name|\{$|\[\[routes", "is required"),
    ({"metrics": True}, "routes", r"^\{$|metrics|# a comment", "is required"),
    # conflicts
    ({"routes": [route(), route("web", 81)]}, "routes[1].name", "name", 'is the name of an earlier route (got "web")'),
    ({"routes": [route(enabled=False)]}, "routes", "routes", "has no route that is enabled"),
    ({"routes": [route(), route("late", 80)]}, "routes[1].match", "match",
     'is never reached: every connection that it matches goes to "web"'),
    ({"routes": [route(action={"targets": []})]}, "routes[0].action.targets", "targets",
     'is required for type "forward"'),
    ({"routes": [route(action={"type": "handler", "targets": []})]}, "routes[0].action.handler", "action|type",
     'is required for type "handler"'),
    ({"routes": [route(action={"type": "block"})]}, "routes[0].action.targets", "targets",
     'has no meaning for type "block"'),
    ({"routes": [route(action={"targets": [{"host": "h", "port": 1, "weight": 0}]})]}, "routes[0].action.targets",
     "targets", "has no target with a weight above 0"),
    ({"routes": [route(action={"type": "handler", "targets": [], "handler": "no.such:thing"})]},
     "routes[0].action.handler", "handler\\W+no",
     "cannot be imported from {cwd} or sys.path: ModuleNotFoundError: No module named 'no' (got \"no.such:thing\")"),
    ({"routes": [route(action={"type": "handler", "targets": [], "handler": "os:sep"})]}, "routes[0].action.handler",
     "os:sep", 'is not a handler: neither a callable nor a protocol factory (got "os:sep")'),
    ({"routes": [route(match={"protocol": "tls", "path": "/x"})]}, "routes[0].match.path", "path",
     'can never match where protocol is "tls"'),
    ({"routes": [route(match={"protocol": "tcp", "alpn": "h2"})]}, "routes[0].match.alpn", "alpn",
     'can never match where protocol is "tcp"'),
    ({"routes": [route(match={"path": "/x", "alpn": ["h2"]})]}, "routes[0].match.path", "path",
     'can never match beside alpn: a request inside TLS is seen only where the route has "tls: {mode: terminate}"'),
    ({"routes": [route(fallback=True, match={"protocol": "tcp"})]}, "routes[0].fallback", "fallback",
     'has no meaning where protocol is "tcp": it is for TLS clients without SNI'),
    ({"routes": [route(fallback=True, match={"protocol": "http"})]}, "routes[0].fallback", "fallback",
     'has no meaning where protocol is "http": it is for TLS clients without SNI'),
    ({"routes": [route(match={"address": []})]}, "routes[0].match.address", "address", "must not be empty (got a list)"),
    ({"routes": [route(ports="8000-9000")], "admin": {"port": 8404}}, "admin.port", r"port\W+8404",
     'is a port of route "web" (got 8404)'),
    ({"routes": [route()], "admin": {"address": "0.0.0.0"}}, "admin.token", "admin",
     'is required where the address is not a loopback address (got "0.0.0.0")'),
    ({"routes": [route()], "admin": {"unix": "/run/x", "port": 1}}, "admin.port", r"port\W+1$",
     "has no meaning beside unix"),
    ({"routes": [route()], "sendProxyProtocol": {"version": 1, "tlvs": ["alpn"]}}, "sendProxyProtocol.tlvs", "tlvs",
     "has no meaning for version 1"),
    ({"routes": [route(action={"tls": {"minVersion": "1.3"}})]}, "routes[0].action.tls.minVersion", "minVersion",
     'has no meaning for mode "passthrough"'),
    ({"routes": [route(action={"targets": [{"host": "h", "port": 1, "bind": "eth0"}]})]},
     "routes[0].action.targets[0].bind", "bind", 'must be an IP address of this machine (got "eth0")'),
    ({"routes": [route(action={"targets": [{"host": "::1", "port": 1, "bind": "192.0.2.7"}]})]},
     "routes[0].action.targets[0].bind", "bind",
     'is an IPv4 address, from which ::1 cannot be reached (got "192.0.2.7")'),
    ({"routes": [route(action={"targets": [{"host": ["h", "192.0.2.1"], "port": 1, "bind": "::1"}]})]},
     "routes[0].action.targets[0].bind", "bind",
     'is an IPv6 address, from which 192.0.2.1 cannot be reached (got "::1")'),
    ({"routes": [route()], "sendProxyProtocol": {"version": 1, "customTlvs": {"0xE0": "a"}}},
     "sendProxyProtocol.customTlvs", "customTlvs", "has no meaning for version 1"),
    ({"routes": [route()], "sendProxyProtocol": {"customTlvs": {"0xF0": "a"}}}, "sendProxyProtocol.customTlvs.0xF0",
     "0xF0",
     'must be a type from 0xE0 to 0xEF, those for own use; types that have a name are sent with tlvs (got "0xF0")'),
    ({"routes": [route()], "sendProxyProtocol": {"customTlvs": {"0xE0": "a", "0xe0": "b"}}},
     "sendProxyProtocol.customTlvs.0xe0", "0xe0", "is the same type as 0xE0"),
    ({"routes": [route()], "sendProxyProtocol": {"customTlvs": {f"0xE{n}": "a" * 1000 for n in range(3)}}},
     "sendProxyProtocol.customTlvs", "customTlvs", "has 3009 bytes; receivers may refuse more than 2048"),
    ({"routes": [route()], "sendProxyProtocol": {"customTlvs": {"0xE0": "hex:0"}}}, "sendProxyProtocol.customTlvs.0xE0",
     "0xE0", 'must be a string of 1 to 1024 bytes, or "hex:" and hexadecimal digits (got "hex:0")'),
    ({"routes": [route(match={"proxyTlv": {"ssl": "a"}})], "proxyIPs": ["10.0.0.1"]}, "routes[0].match.proxyTlv.ssl",
     "ssl",
     'must be "authority", "alpn", "uniqueId" or a type like 0xE0 that is none of ssl, crc32c and padding (got "ssl")'),
    ({"routes": [route(match={"proxyTlv": {"authority": ["a.example", "b..c"]}})], "proxyIPs": ["10.0.0.1"]},
     "routes[0].match.proxyTlv.authority", "authority",
     'must be a name like "example.com", "*.example.com" or "*" (got "b..c")'),
    ({"routes": [route(silence="3s")]}, "routes[0].silence", "silence",
     'has no meaning without fallback: write "fallback: true" beside it (got "3s")'),
    ({"routes": [route(fallback=True, silence=0)]}, "routes[0].silence", "silence", "must be longer than 0 (got 0)"),
    ({"routes": [route(fallback=True, silence="3s", match={"alpn": ["h2"]})]}, "routes[0].match.alpn", "alpn",
     "can never match beside silence: such a client sends nothing"),
    ({"routes": [route(fallback=True, silence="3s", match={"protocol": "tls"})]}, "routes[0].match.protocol",
     "protocol", 'can never match beside silence: such a client sends nothing (got "tls")'),
    ({"routes": [route(fallback=True, silence="3s",
                       action={"tls": {"mode": "terminate", "certificate": "selfSigned"}}, match={"domains": ["a.b"]})]},
     "routes[0].silence", "silence",
     'has no meaning where TLS is terminated: a TLS client sends first (got "3s")'),
    # actions without a target
    ({"routes": [route(action={"type": "redirect", "targets": []})]}, "routes[0].action.to", "action|type",
     'is required for type "redirect"'),
    ({"routes": [route(action={"type": "redirect", "targets": [], "to": "{host}"})]}, "routes[0].action.to", "to",
     ('must be a URL like "https://{host}{path}{query}", "{path}", or a path that begins with one / and no variable '
      '(got "{host}")')),
    ({"routes": [route(action={"type": "redirect", "targets": [], "to": "https://a{path}", "status": 200})]},
     "routes[0].action.status", "status", "must be 301, 302, 303, 307 or 308 (got 200)"),
    ({"routes": [route(action={"status": 301})]}, "routes[0].action.status", "status",
     'has no meaning for type "forward"'),
    ({"routes": [route(action={"type": "respond", "targets": []})]}, "routes[0].action.response", "action|type",
     'is required for type "respond"'),
    ({"routes": [route(action={"type": "respond", "targets": [], "response": {}})]},
     "routes[0].action.response.body", "response|action", "is required where there is no status"),
    ({"routes": [route(action={"type": "respond", "targets": [], "response": {"body": "a", "base64": "YQ=="}})]},
     "routes[0].action.response.base64", "base64", "has no meaning beside body"),
    ({"routes": [route(action={"type": "respond", "targets": [], "response": {"base64": "%"}})]},
     "routes[0].action.response.base64", "base64", 'must be base64 (got "%")'),
    ({"routes": [route(action={"type": "respond", "targets": [], "response": {"body": "a", "contentType": "a/b"}})]},
     "routes[0].action.response.contentType", "contentType", "has no meaning without a status"),
    ({"routes": [route(action={"type": "respond", "targets": [],
                               "response": {"status": 200, "contentType": "a\r\nSet-Cookie: b"}})]},
     "routes[0].action.response.contentType", "contentType",
     'must be the value of a header: printable ASCII (got "a\\r\\nSet-Cookie: b")'),
    ({"routes": [route(action={"type": "respond", "targets": [], "response": {"status": 204, "body": "a"}})]},
     "routes[0].action.response.status", "status", "has no body in HTTP (got 204)"),
    ({"routes": [route(action={"type": "block", "targets": [], "mode": "drop"})]}, "routes[0].action.mode", "mode",
     'must be "close", "reset" or "tarpit" (got "drop")'),
    ({"routes": [route(action={"mode": "reset"})]}, "routes[0].action.mode", "mode",
     'has no meaning for type "forward"'),
    ({"routes": [route(action={"type": "handler", "targets": [],
                               "handler": "twisted.internet.protocol:ServerFactory"})]},
     "routes[0].action.handler", "ServerFactory",
     'is a protocol factory class; name an instance of it (got "twisted.internet.protocol:ServerFactory")'),
    ({"routes": [route(action={"type": "static", "targets": []})]}, "routes[0].action.root", "action",
     'is required for type "static"'),
    ({"routes": [route(action={"type": "static", "targets": [], "root": "/no/such"})]}, "routes[0].action.root", "root",
     'cannot be read: No such file or directory (got "/no/such")'),
    ({"routes": [route(action={"type": "static", "targets": [], "root": "/dev/null"})]}, "routes[0].action.root", "root",
     'is not a directory (got "/dev/null")'),
    ({"routes": [route(action={"type": "static", "targets": [], "root": "/", "index": ".x"})]},
     "routes[0].action.index", "index", 'must be the name of a file, without a slash and not hidden (got ".x")'),
    ({"routes": [route(action={"spa": True})]}, "routes[0].action.spa", "spa", 'has no meaning for type "forward"'),
    ({"routes": [route(action={"type": "redirect", "targets": [], "to": "https://{host}/{paht}"})]},
     "routes[0].action.to", "to", 'has no such variable: {paht}; did you mean {path}? (got "https://{host}/{paht}")'),
    ({"routes": [route(action={"type": "redirect", "targets": [], "to": "/x", "protocol": "tcp"})]},
     "routes[0].action.protocol", "protocol", 'must be "http" or "auto": the action answers HTTP requests'),
    ({"routes": [route(action={"type": "handler", "targets": [], "protocol": "http", "handler": "os:getenv"})]},
     "routes[0].action.handler", "handler",
     "does not answer HTTP requests: it must be a coroutine function or a twisted.web resource"),
    ({"routes": [route(action={"type": "redirect", "targets": [], "to": "/x", "headers": {"request": {"set": {"A": "b"}}}})]},
     "routes[0].action.headers.request", "request", 'has no meaning for type "redirect": there is no target'),
    ({"routes": [route(action={"type": "block", "targets": [], "http": {}})]}, "routes[0].action.http", "http",
     'has no meaning for type "block"'),
    # automatic certificates; more of them are in test_acme_problems
    ({"routes": [route()], "acme": {"email": "x"}}, "acme.email", "email",
     'must be an address like "admin@example.com" (got "x")'),
    ({"routes": [route()], "acme": {"directory": "http://ca.internal/directory"}}, "acme.directory", "directory",
     'must be an https URL: the directory says where account and orders are sent (got "http://ca.internal/directory")'),
    ({"routes": [route()], "acme": {"directory": "zerossl"}}, "acme.eab", "acme",
     'is required for directory "zerossl": {keyId, hmacKey} from its website'),
]  # fmt: skip


def problems_of(text: str, format_: str, file: str = "proxy") -> list[str]:
    try:
        Settings.parse(text, format_, file)
    except ConfigurationError as error:
        return error.problems
    raise AssertionError("accepted")


class ProblemTests(SynchronousTestCase):
    def test_each_problem_has_its_line_in_every_format(self) -> None:
        for value, path, row, message in CASES:
            for spelling, write in FORMATS.items():
                text = write(value)
                told = problems_of(text, spelling)
                place = re.fullmatch(r"proxy:(\d+): (.*)", told[0], re.DOTALL)
                assert place is not None, told
                expected = f"{path}: {message}".replace("{cwd}", str(Path.cwd()))
                self.assertEqual((told[1:], place[2]), ([], expected), spelling)
                self.assertRegex(text.split("\n")[int(place[1]) - 1], row, f"{spelling}: {path}")

    def test_wrong_key_of_a_mapping_is_named_once(self) -> None:
        text = "routes:\n- name: a\n  match: {ports: 80, headers: {bad name: x}}\n  action: {type: block}\n"
        message = 'routes[0].match.headers.bad name: must be the name of a header (got "bad name")'
        self.assertEqual(problems_of(text, "yaml"), [f"proxy:3: {message}"])

    def test_tlv_types_need_no_quotes_in_yaml(self) -> None:
        text = (
            "sendProxyProtocol: {version: 2, customTlvs: {0xE0: 12ab}}\nproxyIPs: [10.0.0.1]\nroutes:\n"
            "- name: a\n  match: {ports: 80, proxyTlv: {0xea: [a, b]}}\n  action: {type: block}\n"
        )
        self.assertEqual(Settings.parse(text, "yaml").routes[0].match.proxy_tlv, {"0xea": ["a", "b"]})

    def test_key_without_value_is_refused(self) -> None:
        text = "routes:\n- name: a\n  match: {ports: 80}\n  action: {type: block}\n  security:\n    ipAllowList:\n"
        message = "has no value; give it one, or leave it out for its default"
        self.assertEqual(problems_of(text, "yaml"), [f"proxy:6: routes[0].security.ipAllowList: {message}"])

    def test_all_problems_are_reported_in_file_order(self) -> None:
        routes = [
            route("a", 80),
            route("b", 70000),
            route("c", 80),
            route("b", 81, action={"type": "static", "targets": [], "root": "/no/such"}),
        ]
        told = problems_of(as_json({"workers": 0, "admin": {"port": 80}, "routes": routes, "zzz": 1}), "json")
        self.assertEqual(
            [line.split(": ", 1)[1] for line in told],
            [
                'workers: must be a number of processes from 1 to 256, or "auto" (got 0)',
                'admin.port: is a port of route "a" (got 80)',
                'routes[1].match.ports: must be a port 1..65535, or a range like "8000-8010" (got 70000)',
                'routes[2].match: is never reached: every connection that it matches goes to "a"',
                'routes[3].name: is the name of an earlier route (got "b")',
                'routes[3].action.root: cannot be read: No such file or directory (got "/no/such")',
                "zzz: unknown key",
            ],
        )

    def test_secret_value_is_not_quoted(self) -> None:
        told = problems_of(as_json({"routes": [route()], "admin": {"token": ["hunter2"]}}), "json")
        self.assertEqual(told, ["proxy:19: admin.token: must be a string that is not empty"])

    def test_quoted_value_is_shortened_and_on_one_line(self) -> None:
        told = problems_of(as_json({"routes": [route("a" * 300), route("b\n\x1b\x7f\u2028", 81)]}), "json")
        self.assertEqual(len(told), 2)
        self.assertLess(max(map(len, told)), 200)
        self.assertTrue(all(line.isprintable() for line in told), told)


class FileTests(SynchronousTestCase):
    def write(self, name: str, content: bytes) -> str:
        path = folder(self) / name
        path.write_bytes(content)
        return str(path)

    def refused(self, path: str) -> list[str]:
        return self.assertRaises(ConfigurationError, Settings.load, path).problems

    def test_suffix_selects_the_format(self) -> None:
        value = {"routes": [route(ports=[80, "90-99"])], "proxyIPs": ["10.0.0.0/8"], "keepAlive": False}
        endings = {"yaml": "yaml", "yml": "yaml", "json": "json", "toml": "toml", "YAML": "yaml"}
        loaded = [
            Settings.load(self.write(f"x.{ending}", FORMATS[spelling](value).encode()))
            for ending, spelling in endings.items()
        ]
        dumps = [settings.model_dump() for settings in loaded]
        self.assertEqual(dumps, [dumps[0]] * len(endings))
        self.assertEqual(dumps[0]["proxy_ips"], ["10.0.0.0/8"])

    def test_byte_order_mark_is_skipped(self) -> None:
        path = self.write("x.json", b"\xef\xbb\xbf" + as_json({"routes": [route()]}).encode())
        self.assertEqual(Settings.load(path).routes[0].name, "web")

    def test_unreadable_file_is_reported_in_one_line(self) -> None:
        self.assertEqual(
            self.refused("/nowhere/x.yaml"), ["/nowhere/x.yaml: cannot be read: No such file or directory"]
        )
        self.assertEqual(
            self.refused("/nowhere/x.conf"), ["/nowhere/x.conf: must end in .yaml, .yml, .json, .toml"]
        )
        path = self.write("x.yaml", b"a: 1\nb: \xff\n")
        self.assertEqual(self.refused(path), [f"{path}:2: is not UTF-8"])
        path = self.write("x.yaml", b"# nothing\n")
        self.assertEqual(self.refused(path), [f"{path}: is empty"])
        path = self.write("x.yaml", b"- 1\n")
        self.assertEqual(
            self.refused(path),
            [f'{path}:1: must be a mapping; write keys, beginning with "routes:" (got a list)'],
        )
        path = self.write("x.toml", b"a = \n")
        self.assertEqual(self.refused(path), [f"{path}:1: not valid TOML: the key has no value"])

    def test_again_reads_the_changed_file(self) -> None:
        path = self.write("x.json", as_json({"routes": [route()]}).encode())
        settings = Settings.load(path)
        Path(path).write_text(as_json({"routes": [route("other")]}))
        changed = settings.with_routes([route("given")])
        self.assertEqual(
            [settings.again().routes[0].name, changed.again().routes[0].name], ["other", "other"]
        )
        self.assertRaises(ConfigurationError, Settings.parse(as_json({"routes": [route()]}), "json").again)
