"""The block handler: every mode counts as a rejection, and closes in the end."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import RejectReason
from smartproxy.serving.ready import block
from tests.serving.made import Serving

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class BlockTests(SynchronousTestCase):
    def block(self, handler=None, **more):
        self.serving = Serving(self, handler, **more)
        return self.serving

    def blocked(self):
        return self.serving.rejected(RejectReason.IP_BLOCKED)

    def test_close_answers_http_with_403(self):
        match = {"protocol": "http"}
        for handler, action in ((None, {"type": "block"}), (block("close"), None)):
            self.block(handler, action=action, match=match)
            client = self.serving.connect(REQUEST)
            self.assertTrue(client.received.startswith(b"HTTP/1.1 403 Forbidden\r\n"))
            self.assertEqual((self.blocked(), self.serving.closed), (1, {}))

    def test_reset_sends_a_reset_without_an_answer(self):
        self.block(action={"type": "block", "mode": "reset"}, match={"protocol": "http"})
        client = self.serving.connect(REQUEST)
        self.assertEqual((client.received, client.was_reset), (b"", True))
        self.assertEqual((self.blocked(), self.serving.closed), (1, {}))

    def test_a_tarpit_reads_nothing_and_closes_after_its_time(self):
        self.block(block("tarpit", seconds=10))
        client = self.serving.connect(bytes(1_000_000))
        self.serving.network.run(9.5)
        self.assertEqual((client.received, client.ended, client.gone), (b"", False, False))
        self.assertGreater(client.waiting, 700_000)
        self.assertEqual(self.serving.record.bytes_received, 0)
        self.serving.network.run(1)
        self.assertTrue(client.ended)
        self.assertEqual((self.blocked(), self.serving.closed), (1, {}))

    def test_a_tarpit_in_a_file_closes_after_a_minute(self):
        self.block(action={"type": "block", "mode": "tarpit"})
        client = self.serving.connect()
        self.serving.network.run(59)
        self.assertFalse(client.ended)
        self.serving.network.run(2)
        self.assertTrue(client.ended)

    def test_a_full_tarpit_closes_further_clients_at_once(self):
        """Each waiting client costs a descriptor of the proxy."""
        self.block(block("tarpit", seconds=10, most=2))
        first, second, third = (self.serving.connect() for _ in range(3))
        self.assertEqual([client.ended for client in (first, second, third)], [False, False, True])
        first.rst()
        self.serving.settle()
        self.assertEqual(self.blocked(), 2)
        self.assertFalse(self.serving.connect().ended)
        self.assertTrue(self.serving.connect().ended)

    def test_a_client_that_leaves_the_tarpit_counts_as_blocked(self):
        self.block(block("tarpit"))
        self.serving.connect().rst()
        self.serving.settle()
        self.assertEqual((self.blocked(), self.serving.closed), (1, {}))
        self.assertEqual(self.serving.proxy.connections, [])

    def test_an_unknown_mode_is_refused(self):
        self.assertRaises(ValueError, block, "drop")
