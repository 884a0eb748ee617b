"""Which transports can have their socket detached, and what is known of it then."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.tcp import Server

from smartproxy.flow.side import DETACHED
from smartproxy.net.detach import can_detach
from smartproxy.testing import connection
from tests.net.streams import MIB, StreamCase


class DetachTests(StreamCase):
    def test_a_stream_can_and_other_transports_cannot(self):
        stream, _, _ = self.stream()
        self.assertTrue(can_detach(stream))
        memory, _ = connection(Clock())
        for other in (memory, DETACHED, Server, None):
            self.assertFalse(can_detach(other))

    def test_a_detached_socket_comes_with_what_its_stream_knew(self):
        """Unsent bytes must not be lost, and the kernel does not report received bytes a second time."""
        stream, heard, far = self.stream(buffers=16384)
        stream.pauseProducing()
        far.reading = False
        stream.write(bytes(MIB))
        far.write(b"x")
        far.fin()
        self.pump.settle()
        given = stream.detach()
        self.addCleanup(given.sock.close)
        self.assertIs(given.sock, stream.getHandle())
        self.assertTrue(given.readable and given.marked)
        self.assertTrue(0 < len(given.unsent) < MIB)
        self.assertEqual((heard.received, heard.told), (b"", []))

    def test_a_detached_stream_ignores_every_call(self):
        stream, heard, far = self.stream()
        self.addCleanup(stream.detach().sock.close)
        stream.write(b"late")
        stream.loseWriteConnection()
        stream.loseConnection()
        stream.abortConnection()
        stream.resumeProducing()
        far.write(b"x")
        self.pump.settle()
        self.assertEqual((far.received, far.ended, far.was_reset), (b"", False, False))
        self.assertEqual((heard.received, heard.told), (b"", []))
