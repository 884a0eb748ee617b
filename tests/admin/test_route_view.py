"""``GET /api/v1/routes``: the keys of a route, compared with the tables of the configuration."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.admin.route_view import route
from smartproxy.metrics.counters import RouteCounters
from smartproxy.metrics.totals import Bytes
from smartproxy.settings import Settings
from smartproxy.settings.tables.balancing import LoadBalancing, PassiveHealth, QueueSettings
from smartproxy.settings.tables.base import ConnectionKeys, file_key
from smartproxy.settings.tables.http import HttpSettings, PoolSettings, WebsocketSettings
from smartproxy.settings.tables.route import Action, Match, Route, Security, Target

TEXT = """
targetGroups:
  db:
    targets:
      - {name: one, host: 10.0.0.1, port: preserve, bind: 10.0.0.9, maxConnections: 5, healthCheck: {port: 80}}
      - {unix: /run/app.sock, weight: 3, backup: true, tls: {serverName: a.b}, sendProxyProtocol: 2}
    loadBalancing: {algorithm: source, slowStart: 30s}
    passiveHealth: {failures: 2}
    queue: {size: 7}
    whenDown: reset
routes:
  - name: web
    priority: 5
    fallback: true
    silence: 3s
    match:
      ports: [443, 8000-8010]
      address: [127.0.0.1, 127.0.0.2]
      domains: "*.Example.com"
      proxyTlv: {authority: a.example.com, 0xE0: ["one", "hex:00ff"]}
      clientIp: [10.0.0.0/8, 192.0.2.1]
    action: {group: db, protocol: tcp}
    security: {ipAllowList: 10.0.0.0/8, ipBlockList: 10.1.0.0/16, maxConnections: 50}
    stuckDetection: false
  - name: http
    match: {ports: 80, path: /x, methods: GET, headers: {X-Env: staging}, query: {debug: "1"}, protocol: http}
    action: {targets: {host: 10.0.0.1, port: 80}, http: {maxBodySize: 1MiB, websocket: {origins: "https://a.test"}}}
  - name: ruled
    match: {ports: 83, path: "/:id"}
    action:
      targets: {host: 10.0.0.1, port: 80}
      headers: {request: {set: {X-Env: "{id}{{x}}"}, add: {X-A: b}, remove: X-B}}
      rewrite: {path: "/v2/:id", stripPrefix: /api/, host: target}
  - name: tls
    match: {ports: 444, alpn: h2}
    action: {targets: {host: 10.0.0.1, port: 80, tls: true}, tls: {mode: terminate-and-reencrypt, certificate: selfSigned}}
  - name: found
    match: {ports: 82}
    action: {targets: [{srv: _pg._tcp.test}, {host: a.test, port: 1, addresses: all}]}
  - {name: moved, match: {ports: 83}, action: {type: redirect, to: "https://{host}{path}", status: 301}}
  - {name: files, match: {ports: 84}, action: {type: static, root: /, spa: true}}
  - {name: none, match: {ports: 81}, action: {type: block}}
"""
#: Keys that are not shown, or elsewhere, by table.
ELSEWHERE = {
    Route: {
        **dict.fromkeys(ConnectionKeys.model_fields, "smartproxy explain shows the effective timeouts"),
        "enabled": "only routes that are enabled are in force",
        "security": "its keys are shown in the route",
    },
    Action: {
        "health_check": "shown in each target, which may have its own",
        "send_proxy_protocol": "shown in each target, which may have its own",
        "protocol": "shown by http, which is null where bytes are forwarded as they are",
        **dict.fromkeys(("handler", "response", "mode"), "compiled to a handler"),
    },
}


class RouteViewTests(SynchronousTestCase):
    def setUp(self):
        plan = Settings.parse(TEXT, "yaml").compile()
        views = [route(one, RouteCounters(), Bytes(1, 2)) for one in plan.routes]
        self.shown = {view["name"]: json.loads(json.dumps(view)) for view in views}

    def assert_has_keys(self, table, *shown):
        keys = {file_key(name) for name in table.model_fields if name not in ELSEWHERE.get(table, ())}
        self.assertEqual(keys - {key for view in shown for key in view}, set(), table.__name__)

    def test_every_key_of_the_tables_is_shown(self):
        """A new key must be added to the view, or here with the reason why it is not."""
        web = self.shown["web"]
        action = web["action"]
        self.assert_has_keys(Route, web)
        self.assert_has_keys(Security, web)
        self.assert_has_keys(Match, web["match"])
        self.assert_has_keys(Action, action, self.shown["moved"]["action"], self.shown["files"]["action"])
        self.assert_has_keys(Target, *action["targets"], *self.shown["found"]["action"]["targets"])
        self.assert_has_keys(LoadBalancing, action["loadBalancing"])
        self.assert_has_keys(PassiveHealth, action["passiveHealth"])
        self.assert_has_keys(QueueSettings, action["queue"])
        http = self.shown["http"]["action"]["http"]
        self.assert_has_keys(HttpSettings, http)
        self.assert_has_keys(PoolSettings, http["pool"])
        self.assert_has_keys(WebsocketSettings, http["websocket"])

    def test_values_are_those_in_force(self):
        web = self.shown["web"]
        self.assertEqual(
            web["match"],
            {
                "ports": [443, "8000-8010"], "address": ["127.0.0.1", "127.0.0.2"], "domains": ["*.example.com"],
                "proxyTlv": {"authority": ["a.example.com"], "0xE0": ["one", "\\x00\\xff"]},
                "clientIp": "10.0.0.0/8, 192.0.2.1", "alpn": [], "path": None, "methods": [], "headers": {}, "query": {}, "protocol": None,
            },
        )  # fmt: skip
        self.assertEqual(
            web["action"],
            {
                "type": "forward", "tls": "passthrough", "http": None, "forwardedHeaders": False, "group": "db",
                "headers": None, "rewrite": None, "errorPages": {},
                "loadBalancing": {"algorithm": "source", "slowStart": 30},
                "passiveHealth": {"failures": 2, "window": 10, "ejectFor": 10},
                "queue": {"size": 7, "timeout": 5}, "whenDown": "reset", "targetsFile": None,
                "targets": [
                    {
                        "name": "one", "host": ["10.0.0.1"], "port": "preserve", "addresses": "first", "bind": "10.0.0.9", "weight": 1,
                        "backup": False, "maxConnections": 5, "healthCheck": "connect", "tls": False, "sendProxyProtocol": None,
                    },
                    {
                        "name": None, "unix": "/run/app.sock", "bind": None, "weight": 3, "backup": True, "maxConnections": 0,
                        "healthCheck": None, "tls": True, "sendProxyProtocol": 2,
                    },
                ],
            },
        )  # fmt: skip
        self.assertEqual(
            {key: web[key] for key in ("priority", "fallback", "silence", "ipAllowList", "ipBlockList", "maxConnections")},
            {"priority": 5, "fallback": True, "silence": 3, "ipAllowList": "10.0.0.0/8", "ipBlockList": "10.1.0.0/16", "maxConnections": 50},
        )  # fmt: skip
        self.assertEqual((web["stuckDetection"], web["bytesReceived"], web["bytesSent"]), (False, 1, 2))

    def test_rules_are_shown_as_written(self):
        action = self.shown["ruled"]["action"]
        rules = {"set": {"X-Env": "{id}{{x}}"}, "add": {"X-A": "b"}, "remove": ["X-B"]}
        self.assertEqual(action["headers"], {"request": rules, "response": None})
        self.assertEqual(action["rewrite"], {"path": "/v2/:id", "stripPrefix": "/api/", "host": "target"})

    def test_tls_of_targets_in_a_file_is_that_of_the_route(self):
        file = Path(self.mktemp()).absolute().with_suffix(".json")
        file.write_text('[{"host": "10.0.0.1", "port": 1, "tls": true}]', encoding="utf-8")
        action = {"targetsFile": str(file), "tls": {"mode": "terminate", "certificate": "selfSigned"}}
        web = {"name": "web", "match": {"ports": 443}, "action": action}
        for mode in ("terminate-and-reencrypt", "terminate"):
            action["tls"]["mode"] = mode
            (plan,) = Settings.of({"routes": [web]}).compile().routes
            self.assertEqual(
                route(plan, RouteCounters(), Bytes(0, 0))["action"]["tls"], "terminate-and-reencrypt"
            )

    def test_route_without_them_has_none(self):
        http = self.shown["http"]
        self.assertEqual(
            (http["silence"], http["ipAllowList"], http["match"]["clientIp"]), (None, None, None)
        )
        self.assertEqual((http["action"]["group"], http["action"]["queue"]), ("http", None))
        self.assertTrue(http["action"]["forwardedHeaders"])
        self.assertEqual(
            (http["action"]["headers"], http["action"]["rewrite"]),
            ({"request": None, "response": None}, None),
        )
        self.assertEqual(http["action"]["http"]["maxBodySize"], 1 << 20)
        self.assertEqual(
            http["action"]["http"]["websocket"], {"idleTimeout": 3600, "origins": ["https://a.test"]}
        )
        self.assertEqual(
            (http["match"]["path"], http["match"]["methods"], http["match"]["headers"]),
            ("/x", ["GET"], {"X-Env": "staging"}),
        )
        self.assertEqual(http["match"]["query"], {"debug": "1"})
        self.assertEqual(
            (self.shown["tls"]["action"]["tls"], self.shown["tls"]["match"]["alpn"]),
            ("terminate-and-reencrypt", ["h2"]),
        )
        found = self.shown["found"]["action"]["targets"]
        self.assertEqual((found[0]["srv"], found[1]["addresses"]), ("_pg._tcp.test", "all"))
        self.assertEqual(self.shown["none"]["action"], {"type": "block", "tls": "passthrough", "targets": []})
