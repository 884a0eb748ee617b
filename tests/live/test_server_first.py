"""Protocols in which the server speaks first: nobody waits for a client that waits."""

from __future__ import annotations

import time

from tests.live.backends import banner
from tests.live.case import LiveCase, route

_BANNER = b"SSH-2.0-live\r\n"


class ServerFirstTests(LiveCase):
    def test_a_route_that_asks_nothing_dials_at_once(self):
        """The banner comes to a client that has sent nothing, long before ``initialDataTimeout``."""
        for relay, _, front in self.each_relay(self.backend(banner), initialDataTimeout="60s"):
            with self.subTest(relay=relay):
                client = self.connect(front)
                self.assertEqual(self.read(client, len(_BANNER)), _BANNER)
                self.assert_echoes(client)

    def test_a_trusted_peer_that_sends_nothing_is_a_direct_client(self):
        """It gets the banner when ``proxyHeaderTimeout`` has passed, and not before."""
        front = self.port()
        proxy = self.proxy(
            route("ssh", front, self.backend(banner)), proxyIPs=["127.0.0.1"], proxyHeaderTimeout="400ms"
        )
        began = time.monotonic()
        client = self.connect(front)
        self.assertEqual(self.read(client, len(_BANNER)), _BANNER)
        self.assertGreaterEqual(time.monotonic() - began, 0.4)
        self.assert_echoes(client)
        self.assertEqual(proxy.the_connection(route="ssh")["proxyProtocol"], 0)
        self.assertEqual(proxy.metrics["proxyHeaders"]["none"]["missing"], 1)

    def test_anyone_else_does_not_wait_for_that(self):
        """``proxyIPs`` costs only those who are in it."""
        front = self.port()
        self.proxy(
            route("ssh", front, self.backend(banner)), proxyIPs=["127.0.0.2"], proxyHeaderTimeout="60s"
        )
        client = self.connect(front, source="127.0.0.1")
        self.assertEqual(self.read(client, len(_BANNER)), _BANNER)
