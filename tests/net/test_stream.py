"""A TCP connection on the poller has the behaviour of Twisted's transports, over real loopback sockets."""

from __future__ import annotations

import socket

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from zope.interface.verify import verifyObject

from smartproxy.net import stream as stream_module
from smartproxy.net.failed_write import read_before_loss
from smartproxy.net.stream import Stream
from tests.net.streams import MIB, Heard, StreamCase


class StreamTests(StreamCase):
    # -- interfaces ----------------------------------------------------------------------------------

    def test_it_provides_twisteds_interfaces(self):
        stream, _, _ = self.stream()
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            verifyObject(interface, stream)

    def test_it_knows_both_addresses(self):
        stream, _, far = self.stream()
        self.assertEqual((stream.getHost().host, stream.getHost().port), far.sock.getpeername())
        self.assertEqual((stream.getPeer().host, stream.getPeer().port), far.sock.getsockname())
        self.assertEqual(stream.getHandle().getpeername(), far.sock.getsockname())

    def test_it_knows_both_addresses_in_ipv6(self):
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.addCleanup(listening.close)
        away = socket.create_connection(listening.getsockname()[:2])
        self.pump.keep(away)
        near, _ = listening.accept()
        near.setblocking(False)
        stream = Stream(near, self.pump.poller, Heard())
        self.assertEqual((stream.getPeer().host, stream.getPeer().port), away.getsockname()[:2])
        self.assertEqual(stream.getHost().type, "TCP")

    def test_socket_options_can_be_set_and_read(self):
        stream, _, _ = self.stream()
        for wanted in (True, False):
            stream.setTcpNoDelay(wanted)
            stream.setTcpKeepAlive(wanted)
            self.assertEqual((stream.getTcpNoDelay(), stream.getTcpKeepAlive()), (wanted, wanted))

    # -- bytes ---------------------------------------------------------------------------------------

    def test_received_bytes_are_delivered_and_written_ones_sent(self):
        stream, heard, far = self.stream()
        far.write(b"ask")
        self.pump.settle()
        self.assertEqual(heard.received, b"ask")
        stream.write(b"ans")
        stream.writeSequence([b"w", b"er"])
        stream.write(b"")
        self.pump.settle()
        self.assertEqual(far.received, b"answer")

    def test_a_long_write_waits_until_the_peer_reads(self):
        stream, _, far = self.stream(buffers=16384)
        far.reading = False
        data = bytes(range(256)) * 4096
        for at in range(0, len(data), 100_000):
            stream.write(data[at : at + 100_000])
        self.pump.settle()
        far.reading = True
        self.pump.settle()
        self.assertEqual(far.received, data)

    def test_a_fast_sender_does_not_delay_others(self):
        _, fast, one = self.stream()
        _, slow, two = self.stream()
        one.write(bytes(2 * MIB))
        two.write(b"x")
        self.pump.until(lambda: len(fast.received) > 0)
        self.pump.turn()
        self.assertEqual(slow.received, b"x")
        self.assertLess(len(fast.received), 2 * MIB)
        self.pump.settle()
        self.assertEqual(len(fast.received), 2 * MIB)

    # -- pausing -------------------------------------------------------------------------------------

    def test_a_paused_stream_reads_everything_once_resumed(self):
        stream, heard, far = self.stream()
        stream.pauseProducing()
        far.write(b"x" * 300_000)
        self.pump.settle()
        self.assertEqual(heard.received, b"")
        stream.resumeProducing()
        self.pump.settle()
        self.assertEqual(len(heard.received), 300_000)

    def test_a_protocol_can_pause_within_data_received(self):
        stream, heard, far = self.stream()
        heard.dataReceived = lambda data: (setattr(heard, "received", data), stream.pauseProducing())
        far.write(b"x" * 300_000)
        self.pump.settle()
        self.assertLessEqual(len(heard.received), 65536)

    def test_a_fin_in_the_event_of_the_last_bytes_is_read(self):
        _, heard, far = self.stream()
        far.write(b"x")
        far.fin()
        self.pump.settle()
        self.assertEqual((heard.received, heard.told), (b"x", ["fin"]))

    def test_a_fin_received_during_a_pause_is_read_after_it(self):
        stream, heard, far = self.stream()
        stream.pauseProducing()
        far.write(b"x")
        far.fin()
        self.pump.settle()
        self.assertEqual(heard.told, [])
        stream.resumeProducing()
        self.pump.settle()
        self.assertEqual((heard.received, heard.told), (b"x", ["fin"]))

    def test_a_reset_is_noticed_during_a_pause(self):
        """A paused transport of Twisted's does not notice it (twisted#11168)."""
        stream, heard, far = self.stream()
        stream.pauseProducing()
        far.rst()
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionLost])

    # -- the end -------------------------------------------------------------------------------------

    def test_half_close_leaves_the_other_direction_open(self):
        stream, heard, far = self.stream()
        stream.write(b"all")
        stream.loseWriteConnection()
        stream.write(b"too late")
        self.pump.settle()
        self.assertEqual((far.received, far.ended, heard.told), (b"all", True, ["fin sent"]))
        far.write(b"answer")
        self.pump.settle()
        self.assertEqual(heard.received, b"answer")

    def test_the_fin_follows_what_waits(self):
        stream, heard, far = self.stream(buffers=16384)
        far.reading = False
        stream.write(bytes(MIB))
        stream.loseWriteConnection()
        self.pump.settle()
        self.assertEqual(heard.told, [])
        far.reading = True
        self.pump.settle()
        self.assertEqual((len(far.received), far.ended, heard.told), (MIB, True, ["fin sent"]))

    def test_after_our_fin_the_peers_fin_closes(self):
        stream, heard, far = self.stream()
        stream.loseWriteConnection()
        far.fin()
        self.pump.settle()
        self.assertEqual(heard.told, ["fin sent", "fin", ConnectionDone])
        self.assertEqual(len(self.pump.poller), 0)

    def test_after_the_peers_fin_our_fin_closes(self):
        stream, heard, far = self.stream()
        far.fin()
        self.pump.settle()
        self.assertEqual(heard.told, ["fin"])
        stream.write(b"late answer")
        stream.loseWriteConnection()
        self.pump.settle()
        self.assertEqual((far.received, heard.told), (b"late answer", ["fin", ConnectionDone]))

    def test_a_protocol_without_half_close_is_lost_with_the_fin(self):
        _, heard, far = self.stream(Heard)
        far.write(b"x")
        far.fin()
        self.pump.settle()
        self.assertEqual((heard.received, heard.told), (b"x", [ConnectionDone]))

    def test_lose_connection_flushes_and_stops_reading(self):
        stream, heard, far = self.stream(buffers=16384)
        far.reading = False
        stream.write(bytes(MIB))
        stream.loseConnection()
        self.assertTrue(stream.disconnecting)
        far.write(b"not heard any more")
        stream.resumeProducing()
        self.pump.settle()
        self.assertEqual((heard.received, heard.told), (b"", []))
        far.reading = True
        self.pump.until(lambda: heard.told)
        self.assertEqual(heard.told, [ConnectionDone])

    def test_a_close_behind_a_failed_write_is_no_orderly_end(self):
        """What was written is lost; the close comes before the poller reports that."""
        stream, heard, far = self.stream()
        far.rst()
        stream.write(b"never received")
        stream.loseConnection()
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionLost])

    def test_lose_connection_never_closes_within_the_call(self):
        stream, heard, _ = self.stream()
        stream.loseConnection()
        self.assertEqual(heard.told, [])
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionDone])
        stream.loseConnection()
        stream.abortConnection()
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionDone])

    def test_abort_resets_and_tells_the_protocol_later(self):
        stream, heard, far = self.stream()
        stream.abortConnection()
        stream.abortConnection()
        self.assertEqual((heard.told, stream.disconnecting), ([], True))
        self.pump.settle()
        self.assertEqual((heard.told, far.was_reset), ([ConnectionAborted], True))

    def test_after_abort_nothing_is_read_or_written(self):
        stream, heard, far = self.stream()
        far.write(b"x")
        stream.abortConnection()
        stream.resumeProducing()
        stream.write(b"y")
        self.pump.poller.doRead()
        self.assertEqual(heard.received, b"")
        self.pump.settle()
        self.assertEqual((far.received, heard.told), (b"", [ConnectionAborted]))

    def test_abort_drops_what_waits(self):
        stream, heard, far = self.stream(buffers=16384)
        far.reading = False
        stream.write(bytes(MIB))
        stream.loseConnection()
        stream.abortConnection()
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionAborted])
        self.assertTrue(far.was_reset)

    def test_a_reset_reported_to_a_write_is_not_an_orderly_end(self):
        """The kernel reports it once: after the write, a read of the socket looks like a FIN."""
        stream, heard, far = self.stream()
        far.rst()
        stream.write(b"x")
        stream.write(b"y")
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionLost])

    def test_a_reset_reported_to_a_write_ends_a_paused_stream(self):
        stream, heard, far = self.stream()
        stream.pauseProducing()
        far.rst()
        stream.write(b"x")
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionLost])

    def test_bytes_received_before_the_reset_are_delivered(self):
        stream, heard, far = self.stream()
        far.write(b"413 too much")
        far.rst()
        stream.write(b"upload")
        self.pump.settle()
        self.assertEqual((heard.received, heard.told), (b"413 too much", [ConnectionLost]))

    def test_bytes_before_the_reset_that_one_turn_leaves_are_delivered(self):
        self.patch(stream_module, "_READS_A_TURN", 1)
        stream, heard, far = self.stream(buffers=512 * 1024)
        stream.pauseProducing()
        far.write(bytes(150_000))
        self.pump.settle()
        stream.resumeProducing()
        far.rst()
        self.pump.settle()
        self.assertEqual((len(heard.received), heard.told), (150_000, [ConnectionLost]))

    def test_bytes_before_a_reset_during_a_pause_are_delivered_where_asked_for(self):
        stream, heard, far = self.stream(buffers=512 * 1024)
        read_before_loss(stream)
        stream.pauseProducing()
        far.write(bytes(150_000))
        self.pump.settle()
        far.rst()
        self.pump.settle()
        self.assertEqual((heard.received, heard.told), (b"", []))
        stream.resumeProducing()
        self.pump.settle()
        self.assertEqual((len(heard.received), heard.told), (150_000, [ConnectionLost]))

    def test_close_after_a_reset_during_a_pause_does_not_wait_for_a_read(self):
        for end in ("loseConnection", "abortConnection"):
            with self.subTest(end=end):
                stream, heard, far = self.stream()
                read_before_loss(stream)
                stream.pauseProducing()
                far.write(b"x")
                self.pump.settle()
                far.rst()
                self.pump.settle()
                getattr(stream, end)()
                self.pump.settle()
                self.assertEqual(len(heard.told), 1)

    def test_a_reset_behind_a_fin_during_a_pause_leaves_it_a_fin(self):
        stream, heard, far = self.stream()
        read_before_loss(stream)
        stream.pauseProducing()
        far.write(b"all")
        far.close()
        self.pump.settle()
        stream.write(b"refused")
        self.pump.settle()
        stream.resumeProducing()
        self.pump.settle()
        self.assertEqual((heard.received, heard.told), (b"all", ["fin", ConnectionLost]))

    def test_a_protocol_that_raises_loses_its_connection(self):
        _, heard, far = self.stream()

        def fail(data):
            raise ZeroDivisionError

        heard.dataReceived = fail
        far.write(b"x")
        self.pump.settle()
        self.assertEqual(heard.told, [ZeroDivisionError])
        self.assertTrue(far.was_reset)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    # -- giving it away ------------------------------------------------------------------------------

    def test_a_detached_stream_gives_its_state_and_is_silent(self):
        stream, heard, far = self.stream()
        stream.pauseProducing()
        far.write(b"x")
        far.fin()
        self.pump.settle()
        given = stream.detach()
        self.addCleanup(given.sock.close)
        self.assertEqual(
            (given.readable, given.marked, given.unsent, given.sock), (True, True, b"", stream.getHandle())
        )
        self.assertEqual(given.sock.recv(9), b"x")
        stream.write(b"no")
        stream.loseConnection()
        stream.abortConnection()
        stream.ready(1)
        self.pump.settle()
        self.assertEqual((heard.received, heard.told, far.received, far.ended), (b"", [], b"", False))

    def test_a_detached_stream_gives_its_unsent_bytes(self):
        stream, _, far = self.stream(buffers=16384)
        far.reading = False
        data = bytes(range(256)) * 4096
        stream.write(data)
        given = stream.detach()
        self.addCleanup(given.sock.close)
        self.assertFalse(given.readable)
        self.assertTrue(given.unsent)
        far.reading = True
        self.pump.until(lambda: len(far.received) == len(data) - len(given.unsent))
        self.assertEqual(far.received + given.unsent, data)
