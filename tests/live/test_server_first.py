"""Protocols in which the server sends first: the proxy must not wait for a client that waits for the server."""

from __future__ import annotations

import time

from smartproxy.wire import client_hello
from tests.live.backends import banner, echo
from tests.live.case import LiveCase, route

_BANNER = b"SSH-2.0-live\r\n"


class ServerFirstTests(LiveCase):
    def test_route_without_detection_dials_at_once(self):
        """A client that has sent nothing receives the banner, long before ``initialDataTimeout``."""
        for relay, _, front in self.each_relay(self.backend(banner), initialDataTimeout="60s"):
            with self.subTest(relay=relay):
                client = self.connect(front)
                self.assertEqual(self.read(client, len(_BANNER)), _BANNER)
                self.assert_echoes(client)

    def test_silent_client_beside_routes_by_name_receives_the_banner(self):
        """After ``silence``, and not before; a client with a name goes to its own route on the same port."""
        for acceleration in ("auto", "off"):
            with self.subTest(acceleration=acceleration):
                front, web = self.port(), self.backend(echo)
                proxy = self.proxy(
                    route("web", front, web, domains=["web.test"]),
                    route("ssh", front, self.backend(banner), fallback=True, silence="400ms"),
                    acceleration=acceleration,
                )
                began = time.monotonic()
                client = self.connect(front)
                self.assertEqual(self.read(client, len(_BANNER)), _BANNER)
                self.assertGreaterEqual(time.monotonic() - began, 0.4)
                self.assert_echoes(client)
                self.assert_echoes(self.connect(front), client_hello.build("web.test"))
                self.assertEqual((web.accepted, proxy.active), (1, 2))

    def test_silent_trusted_peer_is_a_direct_client(self):
        """It receives the banner when ``proxyHeaderTimeout`` has passed, and not before."""
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

    def test_untrusted_peer_does_not_wait_for_a_header(self):
        """``proxyHeaderTimeout`` delays only the peers in ``proxyIPs``."""
        front = self.port()
        self.proxy(
            route("ssh", front, self.backend(banner)), proxyIPs=["127.0.0.2"], proxyHeaderTimeout="60s"
        )
        client = self.connect(front, source="127.0.0.1")
        self.assertEqual(self.read(client, len(_BANNER)), _BANNER)
