"""The whole path of a connection, in memory: every phase, and every way in which it can end."""

from __future__ import annotations

from twisted.internet import error
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.downstream.connection import SILENT_FIN
from smartproxy.model.outcome import CloseReason, ConnectionState, RelayKind
from smartproxy.net.half_close import LINGER
from smartproxy.wire import client_hello, proxy_v1, proxy_v2, tls_alert
from smartproxy.wire.tls_alert import Alert
from tests.sessions.house import House, route

OUTER = "198.51.100.9"
SOURCE, DESTINATION = ("192.0.2.77", 4000), ("203.0.113.77", 443)
HEADER = proxy_v2.build(SOURCE, DESTINATION)
HELLO = client_hello.build("a.example")
REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"

#: A configuration with which every phase waits: for a PROXY header, for first bytes, and for the backend.
ALL_PHASES = {
    "proxyIPs": [OUTER],
    "proxyHeaderTimeout": "5s",
    "initialDataTimeout": "60s",
    "routes": [route(match={"domains": ["a.example"]})],
}


class UpperCase(Protocol):
    def dataReceived(self, data):
        self.transport.write(data.upper())


UPPER_CASE = Factory.forProtocol(UpperCase)


def raise_error(facts):
    raise ZeroDivisionError


class WholePathTests(SynchronousTestCase):
    def test_connection_passes_every_phase_and_is_counted_once(self):
        house = House(self, **ALL_PHASES | {"sendProxyProtocol": 2})
        client = house.client(OUTER)
        record = house.record
        self.assertEqual((record.state, record.client.host), (ConnectionState.ACCEPTED, OUTER))
        client.write(HEADER[:20])
        house.settle()
        client.write(HEADER[20:] + HELLO[:100])
        house.settle()
        self.assertEqual((record.state, tuple(record.client)), (ConnectionState.DETECTING, SOURCE))
        self.assertEqual(house.network.dials, [])
        client.write(HELLO[100:])
        house.settle()
        self.assertEqual(
            (record.state, record.route, record.sni), (ConnectionState.CONNECTING, "web", "a.example")
        )
        self.assertEqual(house.dialled(), "10.0.0.1:9000")
        backend = house.backend()
        self.assertEqual((record.state, str(record.target)), (ConnectionState.RELAYING, "10.0.0.1:9000"))
        self.assertEqual((record.relay, record.proxy_version), (RelayKind.TRANSPORT, 2))
        self.assertEqual(backend.received, proxy_v2.build(SOURCE, DESTINATION) + HELLO)
        backend.write(b"answer")
        house.settle()
        client.write(b"more")
        client.fin()
        house.settle()
        self.assertTrue(backend.ended)
        backend.write(b", late")
        backend.fin()
        house.settle()
        self.assertEqual((client.received, client.ended), (b"answer, late", True))
        house.assert_empty()
        self.assertEqual(house.closed(), {"normal": 1})
        self.assertEqual(house.proxy.metrics.totals(), (len(HELLO) + 4, 12, 1))
        self.assertEqual(house.rejected(), {})

    def test_server_may_send_first_where_no_detection_is_needed(self):
        house = House(self)
        client = house.client()
        backend = house.backend()
        backend.write(b"220 ready")
        house.settle()
        self.assertEqual(client.received, b"220 ready")

    def test_bytes_sent_while_dialling_are_bounded(self):
        house = House(self, maxPendingDataSize="100KiB")
        client = house.client()
        client.write(bytes(1_000_000))
        house.settle()
        self.assertGreater(client.waiting, 500_000)
        self.assertEqual(house.record.bytes_received, 0)
        backend = house.backend()
        self.assertEqual(len(backend.received), 1_000_000)
        self.assertEqual(house.record.bytes_received, 1_000_000)

    def test_keep_alive_is_that_of_the_route(self):
        house = House(self, keepAlive=True, routes=[route(keepAlive=False)])
        house.client()
        self.assertEqual(house.ends[0].getTcpKeepAlive(), False)
        self.assertFalse(house.record.keep_alive)

    def test_concurrent_connections_do_not_mix(self):
        house = House(self)
        pairs = []
        for number in range(5):
            client = house.client(f"192.0.2.{number + 1}")
            pairs.append((client, house.backend()))
        for number, (client, backend) in enumerate(pairs):
            client.write(b"%d" % number)
            house.settle()
            self.assertEqual(backend.received, b"%d" % number)
        self.assertEqual(house.proxy.registry.by_route, {"web": 5})

    def test_limit_per_ip_applies_to_the_announced_client(self):
        """All connections come from the proxy in front, whose address must not reach the limit."""
        house = House(self, proxyIPs=[OUTER], maxConnectionsPerIP=1)
        for ip in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
            client = house.client(OUTER)
            client.write(proxy_v1.build((ip, 1), DESTINATION))
            house.settle()
        self.assertEqual(house.rejected(), {"ip_limit": 1})
        self.assertEqual(house.proxy.registry.by_ip, {"192.0.2.1": 1, "192.0.2.2": 1})


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
            house = House(self, **ALL_PHASES)
            client = house.client(OUTER)
            client.write(said)
            house.settle()
            yield name, house, client, house.backend() if dialled else None

    def test_client_reset_in_each_phase(self):
        for name, house, client, backend in self.phases():
            with self.subTest(name):
                client.rst()
                house.settle()
                house.assert_empty()
                label = "web" if name in ("connecting", "relaying") else ""
                self.assertEqual(house.closed(label), {"client_reset": 1})
                self.assertEqual(house.rejected(), {})
                if name == "connecting":
                    self.assertTrue(house.network.dials[-1].stopped)
                if backend is not None:
                    self.assertTrue(backend.was_reset)

    def test_client_fin_in_each_phase(self):
        for name, house, client, backend in self.phases():
            with self.subTest(name):
                client.fin()
                house.settle()
                house.pass_time(SILENT_FIN + 0.2)
                if name == "relaying":
                    self.assertTrue(backend.ended)
                    backend.fin()
                elif name == "connecting":
                    self.assertFalse(house.network.dials[-1].stopped)
                    late = house.backend()
                    self.assertEqual((late.received, late.ended), (HELLO, True))
                    late.fin()
                house.settle()
                house.pass_time(LINGER + 0.2)
                house.assert_empty()
                self.assertEqual(sum(house.rejected().values()) + sum(self.all_closed(house).values()), 1)

    def all_closed(self, house):
        return {name: sum(tally.closed.values()) for name, tally in house.proxy.counters.routes.items()}

    def test_ended_by_the_administrator_in_each_phase(self):
        for name, house, client, backend in self.phases():
            with self.subTest(name):
                number = house.record.id
                self.assertTrue(house.proxy.end_connection(number))
                house.settle()
                self.assertFalse(house.proxy.end_connection(number))
                house.assert_empty()
                self.assertTrue(client.was_reset)
                label = "web" if name in ("connecting", "relaying") else ""
                self.assertEqual(house.closed(label), {"admin": 1})
                if backend is not None:
                    self.assertTrue(backend.was_reset)

    def test_relaying_connection_is_ended_after_the_grace_period(self):
        for name, house, client, _ in self.phases():
            with self.subTest(name):
                if name != "relaying":
                    continue
                stopped = house.proxy.stopService()
                house.settle()
                self.assertNoResult(stopped)
                house.pass_time(29.8)
                self.assertNoResult(stopped)
                house.pass_time(0.4)
                self.successResultOf(stopped)
                self.assertTrue(client.was_reset)
                self.assertEqual(house.closed(), {"shutdown": 1})
                house.assert_empty()

    def test_timeout_in_each_phase(self):
        for name, house, client, backend in self.phases():
            with self.subTest(name):
                house.pass_time(70)
                if backend is None and name != "connecting":
                    house.assert_empty()
                    expected = {
                        "header": {"initial_data_timeout": 1},
                        "within the header": {"proxy_header_timeout": 1},
                        "first bytes": {"initial_data_timeout": 1},
                        "within the hello": {"initial_data_timeout": 1},
                    }
                    self.assertEqual(house.rejected(), expected[name])
                    self.assertTrue(client.ended)

    def test_failed_dial_is_refused_with_its_reason(self):
        for exception, reason in (
            (error.ConnectionRefusedError(), "upstream_refused"),
            (error.TimeoutError(), "upstream_timeout"),
            (error.NoRouteError(), "upstream_unreachable"),
        ):
            house = House(self, **ALL_PHASES)
            client = house.client()
            client.write(HELLO)
            house.settle()
            house.backend_fails(exception)
            self.assertEqual(client.received, tls_alert.build(Alert.INTERNAL_ERROR))
            client.fin()
            house.settle()
            house.assert_empty()
            self.assertEqual((house.rejected(), house.closed()), ({reason: 1}, {}))

    def test_backend_fin_and_reset_while_relaying(self):
        for end, reason in (("rst", "upstream_reset"), ("close", "normal")):
            house = House(self, **ALL_PHASES)
            client = house.client()
            client.write(HELLO)
            house.settle()
            backend = house.backend()
            getattr(backend, end)()
            house.settle()
            self.assertEqual((client.was_reset, client.ended), (end == "rst", end == "close"))
            client.close()
            house.settle()
            house.assert_empty()
            self.assertEqual(house.closed(), {reason: 1})

    def test_next_target_receives_the_buffered_bytes(self):
        house = House(self, routes=[route(hosts=["10.0.0.1", "10.0.0.2"])])
        client = house.client()
        client.write(b"ask")
        house.settle()
        house.backend_fails()
        self.assertEqual(house.dialled(), "10.0.0.2:9000")
        backend = house.backend()
        self.assertEqual(backend.received, b"ask")
        self.assertEqual(str(house.record.target), "10.0.0.2:9000")
        self.assertEqual(house.rejected(), {})

    def test_ten_thousand_refused_dials_leave_nothing(self):
        """A backend that is down must not make the proxy leak records, descriptors or timers, nor end it."""
        house = House(self)
        for number in range(10_000):
            house.client(f"10.1.{number >> 8}.{number & 255}")
            house.backend_fails()
            house.ends.clear()
        house.assert_empty()
        self.assertEqual(house.rejected(), {"upstream_refused": 10_000})
        self.assertEqual(house.proxy.registry.opened, 10_000)
        house.pass_time(LINGER + 0.2)
        self.assertEqual(len(house.proxy._runtime.clocks.deadlines), 0)

    def test_exception_of_a_callable_is_logged_and_counted(self):
        target = {"host": "10.0.0.1", "port": 9000}
        house = House(self, routes=[route(action={"type": "forward", "targets": [target]})])
        plan = house.proxy.plan.routes[0].targets[0]
        object.__setattr__(plan, "hosts", raise_error)
        client = house.client()
        house.assert_empty()
        self.assertTrue(client.was_reset)
        self.assertEqual(house.closed(), {"error": 1})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class HandlerTests(SynchronousTestCase):
    def house(self, handler):
        action = {"type": "handler", "handler": f"tests.sessions.test_path:{handler}"}
        return House(self, routes=[route(action=action)])

    def test_protocol_factory_serves_a_connection(self):
        house = self.house("UPPER_CASE")
        client = house.client()
        client.write(b"hello")
        house.settle()
        self.assertEqual((client.received, house.network.dials), (b"HELLO", []))
        self.assertEqual((house.record.bytes_received, house.record.bytes_sent), (5, 5))
        house.proxy.end_connection(house.record.id)
        house.settle()
        house.assert_empty()
        self.assertEqual(house.closed(), {str(CloseReason.ADMIN): 1})
