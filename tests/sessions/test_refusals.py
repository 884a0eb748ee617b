"""Clients that are refused: the answer in their protocol, the reason counted, and nothing left."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.net.half_close import LINGER
from smartproxy.testing import Nature
from smartproxy.wire import client_hello, tls_alert
from smartproxy.wire.tls_alert import Alert
from tests.sessions.all_phases import ALL_PHASES, HEADER, HELLO, OUTER, REQUEST
from tests.sessions.memory_proxy import MemoryProxy, route


class RefusalTests(SynchronousTestCase):
    def refused(self, proxy, said=b"", ip="192.0.2.1"):
        client = proxy.client(ip)
        client.write(said)
        proxy.settle()
        client.fin()
        proxy.settle()
        proxy.assert_empty()
        return client

    def test_unknown_name_is_refused_in_the_clients_protocol(self):
        proxy = MemoryProxy(self, **ALL_PHASES)
        other = self.refused(proxy, client_hello.build("b.example"))
        self.assertEqual(other.received, tls_alert.build(Alert.UNRECOGNIZED_NAME))
        http = self.refused(proxy, REQUEST.replace(b"a.example", b"b.example"))
        self.assertTrue(http.received.startswith(b"HTTP/1.1 404 "))
        self.assertEqual(proxy.rejected(), {"no_route": 2})

    def test_malformed_hello_is_refused_with_an_alert(self):
        proxy = MemoryProxy(self, **ALL_PHASES)
        client = self.refused(proxy, b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00")
        self.assertEqual(client.received, tls_alert.build(Alert.UNEXPECTED_MESSAGE))
        self.assertEqual(proxy.rejected(), {"tls_error": 1})

    def test_allow_and_block_lists_are_refused_with_403(self):
        lists = {"ipBlockList": ["192.0.2.66"], "ipAllowList": ["192.0.2.0/24"]}
        proxy = MemoryProxy(self, routes=[route(match={"domains": ["a.example"]}, security=lists)])
        for ip in ("192.0.2.66", "10.0.0.1"):
            client = self.refused(proxy, REQUEST, ip)
            self.assertTrue(client.received.startswith(b"HTTP/1.1 403 "))
        self.assertEqual(proxy.rejected(), {"ip_blocked": 1, "ip_not_allowed": 1})
        self.assertEqual(proxy.network.dials, [])

    def test_connection_over_the_global_limit_is_refused(self):
        proxy = MemoryProxy(self, maxConnections=2)
        self.assertEqual([proxy.client().ended for _ in range(3)], [False, False, True])
        self.assertEqual(proxy.rejected(), {"global_limit": 1})

    def test_missing_required_header_is_refused(self):
        """Otherwise a client that bypasses the proxy in front would be served as if it were that proxy."""
        proxy = MemoryProxy(self, proxyIPs=[OUTER], acceptProxyProtocol="require")
        self.refused(proxy, b"hello", OUTER)
        self.assertEqual(proxy.rejected(), {"proxy_header_missing": 1})

    def test_header_of_an_untrusted_peer_is_payload(self):
        """Otherwise any client could claim another address and so bypass lists and limits."""
        proxy = MemoryProxy(self, proxyIPs=[OUTER])
        client = proxy.client("192.0.2.1")
        client.write(HEADER)
        proxy.settle()
        backend = proxy.backend()
        self.assertEqual(backend.received, HEADER)
        self.assertEqual(proxy.record.client.host, "192.0.2.1")

    def test_silent_clients_are_closed_and_others_are_served(self):
        """500 clients that connect and send nothing must neither stay for ever nor delay the others."""
        proxy = MemoryProxy(self, **ALL_PHASES)
        silent = [proxy.client(f"10.0.{n >> 8}.{n & 255}") for n in range(500)]
        served = proxy.client()
        served.write(HELLO)
        proxy.settle()
        backend = proxy.backend()
        proxy.pass_time(60.3)
        self.assertTrue(all(client.ended for client in silent))
        self.assertEqual(proxy.rejected(), {"initial_data_timeout": 500})
        backend.write(b"still here")
        proxy.settle()
        self.assertEqual(served.received, b"still here")

    def test_client_that_does_not_read_its_refusal_is_reset(self):
        proxy = MemoryProxy(self, **ALL_PHASES)
        client = proxy.client(nature=Nature(window=4096))
        client.write(REQUEST.replace(b"a.example", b"b.example"))
        proxy.settle()
        proxy.pass_time(LINGER + 0.2)
        self.assertTrue(client.was_reset)
        proxy.assert_empty()
