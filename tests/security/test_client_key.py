"""Which addresses are one client for limits."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.security.client_key import client_key
from smartproxy.security.handshake_limit import HandshakeLimit
from tests.security.handshakes import Handshake


class ClientKeyTests(SynchronousTestCase):
    def test_addresses_of_one_network_have_one_key(self) -> None:
        for ip, prefix, key in (
            ("2001:db8::1", 64, "2001:db8::/64"),
            ("2001:db8:0:0:ffff::2", 64, "2001:db8::/64"),
            ("2001:db8:0:1::1", 64, "2001:db8:0:1::/64"),
            ("2001:db8:0:1ff::1", 56, "2001:db8:0:100::/56"),
            ("ffff::1", 1, "8000::/1"),
        ):
            self.assertEqual(client_key(ip, prefix), key)

    def test_each_address_is_a_client_with_128(self) -> None:
        self.assertEqual(client_key("2001:db8::1", 128), "2001:db8::1")

    def test_ipv4_is_never_grouped(self) -> None:
        self.assertEqual(client_key("192.0.2.1", 1), "192.0.2.1")

    def test_handshakes_of_a_network_are_those_of_one_client(self) -> None:
        """Otherwise a flood from one /64 would evict the handshakes of all others."""
        clock = Clock()
        limit = HandshakeLimit(2, clock)
        limit.ipv6_prefix = 64
        honest = Handshake(0.0, limit)
        limit.begin(honest, "2001:db8:0:1::1")
        flood = [Handshake(0.0, limit) for _ in range(2)]
        limit.begin(flood[0], "2001:db8::1")
        clock.advance(5)
        limit.begin(flood[1], "2001:db8::2")
        self.assertEqual((honest.why, bool(flood[0].why or flood[1].why)), ("", True))
