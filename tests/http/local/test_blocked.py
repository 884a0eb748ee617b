"""Blocking the requests of a route, on a connection that had another route before."""

from __future__ import annotations

from tests.http.case import GET, OK, http_route
from tests.http.local.case import LocalCase, local_route


class BlockTests(LocalCase):
    def block(self, mode):
        self.local(
            local_route("closed", 80, match={"path": "/closed"}, type="block", mode=mode), http_route()
        )
        client = self.connect(80)
        self.assertEqual(self.exchange(client, GET, OK), OK)
        return client

    def test_close_answers_403(self):
        self.assertEqual(self.ask("/closed", client=self.block("close")).status, 403)

    def test_reset_resets_the_connection(self):
        client = self.block("reset")
        self.assertEqual(self.ask("/closed", client=client).whole, b"")
        self.assertTrue(client.was_reset)
        self.assertEqual(self.proxy.registry.active, 0)

    def test_tarpit_answers_after_a_minute(self):
        client = self.block("tarpit")
        self.assertEqual(self.ask("/closed", client=client).whole, b"")
        before = len(client.received)
        self.network.run(59)
        self.assertEqual(len(client.received), before)
        self.network.run(2)
        self.assertIn(b"HTTP/1.1 403", client.received[before:])

    def test_a_client_may_leave_the_tarpit(self):
        client = self.block("tarpit")
        self.ask("/closed", client=client)
        client.rst()
        self.network.settle()
        self.assertEqual(self.proxy.registry.active, 0)
