"""Clients that are refused: the answer in their protocol, the reason counted, and nothing left."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.net.half_close import LINGER
from smartproxy.testing import Nature
from smartproxy.wire import client_hello, proxy_v2, tls_alert
from smartproxy.wire.tls_alert import Alert
from tests.sessions.house import House, route

OUTER = "198.51.100.9"
SOURCE, DESTINATION = ("192.0.2.77", 4000), ("203.0.113.77", 443)
HEADER = proxy_v2.build(SOURCE, DESTINATION)
HELLO = client_hello.build("a.example")
REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"

#: What a connection has to pass, and with what: every phase waits for something.
LONG = {
    "proxyIPs": [OUTER],
    "proxyHeaderTimeout": "5s",
    "initialDataTimeout": "60s",
    "routes": [route(match={"domains": ["a.example"]})],
}


class RefusalTests(SynchronousTestCase):
    def refused(self, house, said=b"", ip="192.0.2.1"):
        client = house.client(ip)
        client.write(said)
        house.settle()
        client.fin()
        house.settle()
        house.assert_empty()
        return client

    def test_nobody_has_this_name(self):
        house = House(self, **LONG)
        other = self.refused(house, client_hello.build("b.example"))
        self.assertEqual(other.received, tls_alert.build(Alert.UNRECOGNIZED_NAME))
        http = self.refused(house, REQUEST.replace(b"a.example", b"b.example"))
        self.assertTrue(http.received.startswith(b"HTTP/1.1 404 "))
        self.assertEqual(house.rejected(), {"no_route": 2})

    def test_tls_that_is_none(self):
        house = House(self, **LONG)
        client = self.refused(house, b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00")
        self.assertEqual(client.received, tls_alert.build(Alert.UNEXPECTED_MESSAGE))
        self.assertEqual(house.rejected(), {"tls_error": 1})

    def test_the_lists(self):
        lists = {"ipBlockList": ["192.0.2.66"], "ipAllowList": ["192.0.2.0/24"]}
        house = House(self, routes=[route(match={"domains": ["a.example"]}, security=lists)])
        for ip in ("192.0.2.66", "10.0.0.1"):
            client = self.refused(house, REQUEST, ip)
            self.assertTrue(client.received.startswith(b"HTTP/1.1 403 "))
        self.assertEqual(house.rejected(), {"ip_blocked": 1, "ip_not_allowed": 1})
        self.assertEqual(house.network.dials, [])

    def test_too_many(self):
        house = House(self, maxConnections=2)
        self.assertEqual([house.client().ended for _ in range(3)], [False, False, True])
        self.assertEqual(house.rejected(), {"global_limit": 1})

    def test_a_header_that_is_required(self):
        """F15."""
        house = House(self, proxyIPs=[OUTER], acceptProxyProtocol="require")
        self.refused(house, b"hello", OUTER)
        self.assertEqual(house.rejected(), {"proxy_header_missing": 1})

    def test_a_header_of_a_stranger_is_payload(self):
        """F14."""
        house = House(self, proxyIPs=[OUTER])
        client = house.client("192.0.2.1")
        client.write(HEADER)
        house.settle()
        backend = house.backend()
        self.assertEqual(backend.received, HEADER)
        self.assertEqual(house.record.client.host, "192.0.2.1")

    def test_silent_ones_are_closed_and_the_others_are_served(self):
        """F1."""
        house = House(self, **LONG)
        silent = [house.client(f"10.0.{n >> 8}.{n & 255}") for n in range(500)]
        served = house.client()
        served.write(HELLO)
        house.settle()
        backend = house.backend()
        house.pass_time(60.3)
        self.assertTrue(all(client.ended for client in silent))
        self.assertEqual(house.rejected(), {"initial_data_timeout": 500})
        backend.write(b"still here")
        house.settle()
        self.assertEqual(served.received, b"still here")

    def test_one_that_does_not_read_its_refusal_is_cut(self):
        house = House(self, **LONG)
        client = house.client(nature=Nature(window=4096))
        client.write(REQUEST.replace(b"a.example", b"b.example"))
        house.settle()
        house.pass_time(LINGER + 0.2)
        self.assertTrue(client.was_reset)
        house.assert_empty()
