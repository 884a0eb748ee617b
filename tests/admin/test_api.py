"""The endpoints, requested over HTTP."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.admin import api
from smartproxy.flow.slices import Slices
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import ApplicationProtocol, TlsFacts
from smartproxy.model.outcome import CloseReason, ConnectionState, RejectReason, RelayKind
from smartproxy.proxy.local_control import LocalControl
from smartproxy.wire.http_head import RequestHead
from smartproxy.wire.proxy_header import ProxyHeader, Tlv
from tests.admin.doubles import FakeControl, Listener, parsed


class HealthTests(SynchronousTestCase):
    def test_healthy_and_ready_while_accepting(self):
        listener = Listener()
        self.assertEqual(listener.get("/healthz").status, 200)
        self.assertEqual(listener.get("/readyz").status, 200)

    def test_proxy_whose_workers_do_not_serve_yet_is_healthy_but_not_ready(self):
        listener = Listener()
        self.patch(LocalControl, "serving", False)
        answer = listener.get("/readyz")
        self.assertEqual((answer.status, answer.json()), (503, {"status": "starting"}))
        self.assertEqual(listener.get("/healthz").status, 200)

    def test_draining_proxy_is_healthy_but_not_ready(self):
        listener = Listener()
        answer = listener.ask("POST", "/api/v1/drain")
        self.assertEqual((answer.status, answer.json()), (202, {"status": "draining"}))
        self.assertEqual(listener.get("/readyz").status, 503)
        self.assertEqual(listener.get("/healthz").status, 200)

    def test_status_comes_from_the_control(self):
        self.assertEqual(Listener().get("/api/v1/status").json(), {"version": "1.2.3", "draining": False})


class ConnectionsTests(SynchronousTestCase):
    def test_connection_has_every_documented_key(self):
        control = FakeControl()
        record = control.connect(at=90.0, received=11, sent=22)
        record.state, record.relay, record.keep_alive = ConnectionState.RELAYING, RelayKind.SPLICE, True
        record.protocol, record.sni = ApplicationProtocol.TLS, "a.example.com"
        record.header = ProxyHeader(2, tlvs=(Tlv(2, b"outer.example"),))
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
                        "proxyTlvs": {"authority": "outer.example"},
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
                        "requests": None,
                        "request": None,
                    }
                ],
            },
        )

    def test_a_connection_that_speaks_http_shows_its_request(self):
        control = FakeControl()
        record = control.connect(at=90.0)
        record.state, record.is_http, record.exchanges = ConnectionState.RELAYING, True, 3

        def shown():
            (connection,) = Listener(control).get("/api/v1/connections").json()["connections"]
            return [connection[key] for key in ("state", "requests", "request")]

        self.assertEqual(shown(), ["idle", 3, None])
        head = RequestHead("GET", "/a?b", "/a", "a.test")
        route = SimpleNamespace(name="api")
        record.exchange = SimpleNamespace(head=head, routed=SimpleNamespace(route=route))
        self.assertEqual(
            shown(), ["active", 3, {"method": "GET", "host": "a.test", "path": "/a", "route": "api"}]
        )
        record.exchange, record.is_http = None, False
        self.assertEqual(shown(), ["relaying", 3, None])

    def test_unknown_values_of_a_connection_are_null(self):
        control = FakeControl()
        control.connect(route=None)
        shown = Listener(control).get("/api/v1/connections").json()["connections"][0]
        unknown = ("route", "target", "relay", "sni", "host", "proxyTlvs")
        self.assertEqual([shown[key] for key in unknown], [None] * 6)

    def _ids(self, query):
        control = FakeControl()
        control.connect("192.0.2.1", "web")
        control.connect("192.0.2.2", "web")
        control.connect("2001:db8::1", "mail")
        answer = Listener(control).get("/api/v1/connections" + query).json()
        return [shown["id"] for shown in answer["connections"]], answer["total"]

    def test_filter_by_route(self):
        self.assertEqual(self._ids("?route=web"), ([1, 2], 2))

    def test_filter_by_client_accepts_any_spelling(self):
        self.assertEqual(self._ids("?clientIp=2001:DB8:0::1"), ([3], 1))
        self.assertEqual(self._ids("?clientIp=::ffff:192.0.2.2"), ([2], 1))

    def test_filters_are_combined_with_and(self):
        self.assertEqual(self._ids("?route=mail&clientIp=192.0.2.1"), ([], 0))

    def test_limit_truncates_the_list_but_not_the_total(self):
        self.assertEqual(self._ids("?limit=2"), ([1, 2], 3))
        self.assertEqual(self._ids("?limit=0"), ([], 3))

    def test_invalid_limit_or_address_is_400(self):
        for query in ("limit=x", "limit=-1", "clientIp=nonsense", "limit=" + "9" * 5000):
            with self.subTest(query[:20]):
                self.assertEqual(Listener().get("/api/v1/connections?" + query).status, 400)

    def test_delete_closes_one_connection(self):
        control = FakeControl()
        control.connect()
        control.connect()
        answer = Listener(control).ask("DELETE", "/api/v1/connections/1")
        self.assertEqual((answer.status, list(control.registry.live)), (200, [2]))
        control.settle()
        self.assertEqual(control.counters.routes["web"].closed, {CloseReason.ADMIN: 1})

    def test_delete_of_an_unknown_connection_is_404(self):
        for item in ("7", "x", "-1", "%31", "+1", "9" * 5000):
            with self.subTest(item):
                self.assertEqual(Listener().ask("DELETE", f"/api/v1/connections/{item}").status, 404)


class MetricsTests(SynchronousTestCase):
    def test_metrics_count_live_and_closed_connections(self):
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

    def test_connection_waiting_for_clean_up_is_in_the_totals(self):
        control = FakeControl()
        control.registry.close(control.connect(received=100), CloseReason.NORMAL, 95.0)
        shown = Listener(control).get("/api/v1/metrics").json()
        self.assertEqual(shown["cleanup"], {"queued": 1, "batches": 0, "cleaned": 0})
        self.assertEqual(shown["totals"]["bytesReceived"], 100)
        control.settle()
        shown = Listener(control).get("/api/v1/metrics").json()
        self.assertEqual(shown["cleanup"], {"queued": 0, "batches": 1, "cleaned": 1})
        self.assertEqual(shown["totals"]["bytesReceived"], 100)

    def test_percentiles_are_null_before_the_first_close(self):
        control = FakeControl()
        none = {"p50": None, "p95": None, "p99": None}
        shown = Listener(control).get("/api/v1/metrics").json()["percentiles"]
        self.assertEqual(shown, {"durationSeconds": none, "bytes": none})
        control.registry.close(control.connect(at=90.0, received=600, sent=400), CloseReason.NORMAL, 95.0)
        control.settle()
        shown = Listener(control).get("/api/v1/metrics").json()["percentiles"]
        self.assertApproximates(shown["durationSeconds"]["p95"], 5.0, 0.05)
        self.assertApproximates(shown["bytes"]["p50"], 1000, 10)

    def test_long_scrape_yields_to_the_event_loop_and_is_complete(self):
        self.patch(api, "Slices", partial(Slices, seconds=0.0))
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

    def test_only_the_clients_with_most_connections_are_listed(self):
        control = FakeControl()
        for number in range(150):
            control.connect(f"10.0.0.{number}")
        control.connect("10.0.0.149")
        shown = Listener(control).get("/api/v1/metrics").json()["connections"]
        self.assertEqual((len(shown["byIP"]), len(shown["topIPs"])), (100, 10))
        self.assertEqual(shown["topIPs"][0], {"ip": "10.0.0.149", "connections": 2})

    def test_metrics_are_text_or_openmetrics_by_accept(self):
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
        """A connection that receives 1000 bytes per second and sends 500, for ten seconds."""
        self.control = FakeControl()
        record = self.control.connect("192.0.2.7")
        for _ in range(10):
            record.moved_in(1000, 0.0)
            record.moved_out(500, 0.0)
            self.control.clock.advance(1.0)
        self.listener = Listener(self.control)

    def test_throughput_is_total_by_route_and_by_client(self):
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

    def test_throughput_of_named_windows_and_of_any_window(self):
        self.control.clock.advance(1.0)
        shown = self.listener.get("/api/v1/throughput").json()
        self.assertEqual(shown["instant"], {"in": 0.0, "out": 0.0})
        self.assertEqual(shown["recent"], {"in": 900.0, "out": 450.0})
        shown = self.listener.get("/api/v1/throughput?window=4").json()
        self.assertEqual(shown, {"window": 4.0, "in": 750.0, "out": 375.0})

    def test_history_has_a_rate_per_sample(self):
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

    def test_invalid_window_is_400(self):
        for written in ("x", "0", "-1", "nan", "inf", ""):
            with self.subTest(written):
                for path in ("throughput?window=", "throughput/history?seconds="):
                    self.assertEqual(self.listener.get(f"/api/v1/{path}{written}").status, 400)

    def test_clients_with_most_connections_have_a_rate_however_low(self):
        """Else they would look idle in ``smartproxy top``. Of others, only those with the highest rates are listed."""
        for number in range(150):
            self.control.connect(f"10.0.0.{number}", received=number)
        self.control.connect("10.0.0.30")
        shown = self.listener.get("/api/v1/metrics").json()
        self.assertEqual(shown["connections"]["topIPs"][0], {"ip": "10.0.0.30", "connections": 2})
        rates = shown["throughput"]["byIP"]
        self.assertEqual((len(rates), next(iter(rates))), (109, "192.0.2.7"))
        self.assertEqual(rates["10.0.0.30"], {"in": 30.0, "out": 0.0})
        self.assertNotIn("10.0.0.31", rates)


class RoutesTests(SynchronousTestCase):
    def test_route_has_its_match_action_and_counters(self):
        control = FakeControl()
        control.connect(received=5, sent=6)
        (shown,) = Listener(control).get("/api/v1/routes").json()["routes"]
        self.assertEqual(shown["match"]["ports"], [443, "8000-8010"])
        self.assertEqual(shown["match"]["domains"], ["*.example.com"])
        self.assertEqual(
            [(one["host"], one["port"], one["weight"]) for one in shown["action"]["targets"]],
            [(["10.0.0.1"], 9000, 1), ("callable", "preserve", 2)],
        )
        self.assertEqual(shown["connections"], {"active": 1, "total": 1})
        self.assertEqual((shown["bytesReceived"], shown["bytesSent"]), (5, 6))

    def test_unused_route_has_zeros_and_creates_no_counters(self):
        control = FakeControl()
        (shown,) = Listener(control).get("/api/v1/routes").json()["routes"]
        self.assertEqual(shown["connections"], {"active": 0, "total": 0})
        self.assertEqual(control.counters.routes, {})

    def test_put_routes_takes_a_list_or_an_object(self):
        for body in (b'[{"name": "a"}]', b'{"routes": [{"name": "a"}]}'):
            control = FakeControl()
            answer = Listener(control).ask("PUT", "/api/v1/routes", body=body)
            self.assertEqual((answer.status, control.changes), (200, [[{"name": "a"}]]))

    def test_put_routes_refuses_what_it_would_not_put_in_force(self):
        """A whole configuration file, for instance: its other keys would be dropped without a word."""
        control = FakeControl()
        body = b'{"routes": [{"name": "a"}], "defaults": {}, "x-note": 1, "acme": {}}'
        answer = Listener(control).ask("PUT", "/api/v1/routes", body=body)
        self.assertEqual((answer.status, control.changes), (422, []))
        self.assertEqual(
            answer.json()["problems"],
            [f"{key}: unknown key; only the routes are replaced" for key in ("defaults", "acme")],
        )

    def test_put_routes_ignores_keys_that_begin_with_x(self):
        control = FakeControl()
        answer = Listener(control).ask("PUT", "/api/v1/routes", body=b'{"routes": [], "x-note": 1}')
        self.assertEqual((answer.status, control.changes), (200, [[]]))

    def test_put_of_another_body_is_400_and_changes_nothing(self):
        for body in (b"{", b"3", b'{"routes": 3}', b"[3]", b"\xff", b'{"route": []}', b""):
            with self.subTest(body):
                control = FakeControl()
                answer = Listener(control).ask("PUT", "/api/v1/routes", body=body)
                self.assertEqual((answer.status, control.changes), (400, []))


class ReloadTests(SynchronousTestCase):
    def test_reload_replies_when_the_configuration_is_in_force(self):
        control = FakeControl()
        control.pending = Deferred()
        listener = Listener(control)
        transport = listener.send(b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(transport.value(), b"")
        control.pending.callback(None)
        self.assertIn(b"200 OK", transport.value())

    def test_invalid_configuration_is_422_with_every_problem(self):
        control = FakeControl()
        control.problems = ["a.yaml:3: routes[0].name: is required", "a.yaml:9: nonsense"]
        answer = Listener(control).ask("POST", "/api/v1/reload")
        self.assertEqual((answer.status, answer.json()["problems"]), (422, control.problems))

    def test_what_waits_for_a_restart_is_in_the_reply(self):
        control = FakeControl()
        self.assertEqual(Listener(control).ask("POST", "/api/v1/reload").json()["waitingForRestart"], [])
        control.waiting = ["admin"]
        for method, path in (("POST", "/api/v1/reload"), ("PUT", "/api/v1/routes")):
            answer = Listener(control).ask(method, path, body=b"[]")
            self.assertEqual((answer.status, answer.json()["waitingForRestart"]), (200, ["admin"]))

    def test_a_port_that_cannot_be_bound_is_409_with_its_address(self):
        for method, path in (("POST", "/api/v1/reload"), ("PUT", "/api/v1/routes")):
            control = FakeControl()
            control.unbound = CannotListenError("::1", 443, OSError(98, "Address already in use"))
            answer = Listener(control).ask(method, path, body=b"[]")
            self.assertEqual(answer.status, 409)
            self.assertEqual(
                answer.json(), {"error": "cannot listen on [::1]:443: [Errno 98] Address already in use"}
            )

    def test_client_disconnect_does_not_cancel_a_reload(self):
        control = FakeControl()
        control.pending = Deferred()
        listener = Listener(control)
        transport = listener.send(b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
        listener.channel.connectionLost(Failure(ConnectionDone()))
        control.pending.callback(None)
        self.assertEqual(transport.value(), b"")
