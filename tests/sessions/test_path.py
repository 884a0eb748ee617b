"""The whole path of a connection, in memory: every phase, and every way in which it can end."""

from __future__ import annotations

from twisted.internet import error
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.downstream.connection import SILENT_FIN
from smartproxy.model.outcome import CloseReason, ConnectionState, RelayKind
from smartproxy.net.half_close import LINGER
from smartproxy.settings import Settings
from smartproxy.wire import proxy_v1, proxy_v2, tls_alert
from smartproxy.wire.tls_alert import Alert
from tests.sessions.all_phases import ALL_PHASES, DESTINATION, HEADER, HELLO, OUTER, SOURCE
from tests.sessions.memory_proxy import MemoryProxy, route


class UpperCase(Protocol):
    def dataReceived(self, data):
        self.transport.write(data.upper())


UPPER_CASE = Factory.forProtocol(UpperCase)


def raise_error(facts):
    raise ZeroDivisionError


class WholePathTests(SynchronousTestCase):
    def test_connection_passes_every_phase_and_is_counted_once(self):
        proxy = MemoryProxy(self, **ALL_PHASES | {"sendProxyProtocol": 2})
        client = proxy.client(OUTER)
        record = proxy.record
        self.assertEqual((record.state, record.client.host), (ConnectionState.ACCEPTED, OUTER))
        client.write(HEADER[:20])
        proxy.settle()
        client.write(HEADER[20:] + HELLO[:100])
        proxy.settle()
        self.assertEqual((record.state, tuple(record.client)), (ConnectionState.DETECTING, SOURCE))
        self.assertEqual(proxy.network.dials, [])
        client.write(HELLO[100:])
        proxy.settle()
        self.assertEqual(
            (record.state, record.route, record.sni), (ConnectionState.CONNECTING, "web", "a.example")
        )
        self.assertEqual(proxy.dialled(), "10.0.0.1:9000")
        backend = proxy.backend()
        self.assertEqual((record.state, str(record.target)), (ConnectionState.RELAYING, "10.0.0.1:9000"))
        self.assertEqual((record.relay, record.proxy_version), (RelayKind.TRANSPORT, 2))
        self.assertEqual(backend.received, proxy_v2.build(SOURCE, DESTINATION) + HELLO)
        backend.write(b"answer")
        proxy.settle()
        client.write(b"more")
        client.fin()
        proxy.settle()
        self.assertTrue(backend.ended)
        backend.write(b", late")
        backend.fin()
        proxy.settle()
        self.assertEqual((client.received, client.ended), (b"answer, late", True))
        proxy.assert_empty()
        self.assertEqual(proxy.closed(), {"normal": 1})
        self.assertEqual(proxy.service.metrics.totals(), (len(HELLO) + 4, 12, 1))
        self.assertEqual(proxy.rejected(), {})

    def test_server_may_send_first_where_no_detection_is_needed(self):
        proxy = MemoryProxy(self)
        client = proxy.client()
        backend = proxy.backend()
        backend.write(b"220 ready")
        proxy.settle()
        self.assertEqual(client.received, b"220 ready")

    def test_bytes_sent_while_dialling_are_bounded(self):
        proxy = MemoryProxy(self, maxPendingDataSize="100KiB")
        client = proxy.client()
        client.write(bytes(1_000_000))
        proxy.settle()
        self.assertGreater(client.waiting, 500_000)
        self.assertEqual(proxy.record.bytes_received, 0)
        backend = proxy.backend()
        self.assertEqual(len(backend.received), 1_000_000)
        self.assertEqual(proxy.record.bytes_received, 1_000_000)

    def test_keep_alive_is_that_of_the_route(self):
        proxy = MemoryProxy(self, keepAlive=True, routes=[route(keepAlive=False)])
        proxy.client()
        self.assertEqual(proxy.ends[0].getTcpKeepAlive(), False)
        self.assertFalse(proxy.record.keep_alive)

    def test_concurrent_connections_do_not_mix(self):
        proxy = MemoryProxy(self)
        pairs = []
        for number in range(5):
            client = proxy.client(f"192.0.2.{number + 1}")
            pairs.append((client, proxy.backend()))
        for number, (client, backend) in enumerate(pairs):
            client.write(b"%d" % number)
            proxy.settle()
            self.assertEqual(backend.received, b"%d" % number)
        self.assertEqual(proxy.service.registry.by_route, {"web": 5})

    def test_limit_per_ip_applies_to_the_announced_client(self):
        """All connections come from the proxy in front, whose address must not reach the limit."""
        proxy = MemoryProxy(self, proxyIPs=[OUTER], maxConnectionsPerIP=1)
        for ip in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
            client = proxy.client(OUTER)
            client.write(proxy_v1.build((ip, 1), DESTINATION))
            proxy.settle()
        self.assertEqual(proxy.rejected(), {"ip_limit": 1})
        self.assertEqual(proxy.service.registry.by_ip, {"192.0.2.1": 1, "192.0.2.2": 1})


class EndTests(SynchronousTestCase):
    """Whichever peer disconnects, in whichever phase: nothing is left, and the connection is counted once."""

    def phases(self):
        """A client in each phase, with its backend where there is one."""
        for name, said, dialled in (
            ("header", b"", False),
            ("within the header", HEADER[:10], False),
            ("first bytes", HEADER, False),
            ("within the hello", HEADER + HELLO[:50], False),
            ("connecting", HEADER + HELLO, False),
            ("relaying", HEADER + HELLO, True),
        ):
            proxy = MemoryProxy(self, **ALL_PHASES)
            client = proxy.client(OUTER)
            client.write(said)
            proxy.settle()
            yield name, proxy, client, proxy.backend() if dialled else None

    def test_client_reset_in_each_phase(self):
        for name, proxy, client, backend in self.phases():
            with self.subTest(name):
                client.rst()
                proxy.settle()
                proxy.assert_empty()
                label = "web" if name in ("connecting", "relaying") else ""
                self.assertEqual(proxy.closed(label), {"client_reset": 1})
                self.assertEqual(proxy.rejected(), {})
                if name == "connecting":
                    self.assertTrue(proxy.network.dials[-1].stopped)
                if backend is not None:
                    self.assertTrue(backend.was_reset)

    def test_client_fin_in_each_phase(self):
        for name, proxy, client, backend in self.phases():
            with self.subTest(name):
                client.fin()
                proxy.settle()
                proxy.pass_time(SILENT_FIN + 0.2)
                if name == "relaying":
                    self.assertTrue(backend.ended)
                    backend.fin()
                elif name == "connecting":
                    self.assertFalse(proxy.network.dials[-1].stopped)
                    late = proxy.backend()
                    self.assertEqual((late.received, late.ended), (HELLO, True))
                    late.fin()
                proxy.settle()
                proxy.pass_time(LINGER + 0.2)
                proxy.assert_empty()
                self.assertEqual(sum(proxy.rejected().values()) + sum(self.all_closed(proxy).values()), 1)

    def all_closed(self, proxy):
        return {name: sum(tally.closed.values()) for name, tally in proxy.service.counters.routes.items()}

    def test_ended_by_the_administrator_in_each_phase(self):
        for name, proxy, client, backend in self.phases():
            with self.subTest(name):
                number = proxy.record.id
                self.assertTrue(proxy.service.end_connection(number))
                proxy.settle()
                self.assertFalse(proxy.service.end_connection(number))
                proxy.assert_empty()
                self.assertTrue(client.was_reset)
                label = "web" if name in ("connecting", "relaying") else ""
                self.assertEqual(proxy.closed(label), {"admin": 1})
                if backend is not None:
                    self.assertTrue(backend.was_reset)

    def test_relaying_connection_is_ended_after_the_grace_period(self):
        for name, proxy, client, _ in self.phases():
            with self.subTest(name):
                if name != "relaying":
                    continue
                stopped = proxy.service.stopService()
                proxy.settle()
                self.assertNoResult(stopped)
                proxy.pass_time(29.8)
                self.assertNoResult(stopped)
                proxy.pass_time(0.4)
                self.successResultOf(stopped)
                self.assertTrue(client.was_reset)
                self.assertEqual(proxy.closed(), {"shutdown": 1})
                proxy.assert_empty()

    def test_timeout_in_each_phase(self):
        for name, proxy, client, backend in self.phases():
            with self.subTest(name):
                proxy.pass_time(70)
                if backend is None and name != "connecting":
                    proxy.assert_empty()
                    expected = {
                        "header": {"initial_data_timeout": 1},
                        "within the header": {"proxy_header_timeout": 1},
                        "first bytes": {"initial_data_timeout": 1},
                        "within the hello": {"initial_data_timeout": 1},
                    }
                    self.assertEqual(proxy.rejected(), expected[name])
                    self.assertTrue(client.ended)

    def test_failed_dial_is_refused_with_its_reason(self):
        for exception, reason in (
            (error.ConnectionRefusedError(), "upstream_refused"),
            (error.TimeoutError(), "upstream_timeout"),
            (error.NoRouteError(), "upstream_unreachable"),
        ):
            proxy = MemoryProxy(self, **ALL_PHASES)
            client = proxy.client()
            client.write(HELLO)
            proxy.settle()
            proxy.backend_fails(exception)
            self.assertEqual(client.received, tls_alert.build(Alert.INTERNAL_ERROR))
            client.fin()
            proxy.settle()
            proxy.assert_empty()
            self.assertEqual((proxy.rejected(), proxy.closed()), ({reason: 1}, {}))

    def test_backend_fin_and_reset_while_relaying(self):
        for end, reason in (("rst", "upstream_reset"), ("close", "normal")):
            proxy = MemoryProxy(self, **ALL_PHASES)
            client = proxy.client()
            client.write(HELLO)
            proxy.settle()
            backend = proxy.backend()
            getattr(backend, end)()
            proxy.settle()
            self.assertEqual((client.was_reset, client.ended), (end == "rst", end == "close"))
            client.close()
            proxy.settle()
            proxy.assert_empty()
            self.assertEqual(proxy.closed(), {reason: 1})

    def test_next_target_receives_the_buffered_bytes(self):
        proxy = MemoryProxy(self, routes=[route(hosts=["10.0.0.1", "10.0.0.2"])])
        client = proxy.client()
        client.write(b"ask")
        proxy.settle()
        proxy.backend_fails()
        self.assertEqual(proxy.dialled(), "10.0.0.2:9000")
        backend = proxy.backend()
        self.assertEqual(backend.received, b"ask")
        self.assertEqual(str(proxy.record.target), "10.0.0.2:9000")
        self.assertEqual(proxy.rejected(), {})

    def test_ten_thousand_refused_dials_leave_nothing(self):
        """A backend that is down must not make the proxy leak records, descriptors or timers, nor end it."""
        proxy = MemoryProxy(self)
        for number in range(10_000):
            proxy.client(f"10.1.{number >> 8}.{number & 255}")
            proxy.backend_fails()
            proxy.ends.clear()
        proxy.assert_empty()
        self.assertEqual(proxy.rejected(), {"upstream_refused": 10_000})
        self.assertEqual(proxy.service.registry.opened, 10_000)
        proxy.pass_time(LINGER + 0.2)
        self.assertEqual(len(proxy.service._runtime.clocks.deadlines), 0)

    def test_exception_of_a_callable_is_logged_and_counted(self):
        target = {"host": raise_error, "port": 9000}
        said = Settings(routes=[route(action={"type": "forward", "targets": [target]})])
        proxy = MemoryProxy(self, said)
        client = proxy.client()
        proxy.assert_empty()
        self.assertTrue(client.was_reset)
        self.assertEqual(proxy.closed(), {"error": 1})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class HandlerTests(SynchronousTestCase):
    def start_proxy(self, handler):
        action = {"type": "handler", "handler": f"tests.sessions.test_path:{handler}"}
        return MemoryProxy(self, routes=[route(action=action)])

    def test_protocol_factory_serves_a_connection(self):
        proxy = self.start_proxy("UPPER_CASE")
        client = proxy.client()
        client.write(b"hello")
        proxy.settle()
        self.assertEqual((client.received, proxy.network.dials), (b"HELLO", []))
        self.assertEqual((proxy.record.bytes_received, proxy.record.bytes_sent), (5, 5))
        proxy.service.end_connection(proxy.record.id)
        proxy.settle()
        proxy.assert_empty()
        self.assertEqual(proxy.closed(), {str(CloseReason.ADMIN): 1})
