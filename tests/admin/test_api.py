"""The endpoints, asked over HTTP as a client would."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.admin.control import IProxyControl
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import ApplicationProtocol, TlsFacts
from smartproxy.model.outcome import CloseReason, ConnectionState, RejectReason, RelayKind
from tests.admin.doubles import FakeControl, Listener, parsed


class HealthTests(SynchronousTestCase):
    def test_the_double_keeps_the_interface(self):
        self.assertTrue(verifyObject(IProxyControl, FakeControl()))

    def test_healthy_and_ready_while_it_accepts(self):
        listener = Listener()
        self.assertEqual(listener.get("/healthz").status, 200)
        self.assertEqual(listener.get("/readyz").status, 200)

    def test_drain_makes_it_unready_but_not_unhealthy(self):
        listener = Listener()
        answer = listener.ask("POST", "/api/v1/drain")
        self.assertEqual((answer.status, answer.json()), (202, {"status": "draining"}))
        self.assertEqual(listener.get("/readyz").status, 503)
        self.assertEqual(listener.get("/healthz").status, 200)

    def test_status_is_what_the_service_says(self):
        self.assertEqual(Listener().get("/api/v1/status").json(), {"version": "1.2.3", "draining": False})


class ConnectionsTests(SynchronousTestCase):
    def test_a_connection_is_shown_with_every_key_of_the_contract(self):
        control = FakeControl()
        record = control.connect(at=90.0, received=11, sent=22)
        record.state, record.relay, record.keep_alive = ConnectionState.RELAYING, RelayKind.SPLICE, True
        record.protocol, record.sni, record.proxy_version = ApplicationProtocol.TLS, "a.example.com", 2
        record.target, record.host = Endpoint("2001:db8::1", 9000), "b.example.com"
        record.secured = TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256", None, "robot")
        self.assertEqual(
            Listener(control).get("/api/v1/connections").json(),
            {
                "total": 1,
                "connections": [
                    {
                        "id": 1,
                        "state": "relaying",
                        "route": "web",
                        "listener": ":443",
                        "clientIp": "192.0.2.1",
                        "clientPort": 4000,
                        "peerIp": "198.51.100.9",
                        "proxyProtocol": 2,
                        "target": "[2001:db8::1]:9000",
                        "protocol": "tls",
                        "tls": True,
                        "sni": "a.example.com",
                        "host": "b.example.com",
                        "tlsVersion": "TLSv1.3",
                        "cipher": "TLS_AES_128_GCM_SHA256",
                        "alpn": None,
                        "clientCertificate": "robot",
                        "keepAlive": True,
                        "bytesReceived": 11,
                        "bytesSent": 22,
                        "openedAt": "2026-01-02T03:03:55.678Z",
                        "lastActivityAt": "2026-01-02T03:03:57.678Z",
                        "relay": "splice",
                    }
                ],
            },
        )

    def test_a_connection_without_a_route_yet_shows_null(self):
        control = FakeControl()
        control.connect(route=None)
        shown = Listener(control).get("/api/v1/connections").json()["connections"][0]
        self.assertEqual([shown[key] for key in ("route", "target", "relay", "sni", "host")], [None] * 5)

    def _ids(self, query):
        control = FakeControl()
        control.connect("192.0.2.1", "web")
        control.connect("192.0.2.2", "web")
        control.connect("2001:db8::1", "mail")
        answer = Listener(control).get("/api/v1/connections" + query).json()
        return [shown["id"] for shown in answer["connections"]], answer["total"]

    def test_filter_by_route(self):
        self.assertEqual(self._ids("?route=web"), ([1, 2], 2))

    def test_filter_by_client_in_any_spelling(self):
        self.assertEqual(self._ids("?clientIp=2001:DB8:0::1"), ([3], 1))
        self.assertEqual(self._ids("?clientIp=::ffff:192.0.2.2"), ([2], 1))

    def test_both_filters_hold_together(self):
        self.assertEqual(self._ids("?route=mail&clientIp=192.0.2.1"), ([], 0))

    def test_limit_cuts_the_list_and_not_the_total(self):
        self.assertEqual(self._ids("?limit=2"), ([1, 2], 3))
        self.assertEqual(self._ids("?limit=0"), ([], 3))

    def test_a_limit_or_an_address_that_is_none_is_refused(self):
        for query in ("limit=x", "limit=-1", "clientIp=nonsense", "limit=" + "9" * 5000):
            with self.subTest(query[:20]):
                self.assertEqual(Listener().get("/api/v1/connections?" + query).status, 400)

    def test_delete_ends_one_connection(self):
        control = FakeControl()
        control.connect()
        control.connect()
        answer = Listener(control).ask("DELETE", "/api/v1/connections/1")
        self.assertEqual((answer.status, list(control.registry.live)), (200, [2]))
        control.settle()
        self.assertEqual(control.counters.routes["web"].closed, {CloseReason.ADMIN: 1})

    def test_delete_of_none_is_404(self):
        for item in ("7", "x", "-1", "%31", "+1", "9" * 5000):
            with self.subTest(item):
                self.assertEqual(Listener().ask("DELETE", f"/api/v1/connections/{item}").status, 404)


class MetricsTests(SynchronousTestCase):
    def test_numbers_are_those_of_ended_and_live_connections(self):
        control = FakeControl()
        control.registry.close(control.connect(received=100, sent=1), CloseReason.NORMAL, 95.0)
        control.settle()
        control.connect(received=10, sent=2)
        control.counters.reject(RejectReason.NO_ROUTE)
        control.counters.proxy_header("2", "ok")
        shown = Listener(control).get("/api/v1/metrics").json()
        self.assertEqual(
            shown["connections"],
            {
                "active": 1,
                "total": 2,
                "byRoute": {"web": 1},
                "byIP": {"192.0.2.1": 1},
                "topIPs": [{"ip": "192.0.2.1", "connections": 1}],
            },
        )
        self.assertEqual(shown["totals"], {"bytesReceived": 110, "bytesSent": 3, "connections": 2})
        self.assertEqual((shown["closed"]["normal"], shown["closed"]["error"]), (1, 0))
        self.assertEqual((shown["rejected"]["no_route"], shown["rejected"]["ip_blocked"]), (1, 0))
        self.assertEqual(shown["proxyHeaders"]["2"], {"ok": 1, "invalid": 0, "missing": 0, "timeout": 0})
        self.assertEqual(shown["zombies"], {"full": 0, "half": 0, "stuck": 0})

    def test_what_waits_to_be_put_away_is_in_the_totals_and_in_the_queue(self):
        control = FakeControl()
        control.registry.close(control.connect(received=100), CloseReason.NORMAL, 95.0)
        shown = Listener(control).get("/api/v1/metrics").json()
        self.assertEqual(shown["cleanup"], {"queued": 1, "batches": 0, "cleaned": 0})
        self.assertEqual(shown["totals"]["bytesReceived"], 100)
        control.settle()
        shown = Listener(control).get("/api/v1/metrics").json()
        self.assertEqual(shown["cleanup"], {"queued": 0, "batches": 1, "cleaned": 1})
        self.assertEqual(shown["totals"]["bytesReceived"], 100)

    def test_percentiles_are_null_before_anything_has_ended_and_near_the_truth_after(self):
        control = FakeControl()
        none = {"p50": None, "p95": None, "p99": None}
        shown = Listener(control).get("/api/v1/metrics").json()["percentiles"]
        self.assertEqual(shown, {"durationSeconds": none, "bytes": none})
        control.registry.close(control.connect(at=90.0, received=600, sent=400), CloseReason.NORMAL, 95.0)
        control.settle()
        shown = Listener(control).get("/api/v1/metrics").json()["percentiles"]
        self.assertApproximates(shown["durationSeconds"]["p95"], 5.0, 0.05)
        self.assertApproximates(shown["bytes"]["p50"], 1000, 10)

    def test_a_long_scrape_pauses_and_is_whole(self):
        control = FakeControl()
        for number in range(5000):
            control.counters.route(f"route-{number}")
        listener = Listener(control)
        transport = listener.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(transport.value(), b"")
        listener.clock.pump([0] * 20)
        answer = parsed(transport.value())
        self.assertEqual(int(answer.headers["Content-Length"]), len(answer.body))
        self.assertEqual(answer.body.count(b"smartproxy_connections_total{"), 5000)

    def test_clients_are_bounded_and_the_busiest_are_kept(self):
        control = FakeControl()
        for number in range(150):
            control.connect(f"10.0.0.{number}")
        control.connect("10.0.0.149")
        shown = Listener(control).get("/api/v1/metrics").json()["connections"]
        self.assertEqual((len(shown["byIP"]), len(shown["topIPs"])), (100, 10))
        self.assertEqual(shown["topIPs"][0], {"ip": "10.0.0.149", "connections": 2})

    def test_prometheus_text_by_default_and_openmetrics_when_asked(self):
        text = Listener().get("/metrics")
        self.assertTrue(text.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        self.assertIn(b'smartproxy_connections_rejected_total{reason="no_route"} 0\n', text.body)
        openmetrics = Listener().get(
            "/metrics", "Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1"
        )
        self.assertTrue(openmetrics.headers["Content-Type"].startswith("application/openmetrics-text"))
        self.assertTrue(openmetrics.body.endswith(b"# EOF\n"))


class ThroughputTests(SynchronousTestCase):
    def setUp(self):
        """1000 bytes per second in, 500 out, for ten seconds."""
        self.control = FakeControl()
        record = self.control.connect("192.0.2.7")
        for _ in range(10):
            record.moved_in(1000, 0.0)
            record.moved_out(500, 0.0)
            self.control.clock.advance(1.0)
        self.listener = Listener(self.control)

    def test_metrics_tell_it_over_all_by_route_and_by_client(self):
        both = {"in": 1000.0, "out": 500.0}
        self.assertEqual(
            self.listener.get("/api/v1/metrics").json()["throughput"],
            {
                "instant": both,
                "recent": both,
                "average": both,
                "byRoute": {"web": both},
                "byIP": {"192.0.2.7": both},
            },
        )

    def test_the_windows_that_have_names_and_one_of_any_length(self):
        self.control.clock.advance(1.0)
        shown = self.listener.get("/api/v1/throughput").json()
        self.assertEqual(shown["instant"], {"in": 0.0, "out": 0.0})
        self.assertEqual(shown["recent"], {"in": 900.0, "out": 450.0})
        shown = self.listener.get("/api/v1/throughput?window=4").json()
        self.assertEqual(shown, {"window": 4.0, "in": 750.0, "out": 375.0})

    def test_history_has_a_rate_for_each_second(self):
        self.control.clock.advance(1.0)
        shown = self.listener.get("/api/v1/throughput/history?seconds=2").json()
        self.assertEqual(
            shown["samples"],
            [
                {"at": "2026-01-02T03:04:15.678Z", "in": 1000.0, "out": 500.0},
                {"at": "2026-01-02T03:04:16.678Z", "in": 0.0, "out": 0.0},
            ],
        )
        self.assertEqual(len(self.listener.get("/api/v1/throughput/history").json()["samples"]), 11)

    def test_a_window_that_is_no_time_is_refused(self):
        for written in ("x", "0", "-1", "nan", "inf", ""):
            with self.subTest(written):
                for path in ("throughput?window=", "throughput/history?seconds="):
                    self.assertEqual(self.listener.get(f"/api/v1/{path}{written}").status, 400)

    def test_only_the_busiest_clients_are_named(self):
        for number in range(150):
            self.control.connect(f"10.0.0.{number}", received=number)
        shown = self.listener.get("/api/v1/metrics").json()["throughput"]["byIP"]
        self.assertEqual((len(shown), next(iter(shown))), (100, "192.0.2.7"))
        self.assertNotIn("10.0.0.3", shown)


class RoutesTests(SynchronousTestCase):
    def test_a_route_is_shown_with_what_it_asks_and_has_carried(self):
        control = FakeControl()
        control.connect(received=5, sent=6)
        (shown,) = Listener(control).get("/api/v1/routes").json()["routes"]
        self.assertEqual(shown["match"]["ports"], [443, "8000-8010"])
        self.assertEqual(shown["match"]["domains"], ["*.example.com"])
        self.assertEqual(
            shown["action"],
            {
                "type": "forward",
                "targets": [
                    {"host": ["10.0.0.1"], "port": 9000, "weight": 1},
                    {"host": "callable", "port": "preserve", "weight": 2},
                ],
            },
        )
        self.assertEqual(shown["connections"], {"active": 1, "total": 1})
        self.assertEqual((shown["bytesReceived"], shown["bytesSent"]), (5, 6))

    def test_a_route_that_was_never_used_shows_zeros_and_makes_no_counter(self):
        control = FakeControl()
        (shown,) = Listener(control).get("/api/v1/routes").json()["routes"]
        self.assertEqual(shown["connections"], {"active": 0, "total": 0})
        self.assertEqual(control.counters.routes, {})

    def test_put_takes_a_list_or_an_object_with_one(self):
        for body in (b'[{"name": "a"}]', b'{"routes": [{"name": "a"}]}'):
            control = FakeControl()
            answer = Listener(control).ask("PUT", "/api/v1/routes", body=body)
            self.assertEqual((answer.status, control.asked), (200, [[{"name": "a"}]]))

    def test_put_of_anything_else_is_400_and_changes_nothing(self):
        for body in (b"{", b"3", b'{"routes": 3}', b"[3]", b"\xff", b'{"route": []}', b""):
            with self.subTest(body):
                control = FakeControl()
                answer = Listener(control).ask("PUT", "/api/v1/routes", body=body)
                self.assertEqual((answer.status, control.asked), (400, []))


class ReloadTests(SynchronousTestCase):
    def test_the_answer_waits_until_the_configuration_is_in_force(self):
        control = FakeControl()
        control.pending = Deferred()
        listener = Listener(control)
        transport = listener.send(b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(transport.value(), b"")
        control.pending.callback(None)
        self.assertIn(b"200 OK", transport.value())

    def test_every_problem_of_an_invalid_configuration_comes_back(self):
        control = FakeControl()
        control.problems = ["a.yaml:3: routes[0].name: is required", "a.yaml:9: nonsense"]
        answer = Listener(control).ask("POST", "/api/v1/reload")
        self.assertEqual((answer.status, answer.json()["problems"]), (422, control.problems))

    def test_a_client_that_leaves_does_not_stop_the_reload_and_gets_nothing(self):
        control = FakeControl()
        control.pending = Deferred()
        listener = Listener(control)
        transport = listener.send(b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
        listener.channel.connectionLost(Failure(ConnectionDone()))
        control.pending.callback(None)
        self.assertEqual(transport.value(), b"")
