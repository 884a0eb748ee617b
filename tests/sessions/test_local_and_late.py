"""Trusted peers: their own health checks (LOCAL), and a header that comes after its time."""

from __future__ import annotations

from smartproxy import Route
from smartproxy.flow.deadline import TICK
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.serving.ready import echo
from smartproxy.wire import client_hello, proxy_v1, proxy_v2
from tests.on_network import HOST, NetworkTestCase, a_route, served

BALANCER = "198.51.100.7"
LOCAL = proxy_v2.build(None, None, local=True)
V1 = proxy_v1.build(("192.0.2.1", 4000), ("203.0.113.5", 80))
V2 = proxy_v2.build(("192.0.2.1", 4000), ("203.0.113.5", 80))
REQUEST = b"GET /api HTTP/1.1\r\nHost: a.example\r\n\r\n"


class TrustedCase(NetworkTestCase):
    def start(self, *routes, **more):
        return super().start(*routes, proxy_ips=[BALANCER], **more)

    def come(self, said=b"", port=80):
        return self.connect(port, said, client=(BALANCER, 50000))

    def rejected(self):
        return {reason: count for reason, count in self.proxy.counters.rejected.items() if count}


class LocalTests(TrustedCase):
    """A health check is no client: what limits clients does not apply to it, nor does it count for others."""

    def assert_served(self, count, **more):
        for _ in range(count):
            check = self.come(LOCAL + b"check")
            self.assertEqual(self.backend.connections[-1].received, b"check")
            self.assertFalse(check.ended)
        self.assertEqual(self.rejected(), {})

    def test_limit_per_address(self):
        self.start(max_connections_per_ip=1)
        self.assert_served(3)
        self.assertEqual(self.proxy.registry.by_ip, {})

    def test_rate_limit(self):
        self.start(connection_rate_limit_per_minute=1)
        self.assert_served(3)

    def test_clients_of_the_same_address_keep_their_limits(self):
        """A client that connects from the balancer's host without being announced."""
        self.start(max_connections_per_ip=1, connection_rate_limit_per_minute=2)
        self.assert_served(3)
        self.come(b"client")
        self.assertEqual((self.backend.connections[-1].received, self.rejected()), (b"client", {}))
        self.come(b"client")
        self.assertEqual(self.rejected(), {RejectReason.IP_LIMIT: 1})
        self.come(b"client")
        self.assertEqual(self.rejected(), {RejectReason.IP_LIMIT: 1, RejectReason.RATE_LIMIT: 1})

    def test_address_lists(self):
        for lists in ({"ip_block_list": [BALANCER]}, {"ip_allow_list": ["192.0.2.0/24"]}):
            self.start(a_route(security=lists))
            self.assert_served(2)
            self.assertFalse(self.come(proxy_v2.build((BALANCER, 1), (BALANCER, 2)) + b"x").gone)
            self.assertEqual(sum(self.rejected().values()), 1)
            self.network.stop(self.proxy)

    def test_limits_of_proxy_and_route_hold(self):
        self.start(a_route(security={"max_connections": 1}))
        self.assert_served(1)
        self.come(LOCAL + b"check")
        self.assertEqual(self.rejected(), {RejectReason.ROUTE_LIMIT: 1})
        self.network.stop(self.proxy)
        self.start(max_connections=1)
        self.assert_served(1)
        self.come(LOCAL + b"check")
        self.assertEqual(self.rejected(), {RejectReason.GLOBAL_LIMIT: 1})

    def test_its_bytes_and_its_end_are_counted(self):
        self.start()
        check = self.come(LOCAL + b"check")
        check.fin()
        self.backend.connections[-1].fin()
        self.network.settle()
        self.assertEqual(self.closed("web"), {CloseReason.NORMAL: 1})
        self.assertEqual((self.proxy.registry.by_ip, self.proxy.metrics.totals().bytes_received), ({}, 5))

    def test_unknown_is_not_local(self):
        """``PROXY UNKNOWN`` and UNSPEC announce a client whose address is not known: the limits hold."""
        for header in (b"PROXY UNKNOWN\r\n", proxy_v2.build(None, None)):
            self.start(max_connections_per_ip=1)
            self.come(header)
            self.come(header)
            self.assertEqual(self.rejected(), {RejectReason.IP_LIMIT: 1})
            self.network.stop(self.proxy)

    def test_local_of_a_stranger_is_payload(self):
        self.start(max_connections_per_ip=1)
        for _ in range(2):
            self.connect(80, LOCAL, client=("192.0.2.99", 1))
        self.assertEqual(self.backend.connections[-1].received, LOCAL)
        self.assertEqual(self.rejected(), {RejectReason.IP_LIMIT: 1})


class LateHeaderTests(TrustedCase):
    """A peer that was taken as a direct client announces another one then, past every list."""

    def silent(self, *routes, port=80, **more):
        """A trusted peer that has sent nothing by ``proxyHeaderTimeout``."""
        self.start(*routes, proxy_header_timeout="2s", **more)
        client = self.come(port=port)
        self.network.run(2 + 2 * TICK)
        return client

    def assert_refused(self, client):
        self.network.settle()
        self.assertTrue(client.gone)
        self.assertEqual(self.rejected(), {RejectReason.PROXY_HEADER_TIMEOUT: 1})
        self.assertEqual([end.received for end in self.backend.connections if end.received], [])
        self.assertEqual([end for end in self.backend.connections if not end.gone], [])
        self.assertEqual(self.proxy.connections, [])
        self.assertEqual(self.proxy.counters.proxy_headers["none", "timeout"], 1)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.network.run(0.3)
        self.network.stop(self.proxy)

    def test_header_over_a_relay(self):
        for header in (V1, V2, LOCAL):
            client = self.silent()
            client.write(header + b"payload")
            self.assert_refused(client)

    def test_header_in_pieces(self):
        for header in (V1, V2):
            client = self.silent()
            for at in range(12):
                client.write(header[at : at + 1])
                self.network.settle()
            self.assert_refused(client)

    def test_header_behind_bytes_of_the_server(self):
        """A server that speaks first is not kept waiting for the client."""
        client = self.silent()
        self.backend.connections[-1].write(b"220 ready")
        self.network.settle()
        self.assertEqual(client.received, b"220 ready")
        client.write(V2)
        self.assert_refused(client)

    def test_header_while_the_target_is_dialed(self):
        self.network.silent.add((HOST, 9000))
        client = self.silent()
        client.write(V1)
        self.assert_refused(client)

    def test_header_where_the_first_bytes_are_needed(self):
        for header in (V1, V2):
            route = {"name": "api", "match": {"ports": 80, "path": "/api"}}
            client = self.silent(Route(action={"targets": [{"host": HOST, "port": 9000}]}, **route))
            client.write(header + REQUEST)
            self.assert_refused(client)

    def test_header_to_a_handler(self):
        client = self.silent(served(echo), port=7)
        client.write(V1)
        self.network.settle()
        self.assertEqual(client.received, b"")
        self.assert_refused(client)

    def test_part_of_a_header_has_the_time_of_a_header(self):
        """And then it is refused, as a part of one is before."""
        for part in (V1[:3], V2[:11]):
            client = self.silent()
            client.write(part)
            self.network.run(1.5)
            self.assertFalse(client.gone)
            self.network.run(1)
            self.assert_refused(client)

    def test_other_bytes_are_payload(self):
        for said in (
            REQUEST,
            b"\r\nPROXY ",
            b"PROX",
            b"\r\n\r\n\x00\r\nQUIX\n",
            client_hello.build("a.example"),
        ):
            client = self.silent()
            client.write(said[:2])
            self.network.settle()
            client.write(said[2:])
            client.fin()
            self.network.settle()
            (end,) = self.backend.connections[-1:]
            self.assertEqual((end.received, end.ended), (said, True))
            end.write(b"answer")
            end.fin()
            self.network.settle()
            self.assertEqual((client.received, client.ended), (b"answer", True))
            self.assertEqual(self.closed("web"), {CloseReason.NORMAL: 1})
            totals = self.proxy.metrics.totals()
            self.assertEqual((totals.bytes_received, totals.bytes_sent), (len(said), 6))
            self.network.stop(self.proxy)

    def test_header_behind_the_first_bytes_is_payload(self):
        client = self.silent()
        client.write(b"x" * 12 + V1)
        self.network.settle()
        self.assertEqual(self.backend.connections[-1].received, b"x" * 12 + V1)

    def test_client_that_leaves_before_its_first_byte(self):
        for leave in ("fin", "rst"):
            client = self.silent()
            getattr(client, leave)()
            self.network.settle()
            end = self.backend.connections[-1]
            self.assertTrue(end.ended or end.was_reset)
            end.close()
            self.network.settle()
            self.assertEqual((self.proxy.connections, self.rejected()), ([], {}))
            self.network.stop(self.proxy)

    def test_peer_that_need_not_announce_is_not_looked_at(self):
        """Of a stranger, and where no header is accepted, it is payload, whenever it comes."""
        for more, ip in (({"accept_proxy_protocol": False}, BALANCER), ({}, "192.0.2.99")):
            self.start(proxy_header_timeout="2s", **more)
            client = self.connect(80, client=(ip, 50000))
            self.network.run(2.3)
            client.write(V1)
            self.network.settle()
            self.assertEqual(self.backend.connections[-1].received, V1)
            self.network.stop(self.proxy)
