"""The ready-made handlers without an application protocol: echo, discard, respond."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import CloseReason
from smartproxy.serving.ready import respond
from smartproxy.testing import Nature
from tests.serving.made import Serving


class PlainTests(SynchronousTestCase):
    def test_echo_named_in_a_file_sends_everything_back(self):
        serving = Serving(self, "smartproxy.serving.ready:echo", Nature(sizes=range(1, 5000)))
        sent = bytes(range(256)) * 1000
        client = serving.connect(sent)
        client.fin()
        self.assertEqual((serving.closed, serving.moved), ({CloseReason.NORMAL: 1}, (len(sent), len(sent))))
        self.assertEqual((client.received, client.ended), (sent, True))

    def test_echo_stops_reading_while_its_client_does_not_read(self):
        """Otherwise the proxy would buffer without limit."""
        serving = Serving(self, "smartproxy.serving.ready:echo")
        client = serving.network.connect(7000)
        client.reading = False
        client.write(bytes(10_000_000))
        serving.settle()
        self.assertGreater(client.waiting, 9_000_000)

    def test_discard_reads_everything_and_sends_nothing(self):
        serving = Serving(self, "smartproxy.serving.ready:discard")
        client = serving.connect(bytes(500_000))
        client.fin()
        self.assertEqual((serving.closed, serving.moved), ({CloseReason.NORMAL: 1}, (500_000, 0)))
        self.assertEqual((client.received, client.ended), (b"", True))

    def test_respond_sends_its_bytes_and_closes(self):
        serving = Serving(self, respond(b"closed\r\n"))
        for said in (b"", b"hello", bytes(300_000)):
            client = serving.connect(said)
            self.assertEqual((client.received, client.ended, client.was_reset), (b"closed\r\n", True, False))
            client.fin()
        self.assertEqual((serving.closed, serving.moved), ({CloseReason.NORMAL: 3}, (0, 24)))

    def test_respond_in_a_file_sends_its_bytes(self):
        for response, answer in [({"body": "é\r\n"}, "é\r\n".encode()), ({"base64": "AP8="}, b"\x00\xff")]:
            serving = Serving(self, action={"type": "respond", "response": response})
            self.assertEqual(serving.connect().received, answer)

    def test_respond_refuses_what_is_not_bytes(self):
        self.assertRaises(TypeError, respond, "text")
