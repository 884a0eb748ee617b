"""Compilation: values become seconds, bytes and sets, and keys that are left out are inherited."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.signatures import serves
from smartproxy.http.local.services import LocalAnswers
from smartproxy.model.plan import (
    AcceptHeader,
    AccessLogPlan,
    ActionKind,
    AdminPlan,
    CleanupPlan,
    GroupPlan,
    KeepAlive,
    MetricsPlan,
    Probes,
    ProxyPlan,
    RoutePlan,
    SendHeader,
    Timeouts,
    TlvMatch,
    Treatment,
    ZombiePlan,
)
from smartproxy.settings import Settings
from smartproxy.wire.proxy_header import Tlv
from tests.settings.formats import as_json, folder, route

A_FACTORY = Factory()


def plan(*routes: dict[str, Any], **top: Any) -> ProxyPlan:
    return Settings.parse(as_json({**top, "routes": list(routes) or [route()]}), "json").compile()


def only_route(made: ProxyPlan) -> RoutePlan:
    [one] = made.routes
    return one


class DefaultTests(SynchronousTestCase):
    def test_key_defaults_equal_plan_defaults(self) -> None:
        made = plan()
        usual = ProxyPlan(routes=made.routes, groups=made.groups)
        self.assertEqual(made, usual)
        bare = RoutePlan("web", 0, made.routes[0].match, group=made.groups[0])
        usual_group = GroupPlan("web", made.groups[0].targets)
        for name in GroupPlan.__slots__:
            self.assertEqual(getattr(made.groups[0], name), getattr(usual_group, name), name)
        for name in RoutePlan.__slots__:
            self.assertEqual(getattr(made.routes[0], name), getattr(bare, name), name)

    def test_empty_mapping_equals_true(self) -> None:
        made = plan(zombieDetection={}, metrics={}, cleanup={}, admin={}, accessLog={})
        on = plan(zombieDetection=True, metrics=True, admin=True, accessLog=True)
        for one in (made, on):
            self.assertEqual(
                (one.zombies, one.metrics, one.cleanup), (ZombiePlan(), MetricsPlan(), CleanupPlan())
            )
            self.assertEqual((one.admin, one.access_log), (AdminPlan(), AccessLogPlan()))

    def test_false_compiles_to_none(self) -> None:
        made = plan(zombieDetection=False, metrics=False, admin=False, accessLog=False, acceleration="off")
        self.assertEqual((made.zombies, made.metrics, made.admin, made.access_log), (None, None, None, None))
        self.assertEqual(made.acceleration, False)


async def answering(exchange: object) -> None:
    """A handler of requests."""


class ValueTests(SynchronousTestCase):
    def test_top_level_keys_become_numbers(self) -> None:
        made = plan(
            proxyHeaderTimeout="2s", gracefulShutdownTimeout=500, maxPendingDataSize="64KiB", maxConnections=7,
            maxConnectionsPerIP=8, connectionRateLimitPerMinute=9, keepAlive=False, halfCloseTimeout="1m",
            zombieDetection={"interval": "1s", "halfGraceTls": 2000, "halfGracePlain": 3000, "stuckTls": 4000,
                             "stuckPlain": 5000},
            cleanup={"batchSize": 5, "delay": "1s"}, metrics={"sampleInterval": "2s", "retention": "1m"},
        )  # fmt: skip
        self.assertEqual(
            (made.header_timeout, made.graceful_shutdown, made.max_pending_data), (2.0, 0.5, 65536)
        )
        self.assertEqual((made.max_connections, made.max_connections_per_ip), (7, 8))
        self.assertEqual((made.connection_rate_per_minute, made.keep_alive), (9, False))
        self.assertEqual(made.timeouts, Timeouts(half_close=60.0))
        self.assertEqual(made.zombies, ZombiePlan(1.0, 2.0, 3.0, 4.0, 5.0))
        self.assertEqual((made.cleanup, made.metrics), (CleanupPlan(5, 1.0), MetricsPlan(2.0, 60.0)))

    def test_proxy_ips_compile_to_an_address_set(self) -> None:
        trusted = plan(proxyIPs=["10.0.0.0/8", "::ffff:192.0.2.1", "2001:db8::1-2001:db8::9"]).trusted
        assert trusted is not None
        asked = ["10.9.9.9", "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::5", "192.0.2.2", "2001:db8::a"]
        self.assertEqual([address in trusted for address in asked], [True] * 4 + [False] * 2)

    def test_accept_proxy_protocol_values(self) -> None:
        ways = [plan(acceptProxyProtocol=written).accept_header for written in (True, False, "require")]
        self.assertEqual(ways, [AcceptHeader.DETECT, AcceptHeader.NEVER, AcceptHeader.REQUIRE])

    def test_match_is_normalised(self) -> None:
        match = {
            "domains": ["Example.COM.", "*.Example.com", "example.com"], "address": "::ffff:10.0.0.1",
            "clientIp": ["10.0.0.0/8"], "path": "/a", "methods": ["GET"], "headers": {"X-A": "1"},
            "query": {"debug": "*"}, "protocol": "http",
        }  # fmt: skip
        made = only_route(plan(route(ports=[443, "8000-8010"], match=match))).match
        self.assertEqual(made.ports, (range(443, 444), range(8000, 8011)))
        self.assertEqual((made.domains, made.addresses), (("example.com", "*.example.com"), ("10.0.0.1",)))
        self.assertEqual((made.path, made.methods, made.headers), ("/a", frozenset({"GET"}), (("X-A", "1"),)))
        self.assertEqual(made.query, (("debug", "*"),))
        self.assertEqual(made.protocol, "http")
        assert made.client_ip is not None
        self.assertIn("10.1.1.1", made.client_ip)

    def test_both_spellings_of_every_address_are_one_listener(self) -> None:
        """``::`` accepts IPv4 too; two sockets on it would get half of the connections each."""
        for address in ("", "::", "0:0::0"):
            self.assertEqual(only_route(plan(route(match={"address": address}))).match.addresses, ("",))

    def test_addresses_are_one_or_a_list(self) -> None:
        for written, compiled in (
            (["10.0.0.1", "::ffff:10.0.0.1", "::1"], ("10.0.0.1", "::1")),
            (["10.0.0.1", ""], ("",)),
        ):
            made = only_route(plan(route(match={"address": written})))
            self.assertEqual(made.match.addresses, compiled)

    def test_target_keys(self) -> None:
        targets = [{"host": ["a", "b"], "port": "preserve", "weight": 3}, {"host": "::1", "port": 5}]
        one, two = only_route(plan(route(action={"targets": targets}))).targets
        self.assertEqual((one.hosts, one.port, one.weight), (("a", "b"), None, 3))
        self.assertEqual((two.hosts, two.port, two.weight), (("::1",), 5, 1))

    def test_disabled_route_is_left_out_and_keeps_its_index(self) -> None:
        made = plan(route("off", enabled=False), route("on", 81))
        self.assertEqual([(one.name, one.index) for one in made.routes], [("on", 1)])

    def test_tlvs_compile_to_types_and_bytes(self) -> None:
        asked = {"authority": ["A.example.", "*.B.example"], "alpn": "h2", "0xea": ["hex:01ff", "\u00e9"]}
        self.assertEqual(
            only_route(plan(route(match={"proxyTlv": asked}), proxyIPs=["10.0.0.1"])).match.proxy_tlv,
            (
                TlvMatch(2, domains=("a.example", "*.b.example")),
                TlvMatch(1, (b"h2",)),
                TlvMatch(0xEA, (b"\x01\xff", b"\xc3\xa9")),
            ),
        )
        sending = {"version": 2, "tlvs": ["alpn"], "customTlvs": {"0xE0": "text", "0xEF": "hex:00"}}
        [target] = only_route(plan(route(), sendProxyProtocol=sending)).targets
        self.assertEqual(target.send_header, SendHeader(2, ("alpn",), (Tlv(0xE0, b"text"), Tlv(0xEF, b"\0"))))

    def test_bind_address_is_normalised(self) -> None:
        def source(**target: Any) -> str:
            [made] = only_route(plan(route(action={"targets": [{"host": "h", "port": 1, **target}]}))).targets
            return made.source

        self.assertEqual(source(), "")
        self.assertEqual(source(bind="::ffff:192.0.2.7"), "192.0.2.7")
        self.assertEqual(source(bind="2001:DB8:0::7"), "2001:db8::7")

    def test_handler_reference_is_resolved(self) -> None:
        for text, kind in [("json:dumps", "function"), ("tests.settings.test_compile:A_FACTORY", "Factory")]:
            made = only_route(plan(route(action={"type": "handler", "targets": [], "handler": text})))
            self.assertEqual((made.kind, type(made.handler).__name__), (ActionKind.HANDLER, kind))

    def test_respond_and_block_compile_to_handlers(self) -> None:
        def made(**action: Any) -> RoutePlan:
            return only_route(plan(route(action={"targets": [], **action})))

        for action, kind in [
            ({"type": "respond", "response": {"body": "closed"}}, ActionKind.RESPOND),
            ({"type": "respond", "response": {"base64": "AAE="}}, ActionKind.RESPOND),
            ({"type": "block", "mode": "reset"}, ActionKind.BLOCK),
            ({"type": "block", "mode": "tarpit"}, ActionKind.BLOCK),
        ]:
            route_ = made(**action)
            self.assertEqual((route_.kind, serves(route_.handler)), (kind, True), action)
        self.assertIsNone(made(type="block").handler)

    def test_actions_of_http_compile_to_answers(self) -> None:
        def made(**action: Any) -> RoutePlan:
            return only_route(plan(route(action={"targets": [], **action})))

        for action in (
            {"type": "redirect", "to": "https://{host}{path}"},
            {"type": "respond", "response": {"status": 204}},
            {"type": "respond", "response": {"body": "x"}, "protocol": "http"},
            {"type": "static", "root": "/"},
            {"type": "handler", "handler": "tests.settings.test_compile:answering"},
        ):
            compiled = made(**action)
            self.assertIsInstance(compiled.answers, LocalAnswers, action)
            self.assertEqual((compiled.handler, compiled.http is None), (None, False), action)
        blocking = made(type="block", mode="reset")
        self.assertEqual((blocking.answers is None, blocking.http), (False, None))

    def test_paths_are_relative_to_the_file(self) -> None:
        here = folder(self)
        value = {"accessLog": {"path": "access.log"}, "admin": {"unix": "/run/admin"}, "routes": [route()]}
        (here / "x.json").write_text(as_json(value))
        made = Settings.load(here / "x.json")
        for compiled in (made.compile(), made.with_routes(made.routes).compile()):
            assert compiled.access_log is not None
            assert compiled.admin is not None
            self.assertEqual(compiled.access_log.path, str(here / "access.log"))
            self.assertEqual(compiled.admin.unix, "/run/admin")


class InheritanceTests(SynchronousTestCase):
    def test_route_wins_over_defaults_and_top_level(self) -> None:
        made = plan(
            route("a", 80, inactivityTimeout="1s"),
            route("b", 81),
            inactivityTimeout="3s",
            halfCloseTimeout="4s",
            defaults={"inactivityTimeout": "2s", "keepAliveTreatment": "immortal"},
        )
        self.assertEqual([one.timeouts.inactivity for one in made.routes], [1.0, 2.0])
        self.assertEqual([one.timeouts.half_close for one in made.routes], [4.0, 4.0])
        self.assertEqual([one.keep_alive.treatment for one in made.routes], [Treatment.IMMORTAL] * 2)
        self.assertEqual(made.timeouts.inactivity, 3.0)

    def test_probe_times_are_rounded_up_to_seconds(self) -> None:
        """The kernel counts in whole seconds; 0 leaves the value to the system."""
        made = plan(
            route("a", 80, keepAliveInitialDelay="1500ms", keepAliveCount=3),
            route("b", 81, keepAliveInterval=0),
            keepAliveInterval="20s",
        )
        self.assertEqual(made.probes, Probes(60, 20, 9))
        self.assertEqual([one.keep_alive.probes for one in made.routes], [Probes(2, 20, 3), Probes(60, 0, 9)])

    def test_user_timeout_is_in_milliseconds_and_inherited(self) -> None:
        made = plan(
            route("a", 80, tcpUserTimeout="1.0005s"),
            route("b", 81, tcpUserTimeout=0),
            route("c", 82),
            tcpUserTimeout="2m",
        )
        self.assertEqual(made.user_timeout, 120_000)
        self.assertEqual([one.keep_alive.user_timeout for one in made.routes], [1001, 0, 120_000])
        self.assertEqual(plan(route()).user_timeout, 0)

    def test_jitter_defaults_to_zero(self) -> None:
        made = plan(route("a", 80), route("b", 81, timeoutJitter=0.25))
        self.assertEqual([one.timeouts.jitter for one in made.routes], [0.0, 0.25])

    def test_explicit_passthrough_sets_carries_tls(self) -> None:
        action = {"targets": [{"host": "192.0.2.1", "port": 1}]}
        made = plan(
            route("a", 80, action=action), route("b", 81, action=action | {"tls": {"mode": "passthrough"}})
        )
        self.assertEqual([one.carries_tls for one in made.routes], [False, True])

    def test_value_equal_to_default_is_not_inherited(self) -> None:
        made = plan(
            route(keepAliveTreatment="extended", keepAlive=True),
            keepAlive=False,
            keepAliveTreatment="standard",
        )
        self.assertEqual(only_route(made).keep_alive, KeepAlive(enabled=True, treatment=Treatment.EXTENDED))

    def test_security_is_inherited_key_by_key(self) -> None:
        defaults = {"security": {"ipBlockList": ["192.0.2.1"], "maxConnections": 5}}
        made = plan(
            route("a", 80, security={"maxConnections": 0}),
            route("b", 81, security={"ipBlockList": []}),
            defaults=defaults,
        )
        self.assertEqual([one.max_connections for one in made.routes], [0, 5])
        self.assertIsNone(made.routes[1].block)
        self.assertIsNone(made.routes[0].allow)
        assert made.routes[0].block is not None
        self.assertIn("192.0.2.1", made.routes[0].block)

    def test_inherited_address_list_is_one_shared_set(self) -> None:
        defaults = {"security": {"ipBlockList": ["192.0.2.1"]}}
        made = plan(route("a", 80), route("b", 81), defaults=defaults)
        self.assertIs(made.routes[0].block, made.routes[1].block)

    def test_send_header_of_target_wins_over_route(self) -> None:
        targets = [{"host": "h", "port": n} for n in range(1, 5)]
        for target, written in zip(
            targets[1:], (False, 2, {"version": 2, "tlvs": ["alpn", "crc32c"]}), strict=True
        ):
            target["sendProxyProtocol"] = written
        made = only_route(
            plan(route(action={"targets": targets, "sendProxyProtocol": 1}), sendProxyProtocol=2)
        )
        headers = [target.send_header for target in made.targets]
        self.assertEqual(headers, [SendHeader(1), None, SendHeader(2), SendHeader(2, ("alpn", "crc32c"))])

    def test_send_header_true_is_version_1(self) -> None:
        self.assertEqual(only_route(plan(sendProxyProtocol=True)).targets[0].send_header, SendHeader(1))
        made = plan(sendProxyProtocol=True, defaults={"sendProxyProtocol": {}})
        self.assertEqual(only_route(made).targets[0].send_header, SendHeader(2))


class SummaryTests(SynchronousTestCase):
    def test_summary_counts_enabled_routes_and_their_ports(self) -> None:
        value = {
            "routes": [
                route("a", [443, "8000-8010"]),
                route("b", 80),
                route("c", 8011),
                route("d", 1, enabled=False),
            ]
        }
        settings = Settings.parse(as_json(value), "json")
        self.assertEqual(settings.summary(), "ok (3 routes, ports 80, 443, 8000-8011)")
