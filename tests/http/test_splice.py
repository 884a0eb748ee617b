"""Bodies that are moved through a pipe, over real sockets: as far as they can be, and never a byte twice."""

from __future__ import annotations

import socket

from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.http.body import LEAST_MOVED as LEAST
from smartproxy.http.splice import Splicer
from smartproxy.net import stream
from smartproxy.net.failed_write import read_before_loss
from smartproxy.relays import pipes
from smartproxy.relays.pipes import PipePool
from tests.net.streams import HalfHeard, Heard, stream_to
from tests.pumps import Pump, open_descriptors

MIB = 1 << 20


def noise(count):
    return bytes(range(251)) * (count // 251) + bytes(range(count % 251))


class SpliceTests(SynchronousTestCase):
    def setUp(self):
        self.before = open_descriptors()
        self.pump = Pump(self)
        self.pool = PipePool()
        self.splicer = Splicer(self.pump.poller, self.pool)
        self.source, self.heard, self.sender = self.stream()
        self.sink, self.answered, self.receiver = self.stream()
        self.moved, self.left = 0, []

    def stream(self):
        return stream_to(HalfHeard(), self.pump)

    def start(self, left):
        def moved(count):
            self.moved += count

        return self.splicer.start(self.source, self.sink, left, moved, self.left.append)

    def assert_given_back(self):
        """Both transports work as before, and no pipe is lent."""
        self.assertEqual(self.pool.lent, 0)
        self.assertEqual(self.pool.reclaimed, 0)
        before, heard = len(self.receiver.received), len(self.heard.received)
        self.sink.write(b"behind")
        self.sender.write(b"next")
        self.pump.until(lambda: self.heard.received[heard:] == b"next")
        self.pump.until(lambda: self.receiver.received[before:] == b"behind")

    def test_exactly_the_body_is_moved(self):
        self.start(MIB)
        self.sender.write(noise(MIB) + b"the next answer")
        self.pump.until(lambda: self.left and len(self.receiver.received) == MIB)
        self.assertEqual((self.left, self.moved), ([0], MIB))
        self.assertTrue(self.receiver.received == noise(MIB))
        self.pump.until(lambda: self.heard.received == b"the next answer")
        self.assert_given_back()

    def test_what_came_before_it_began_is_moved_too(self):
        self.source.pauseProducing()
        self.sender.write(noise(LEAST))
        self.pump.settle()
        self.start(LEAST)
        self.pump.until(lambda: self.receiver.received == noise(LEAST))
        self.assertEqual(self.left, [0])

    def test_it_may_begin_while_its_transport_reads(self):
        """The first bytes of a body come with its head: the transport must not go on to read behind them."""
        begun = []

        def received(data):
            begun.append(data)
            if len(begun) == 1:
                self.start(4 * MIB - len(data))

        self.heard.dataReceived = received
        self.source.pauseProducing()
        self.sender.write(noise(4 * MIB))
        self.pump.settle()
        self.source.resumeProducing()
        self.pump.until(lambda: self.left)
        self.assertEqual(len(begun), 1)
        self.pump.until(lambda: begun[0] + self.receiver.received == noise(4 * MIB))

    def test_a_sink_that_does_not_read_stops_the_source(self):
        self.receiver.reading = False
        self.start(8 * MIB)
        self.sender.write(noise(8 * MIB))
        self.pump.settle()
        self.assertLess(self.moved, MIB)
        self.assertEqual(self.heard.received, b"")
        self.receiver.reading = True
        self.pump.until(lambda: len(self.receiver.received) == 8 * MIB)
        self.assertTrue(self.receiver.received == noise(8 * MIB))
        self.assertEqual((self.left, self.moved), ([0], 8 * MIB))
        self.assert_given_back()

    def test_a_source_that_ends_early_is_left_to_its_transport(self):
        for end in ("fin", "rst"):
            with self.subTest(end=end):
                self.setUp()
                self.start(MIB)
                self.sender.write(noise(100_000))
                self.pump.until(lambda: self.moved == 100_000)
                getattr(self.sender, end)()
                self.pump.until(lambda: self.heard.told)
                self.assertEqual(self.left, [MIB - 100_000])
                self.pump.until(lambda: self.receiver.received == noise(100_000))
                self.assertEqual(self.pool.lent, 0)

    def test_urgent_data_is_passed(self):
        self.start(MIB)
        self.sender.write(noise(100_000))
        self.pump.until(lambda: self.moved == 100_000)
        self.sender.sock.send(b"!", socket.MSG_OOB)
        self.sender.write(b"behind the mark")
        self.pump.until(lambda: self.heard.received == b"behind the mark")
        self.assertEqual(self.left, [MIB - 100_000])

    def test_a_sink_that_is_reset_is_told_to_its_transport(self):
        self.receiver.reading = False
        self.start(8 * MIB)
        self.sender.write(noise(8 * MIB))
        self.pump.settle()
        self.receiver.rst()
        self.pump.until(lambda: self.answered.told)
        self.assertEqual((self.left, self.pool.lent), ([], 0))
        self.source.abortConnection()
        self.pump.until(lambda: self.heard.told)

    def test_a_reset_that_the_moving_meets_first_is_told_to_the_transport(self):
        """The kernel reports it once: to the write, if an event of the source comes before that of the reset."""
        self.receiver.reading = False
        self.start(MIB)
        self.sender.write(noise(MIB))
        self.pump.settle()
        self.sender.write(b"more")
        self.receiver.rst()
        self.pump.until(lambda: self.answered.told)
        self.pump.settle()
        self.assertEqual(self.answered.told, [ConnectionLost])
        self.assertEqual((self.left, self.pool.lent), ([], 0))
        self.source.abortConnection()
        self.pump.until(lambda: self.heard.told)

    def test_a_reset_source_is_no_source_that_has_ended(self):
        self.start(MIB)
        self.sender.write(noise(LEAST))
        self.pump.until(lambda: self.moved == LEAST)
        self.sender.rst()
        self.pump.until(lambda: self.heard.told)
        self.assertEqual((self.heard.told, self.left), ([ConnectionLost], [MIB - LEAST]))

    def test_what_a_reset_source_has_sent_is_left_to_its_transport(self):
        self.patch(stream, "_READS_A_TURN", 1)
        read_before_loss(self.source)
        self.receiver.reading = False
        self.start(8 * MIB)
        self.sender.write(noise(8 * MIB))
        self.pump.settle()
        taken = 8 * MIB - self.sender.waiting - self.pump.unacknowledged(self.sender)
        self.sender.rst()
        self.pump.settle()
        self.receiver.reading = True
        self.pump.until(lambda: self.heard.told)
        self.pump.settle()
        self.assertEqual(len(self.receiver.received) + len(self.heard.received), taken)

    def test_a_sink_that_is_lost_meanwhile_gets_its_socket_back_to_close_it(self):
        descriptors = open_descriptors()
        # It ends with the client's FIN, which its stream reads.
        self.sink, ended, self.receiver = stream_to(Heard(), self.pump)
        self.receiver.reading = False
        self.start(8 * MIB)
        self.sender.write(noise(8 * MIB))
        self.pump.settle()
        self.receiver.fin()
        self.pump.until(lambda: ended.told)
        self.pump.settle()
        self.receiver.sock.close()
        self.pool.close()
        self.assertEqual((self.left, self.pool.lent, open_descriptors()), ([], 0, descriptors))

    def test_either_end_can_be_aborted_meanwhile(self):
        for name in ("source", "sink"):
            with self.subTest(end=name):
                self.setUp()
                self.receiver.reading = False
                self.start(8 * MIB)
                self.sender.write(noise(8 * MIB))
                self.pump.settle()
                getattr(self, name).abortConnection()
                self.pump.settle()
                self.assertEqual((self.left, self.pool.lent), ([], 0))
                far = self.sender if name == "source" else self.receiver
                far.reading = True
                self.pump.until(lambda far=far: far.was_reset)

    def test_a_pipe_that_is_taken_back_loses_nothing(self):
        self.receiver.reading = False
        moving = self.start(8 * MIB)
        self.sender.write(noise(8 * MIB))
        self.pump.settle()
        self.assertFalse(moving.is_stalled)
        self.pump.reactor.advance(2)
        self.sender.write(b"")
        self.pump.poller.now += 2
        self.assertTrue(moving.is_stalled)
        moving.empty_pipe()
        self.assertEqual(self.pool.lent, 0)
        self.assertGreater(self.pool.reclaimed, 0)
        self.source.pauseProducing()
        self.receiver.reading = True
        self.pump.until(lambda: self.left)
        self.pump.until(lambda: len(self.receiver.received) == self.moved)
        self.assertTrue(self.receiver.received == noise(8 * MIB)[: self.moved])
        self.assertEqual(self.left, [8 * MIB - self.moved])
        self.assertEqual(self.pool.reclaimed, 0)

    def test_in_a_crowd_one_pipe_is_filled_in_a_turn(self):
        """200 bodies would take a tenth of a second of one turn otherwise."""
        self.patch(self.pump.poller, "is_over", lambda: True)
        self.patch(pipes, "_SIZES", (size := 64 * 1024,))
        self.sender.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
        self.start(4 * size)
        self.sender.write(noise(4 * size))
        self.pump.poller.doRead()
        self.assertIn(self.moved, (size, 2 * size))  # each of the two sockets has an event
        self.pump.until(lambda: self.left)
        self.pump.until(lambda: self.receiver.received == noise(4 * size))

    def test_slow_sink_that_still_reads_keeps_its_pipe(self):
        """Only one that has taken nothing for a second is stalled: a pipe that is taken back makes the rest a copy."""
        self.receiver.reading = False
        moving = self.start(64 * MIB)
        self.sender.write(noise(16 * MIB))
        for _ in range(3):
            self.pump.settle()
            self.pump.reactor.advance(0.7)
            before = self.moved
            while self.moved == before:
                self.receiver.received += self.receiver.sock.recv(64 * 1024)
                self.pump.turn()
            self.assertTrue(moving.is_blocked)
            self.assertFalse(moving.is_stalled)
        self.pump.poller.now += 1
        self.assertTrue(moving.is_stalled)
        moving.stop()

    def test_stopped_poller_closes_both_sockets(self):
        """A socket that nothing refers to any more is closed late, or never."""
        self.start(MIB)
        self.pump.settle()
        self.pump.stopped = True
        self.pump.poller.stop()
        self.assertEqual((self.heard.told, self.answered.told), ([ConnectionAborted], [ConnectionAborted]))
        self.assertEqual((self.left, self.pool.lent, len(self.pump.poller)), ([], 0, 0))

    def test_the_other_direction_of_lent_sockets_is_copied(self):
        """An answer may begin while its request is still sent: to lend both ends twice would mix the bytes of the two."""
        self.start(8 * MIB)
        self.sender.write(noise(4 * MIB))
        self.assertIsNone(self.splicer.start(self.sink, self.source, MIB, id, id))
        self.sender.write(noise(8 * MIB)[4 * MIB :])
        self.pump.until(lambda: len(self.receiver.received) == 8 * MIB)
        self.assertTrue(self.receiver.received == noise(8 * MIB))
        self.assertEqual((self.left, self.heard.received), ([0], b""))
        self.assert_given_back()

    def test_the_sink_is_read_on_meanwhile(self):
        """Its peer may send more than one read has, and then wait: no further event follows for the rest."""
        self.start(MIB)
        self.sink.pauseProducing()
        self.receiver.write(noise(MIB))
        self.pump.settle()
        self.sink.resumeProducing()
        self.pump.until(lambda: self.answered.received == noise(MIB))
        self.assertEqual(self.left, [])
        self.sender.write(noise(MIB))
        self.pump.until(lambda: self.left)

    def test_what_cannot_be_spliced_is_copied(self):
        self.assertIsNone(self.start(LEAST - 1))
        for none in (Splicer(None, None), Splicer(self.pump.poller, None)):
            self.assertIsNone(none.start(self.source, self.sink, MIB, id, id))
        self.assertIsNone(self.splicer.start(object(), self.sink, MIB, id, id))
        self.receiver.reading = False
        self.sink.write(noise(8 * MIB))  # what waits to be sent goes first
        self.assertIsNone(self.start(MIB))
        self.assertEqual(self.pool.lent, 0)
