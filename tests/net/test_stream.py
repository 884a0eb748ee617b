"""A TCP connection on the poller: Twisted's promises, over real loopback sockets."""

from __future__ import annotations

import socket

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from zope.interface.verify import verifyObject

from smartproxy.net.stream import Stream
from tests.net.streams import MIB, Heard, StreamCase


class StreamTests(StreamCase):
    # -- interfaces ----------------------------------------------------------------------------------

    def test_keeps_twisteds_interfaces(self):
        stream, _, _ = self.stream()
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            verifyObject(interface, stream)

    def test_knows_its_two_ends(self):
        stream, _, far = self.stream()
        self.assertEqual((stream.getHost().host, stream.getHost().port), far.sock.getpeername())
        self.assertEqual((stream.getPeer().host, stream.getPeer().port), far.sock.getsockname())
        self.assertEqual(stream.getHandle().getpeername(), far.sock.getsockname())

    def test_knows_its_two_ends_in_ipv6(self):
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.addCleanup(listening.close)
        away = socket.create_connection(listening.getsockname()[:2])
        self.pump.keep(away)
        near, _ = listening.accept()
        near.setblocking(False)
        stream = Stream(near, self.pump.poller, Heard())
        self.assertEqual((stream.getPeer().host, stream.getPeer().port), away.getsockname()[:2])
        self.assertEqual(stream.getHost().type, "TCP")

    def test_options_of_the_socket(self):
        stream, _, _ = self.stream()
        for wanted in (True, False):
            stream.setTcpNoDelay(wanted)
            stream.setTcpKeepAlive(wanted)
            self.assertEqual((stream.getTcpNoDelay(), stream.getTcpKeepAlive()), (wanted, wanted))

    # -- bytes ---------------------------------------------------------------------------------------

    def test_what_comes_is_told_and_what_is_written_goes(self):
        stream, heard, far = self.stream()
        far.write(b"ask")
        self.pump.settle()
        self.assertEqual(heard.received, b"ask")
        stream.write(b"ans")
        stream.writeSequence([b"w", b"er"])
        stream.write(b"")
        self.pump.settle()
        self.assertEqual(far.received, b"answer")

    def test_a_long_write_is_kept_until_it_is_taken(self):
        stream, _, far = self.stream(buffers=16384)
        far.reading = False
        data = bytes(range(256)) * 4096
        for at in range(0, len(data), 100_000):
            stream.write(data[at : at + 100_000])
        self.pump.settle()
        far.reading = True
        self.pump.settle()
        self.assertEqual(far.received, data)

    def test_a_fast_sender_does_not_hold_up_the_others(self):
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

    def test_paused_it_reads_nothing_and_resumed_it_reads_all(self):
        stream, heard, far = self.stream()
        stream.pauseProducing()
        far.write(b"x" * 300_000)
        self.pump.settle()
        self.assertEqual(heard.received, b"")
        stream.resumeProducing()
        self.pump.settle()
        self.assertEqual(len(heard.received), 300_000)

    def test_a_protocol_may_pause_within_its_own_data(self):
        stream, heard, far = self.stream()
        heard.dataReceived = lambda data: (setattr(heard, "received", data), stream.pauseProducing())
        far.write(b"x" * 300_000)
        self.pump.settle()
        self.assertLessEqual(len(heard.received), 65536)

    def test_a_fin_that_came_with_the_last_bytes_is_told(self):
        _, heard, far = self.stream()
        far.write(b"x")
        far.fin()
        self.pump.settle()
        self.assertEqual((heard.received, heard.told), (b"x", ["fin"]))

    def test_a_fin_that_came_during_a_pause_is_told_after_it(self):
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
        """twisted#11168: a paused transport of Twisted's does not."""
        stream, heard, far = self.stream()
        stream.pauseProducing()
        far.rst()
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionLost])

    # -- the end -------------------------------------------------------------------------------------

    def test_half_close_leaves_the_other_direction(self):
        stream, heard, far = self.stream()
        stream.write(b"all")
        stream.loseWriteConnection()
        stream.write(b"too late")
        self.pump.settle()
        self.assertEqual((far.received, far.ended, heard.told), (b"all", True, ["fin sent"]))
        far.write(b"answer")
        self.pump.settle()
        self.assertEqual(heard.received, b"answer")

    def test_the_fin_comes_behind_what_waits(self):
        stream, heard, far = self.stream(buffers=16384)
        far.reading = False
        stream.write(bytes(MIB))
        stream.loseWriteConnection()
        self.pump.settle()
        self.assertEqual(heard.told, [])
        far.reading = True
        self.pump.settle()
        self.assertEqual((len(far.received), far.ended, heard.told), (MIB, True, ["fin sent"]))

    def test_both_directions_ended_is_the_end_ours_first(self):
        stream, heard, far = self.stream()
        stream.loseWriteConnection()
        far.fin()
        self.pump.settle()
        self.assertEqual(heard.told, ["fin sent", "fin", ConnectionDone])
        self.assertEqual(len(self.pump.poller), 0)

    def test_both_directions_ended_is_the_end_theirs_first(self):
        stream, heard, far = self.stream()
        far.fin()
        self.pump.settle()
        self.assertEqual(heard.told, ["fin"])
        stream.write(b"late answer")
        stream.loseWriteConnection()
        self.pump.settle()
        self.assertEqual((far.received, heard.told), (b"late answer", ["fin", ConnectionDone]))

    def test_a_protocol_that_knows_no_half_close_loses_its_connection_with_the_fin(self):
        _, heard, far = self.stream(Heard)
        far.write(b"x")
        far.fin()
        self.pump.settle()
        self.assertEqual((heard.received, heard.told), (b"x", [ConnectionDone]))

    def test_lose_connection_flushes_first_and_reads_no_more(self):
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

    def test_lose_connection_never_ends_within_the_callers_own_call(self):
        stream, heard, _ = self.stream()
        stream.loseConnection()
        self.assertEqual(heard.told, [])
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionDone])
        stream.loseConnection()
        stream.abortConnection()
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionDone])

    def test_abort_resets_and_is_told_a_little_later(self):
        stream, heard, far = self.stream()
        stream.abortConnection()
        stream.abortConnection()
        self.assertEqual((heard.told, stream.disconnecting), ([], True))
        self.pump.settle()
        self.assertEqual((heard.told, far.was_reset), ([ConnectionAborted], True))

    def test_after_abort_nothing_is_heard_and_nothing_is_written(self):
        stream, heard, far = self.stream()
        far.write(b"x")
        stream.abortConnection()
        stream.resumeProducing()
        stream.write(b"y")
        self.pump.poller.doRead()
        self.assertEqual(heard.received, b"")
        self.pump.settle()
        self.assertEqual((far.received, heard.told), (b"", [ConnectionAborted]))

    def test_abort_takes_back_what_waits(self):
        stream, heard, far = self.stream(buffers=16384)
        far.reading = False
        stream.write(bytes(MIB))
        stream.loseConnection()
        stream.abortConnection()
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionAborted])
        self.assertTrue(far.was_reset)

    def test_a_reset_that_a_write_meets_is_no_clean_end(self):
        """The kernel tells of it once. A later look at the socket sees what looks like a FIN."""
        stream, heard, far = self.stream()
        far.rst()
        stream.write(b"x")
        stream.write(b"y")
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionLost])

    def test_a_reset_that_a_write_meets_is_noticed_during_a_pause(self):
        stream, heard, far = self.stream()
        stream.pauseProducing()
        far.rst()
        stream.write(b"x")
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionLost])

    def test_what_came_before_the_reset_is_still_told(self):
        stream, heard, far = self.stream()
        far.write(b"413 too much")
        far.rst()
        stream.write(b"upload")
        self.pump.settle()
        self.assertEqual((heard.received, heard.told), (b"413 too much", [ConnectionLost]))

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

    def test_detached_it_tells_what_it_knew_and_nothing_more(self):
        stream, heard, far = self.stream()
        stream.pauseProducing()
        far.write(b"x")
        far.fin()
        self.pump.settle()
        given = stream.detach()
        self.addCleanup(given.sock.close)
        self.assertEqual(
            (given.readable, given.fin_seen, given.unsent, given.sock), (True, True, b"", stream.getHandle())
        )
        self.assertEqual(given.sock.recv(9), b"x")
        stream.write(b"no")
        stream.loseConnection()
        stream.abortConnection()
        stream.ready(1)
        self.pump.settle()
        self.assertEqual((heard.received, heard.told, far.received, far.ended), (b"", [], b"", False))

    def test_detached_it_gives_away_what_was_not_sent(self):
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
