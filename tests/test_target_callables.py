"""A callable of a program that gives a whole target: host, port, TLS and PROXY header."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from smartproxy import (
    Action,
    Match,
    Refused,
    RejectReason,
    Route,
    Settings,
    Target,
    UpstreamTls,
)
from smartproxy.admin import route_view
from smartproxy.metrics.counters import RouteCounters
from smartproxy.metrics.totals import Bytes
from smartproxy.model.facts import Routed
from smartproxy.model.outcome import CloseReason
from smartproxy.model.plan import SendHeader
from smartproxy.settings import settings as settings_module
from tests.on_network import HOST, NetworkTestCase
from tests.tls.made import Authority

OTHER = "10.0.0.6"


def a_plain_target(_routed):
    """Has a name that messages can be compared with."""
    return {"host": HOST, "port": 0}


def chosen(*choices, name="web", ports=80, **more):
    return Route(name=name, match=Match(ports=ports), action=Action(targets=choices), **more)


class ChosenTargetTests(NetworkTestCase):
    def received(self, *choices, **more):
        """What the backend receives of a connection."""
        self.start(chosen(*choices), **more)
        client = self.connect(80, b"hello", client=("203.0.113.7", 4711))
        self.assertFalse(client.gone)
        received = self.backend.connections[-1].received
        self.network.stop(self.proxy)
        return received

    def test_target_may_be_returned_in_every_way(self):
        target = Target(host=HOST, port=9000)

        async def awaited(routed):
            return target

        for choice in (
            lambda routed: target,
            lambda routed: Target(host=HOST, port=9000),
            lambda routed: {"host": HOST, "port": 9000},
            awaited,
            lambda routed: succeed(target),
            lambda routed: Deferred.fromCoroutine(awaited(routed)),
        ):
            self.assertEqual(self.received(choice), b"hello")

    def test_callable_gets_the_facts(self):
        seen = []
        self.received(lambda routed: seen.append(routed) or Target(host=HOST, port=9000))
        self.assertIsInstance(seen[0], Routed)
        self.assertEqual((seen[0].route.name, seen[0].detected.client_ip), ("web", "203.0.113.7"))

    def test_chosen_target_has_its_own_proxy_header_or_inherits_one(self):
        for target, settings, header in (
            ({"send_proxy_protocol": 1}, {}, b"PROXY TCP4 203.0.113.7 "),
            ({"sendProxyProtocol": True}, {}, b"PROXY TCP4 203.0.113.7 "),
            ({}, {"send_proxy_protocol": 1}, b"PROXY TCP4 203.0.113.7 "),
            ({"send_proxy_protocol": False}, {"send_proxy_protocol": 1}, b"hello"),
            ({"send_proxy_protocol": {"version": 2, "tlvs": ["crc32c"]}}, {}, b"\r\n\r\n\0\r\nQUIT\n"),
        ):
            received = self.received(lambda _, t=target: {"host": HOST, "port": 9000, **t}, **settings)
            self.assertTrue(received.startswith(header), received)
            self.assertTrue(received.endswith(b"hello"), received)

    def test_port_may_be_preserved_and_host_may_be_a_name(self):
        self.network.names["backend.internal"] = [HOST]
        self.network.backend(HOST, 80)
        self.start(chosen(lambda routed: Target(host="backend.internal", port="preserve")))
        self.connect(80)
        self.assertEqual(self.proxy.connections[0].target, (HOST, 80))

    def test_target_may_be_a_unix_socket(self):
        app = self.network.unix_backend("/run/app.sock")
        self.start(chosen(lambda _: {"unix": "/run/app.sock", "sendProxyProtocol": 1}))
        self.connect(80, b"hello")
        self.assertTrue(app.connections[0].received.startswith(b"PROXY TCP4 "))
        self.assertTrue(app.connections[0].received.endswith(b"hello"))

    def test_name_of_the_client_must_be_taken_from_the_facts(self):
        """``{domain}`` has a guard, the domains of the route, which a callable stands in place of."""
        self.start(chosen(lambda _: {"host": "{domain}", "port": 80}))
        self.connect(80, b"hello")
        (failure,) = self.flushLoggedErrors(ValueError)
        self.assertIn(
            'host: must be a name: the callable is given that of the client (got "{domain}")',
            str(failure.value),
        )

    def test_each_host_is_tried_and_then_the_next_target(self):
        self.start(
            chosen(lambda _: Target(host=[OTHER, HOST], port=9000), name="a"),
            chosen(lambda _: Target(host=OTHER, port=1), Target(host=HOST, port=9000), name="b", ports=81),
        )
        for port in (80, 81):
            self.connect(port, b"hello")
        self.assertEqual([end.received for end in self.backend.connections], [b"hello"] * 2)

    def test_callable_that_refuses_is_counted_under_its_reason(self):
        def refuse(_routed):
            raise Refused(RejectReason.NO_ROUTE)

        self.start(chosen(refuse))
        self.assertTrue(self.connect(80, b"x").ended)
        self.assertEqual(self.proxy.counters.rejected[RejectReason.NO_ROUTE], 1)

    def test_callable_without_answer_is_cancelled_and_the_next_target_tried(self):
        cancelled = []
        self.start(
            chosen(
                lambda _: Deferred(lambda _: cancelled.append(1)),
                Target(host=HOST, port=9000),
                connection_timeout="5s",
            )
        )
        self.connect(80, b"hello")
        self.network.run(5.5)
        self.assertEqual((cancelled, self.backend.connections[0].received), ([1], b"hello"))

    def message(self, choice):
        """The message with which a connection fails."""
        said = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        self.start(chosen(choice))
        self.assertTrue(self.connect(80, b"hello").was_reset)
        self.assertEqual(self.closed("web"), {CloseReason.ERROR: 1})
        self.network.stop(self.proxy)
        self.failures()
        return next(event["log_failure"].getErrorMessage() for event in said if "log_failure" in event)

    def test_invalid_target_is_an_error_with_route_callable_and_key(self):
        start = "the target callable a_plain_target of route 'web' gave an invalid target: "
        self.assertEqual(self.message(a_plain_target), start + 'port: must be 1..65535 or "preserve" (got 0)')
        for wrong, end in (
            (None, "gave None: must be a Target, or a mapping with host and port"),
            ("10.0.0.5:80", "gave '10.0.0.5:80': must be a Target, or a mapping with host and port"),
            (Target, "must be a Target, or a mapping with host and port"),
            ({"host": HOST}, "port: is required"),
            ({"host": HOST, "prot": 1}, 'prot: unknown key; did you mean "port"?'),
            (
                {"host": "a b", "port": 1},
                "host: must be a host name or an IP address, without a port; write a list",
            ),
            (
                {"host": a_plain_target, "port": 1},
                "host: must be a value: the callable of the target has chosen",
            ),
            (
                {"host": HOST, "port": 1, "sendProxyProtocol": {"version": 1, "tlvs": ["ssl"]}},
                "sendProxyProtocol.tlvs: has no meaning for version 1",
            ),
            (
                {"host": HOST, "port": 1, "tls": {"keyFile": "x"}},
                "tls.keyFile: has no meaning without certFile",
            ),
            ({"host": HOST, "port": 1, "tls": {"ca": "none.pem"}}, "tls.ca: none.pem: cannot be read"),
        ):
            message = self.message(lambda _, wrong=wrong: wrong)
            self.assertIn("<lambda> of route 'web' gave ", message)
            self.assertIn(end, message)

    def test_callable_that_raises_ends_the_connection(self):
        async def awaited(_routed):
            raise ZeroDivisionError("no tenant")

        def now(_routed):
            raise ZeroDivisionError("no tenant")

        for choice in (now, awaited, lambda _: fail(ZeroDivisionError("no tenant"))):
            self.assertEqual(self.message(choice), "no tenant")

    def test_admin_api_shows_a_callable_with_the_weight_of_one_target(self):
        (plan,) = (
            Settings(routes=[chosen(a_plain_target, Target(host=HOST, port=1, weight=0))]).compile().routes
        )
        shown = route_view.route(plan, RouteCounters(), Bytes(0, 0))["action"]["targets"]
        self.assertEqual(
            [(one["host"], one["port"], one["weight"]) for one in shown],
            [("callable", "callable", 1), ([HOST], 1, 0)],
        )


class CompilationTests(SynchronousTestCase):
    """Each different target is validated and compiled once, so that its files are read and its context is made once."""

    def setUp(self):
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.directory = Path(made.name)
        (self.directory / "ca.pem").write_bytes(Authority().pem)
        self.checked = []
        valid = settings_module.valid_target
        self.patch(
            settings_module,
            "valid_target",
            lambda answer, files: self.checked.append(answer) or valid(answer, files),
        )

    def compiled(self, **action):
        route = Route(name="a", match=Match(ports=1), action=Action(targets=[a_plain_target], **action))
        settings = Settings(routes=[route], send_proxy_protocol=2)
        settings._directory = self.directory
        (target,) = settings.compile().routes[0].targets
        return target.made

    def test_equal_targets_are_compiled_once(self):
        made = self.compiled()
        plans = [made(Target(host=HOST, port=1, tls=UpstreamTls(ca="ca.pem"))) for _ in range(3)]
        plans += [made({"host": HOST, "port": 1, "tls": {"ca": "ca.pem"}}) for _ in range(3)]
        self.assertEqual(len(self.checked), 1)
        self.assertEqual(len({id(plan.tls) for plan in plans}), 1)
        self.assertEqual(plans[0].tls.ca, (self.directory / "ca.pem").read_bytes())

    def test_key_set_to_its_default_differs_from_an_inherited_one(self):
        made = self.compiled()
        self.assertEqual(made(Target(host=HOST, port=1)).send_header, SendHeader(2))
        self.assertIsNone(made(Target(host=HOST, port=1, send_proxy_protocol=False)).send_header)

    def test_target_inherits_the_tls_of_its_route(self):
        made = self.compiled(
            tls={
                "mode": "terminate-and-reencrypt",
                "certificate": "selfSigned",
                "upstream": {"serverName": "a.b"},
            }
        )
        self.assertEqual(made(Target(host=HOST, port=1)).tls.server_name, "a.b")
        self.assertIsNone(made(Target(host=HOST, port=1, tls=False)).tls)

    def test_number_of_compiled_targets_is_limited(self):
        made = self.compiled()
        for port in range(1, 2000):
            made({"host": HOST, "port": port})
        self.assertEqual(len(made._plans), 1024)

    def test_failed_answer_is_checked_again(self):
        made = self.compiled()
        for _ in range(2):
            self.assertRaises(ValueError, made, {"host": HOST})
        self.assertEqual(len(self.checked), 2)
