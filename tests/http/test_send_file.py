"""Files that the kernel sends, over real sockets: exactly the bytes asked for, and the transport as it was before."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.http.body import LEAST_MOVED as LEAST
from smartproxy.http.local.file_body import FileBody
from smartproxy.http.local.files_below import OpenFile
from smartproxy.http.send_file import PIECE
from smartproxy.http.splice import Splicer
from smartproxy.relays.pipes import PipePool
from tests.net.streams import HalfHeard, Heard, stream_to
from tests.pumps import Pump, open_descriptors

MIB = 1 << 20
SIZE = 3 * MIB + 17


class SendFileCase(SynchronousTestCase):
    def setUp(self):
        self.pump = Pump(self)
        self.splicer = Splicer(self.pump.poller, PipePool())
        self.sink, self.heard, self.receiver = stream_to(HalfHeard(), self.pump)
        self.path = Path(self.mktemp())
        self.content = os.urandom(SIZE)
        self.path.write_bytes(self.content)
        self.fd = os.open(self.path, os.O_RDONLY)
        self.moved, self.left = 0, []

    def count(self, moved):
        self.moved += moved

    def received(self, count):
        self.pump.until(lambda: len(self.receiver.received) >= count)
        return bytes(self.receiver.received)


class SendingTests(SendFileCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(os.close, self.fd)

    def start(self, at=0, left=SIZE):
        return self.splicer.send_file(self.fd, at, left, self.sink, self.count, self.left.append)

    def test_exactly_the_part_is_sent_behind_what_was_written(self):
        for at, left in ((0, SIZE), (1, LEAST), (PIECE - 1, PIECE + 2), (SIZE - LEAST, LEAST)):
            with self.subTest(at=at, left=left):
                self.moved, begin = 0, len(self.receiver.received)
                self.left.clear()
                self.sink.write(b"head")
                self.start(at, left)
                self.pump.until(lambda: self.left)
                self.sink.write(b"behind")
                got = self.received(begin + left + 10)[begin:]
                self.assertTrue(got == b"head" + self.content[at : at + left] + b"behind")
                self.assertEqual((self.moved, self.left), (left, [0]))

    def test_requests_are_read_meanwhile(self):
        self.receiver.reading = False
        self.start()
        self.receiver.write(b"the next request")
        self.pump.until(lambda: self.heard.received == b"the next request")
        self.assertLess(self.moved, SIZE)
        self.receiver.reading = True
        self.assertTrue(self.received(SIZE) == self.content)

    def test_in_a_crowd_one_piece_is_sent_in_a_turn(self):
        """200 downloads would take a tenth of a second of one turn otherwise."""
        self.patch(self.pump.poller, "is_over", lambda: True)
        self.start()
        self.pump.poller.doRead()
        self.assertTrue(0 < self.moved <= PIECE)
        self.assertTrue(self.received(SIZE) == self.content)
        self.assertEqual(self.left, [0])

    def test_file_that_becomes_shorter_ends_it(self):
        self.receiver.reading = False
        self.start()
        self.pump.settle()
        os.truncate(self.path, MIB)
        self.receiver.reading = True
        self.pump.until(lambda: self.left)
        self.assertEqual(self.left, [SIZE - self.moved])
        self.assertLessEqual(self.moved, MIB + PIECE)

    def test_what_is_not_in_memory_is_left(self):
        """The second piece is on the disk: the kernel would wait for it."""
        read = os.preadv

        def preadv(fd, buffers, at, flags):
            if at >= PIECE:
                raise BlockingIOError
            return read(fd, buffers, at, flags)

        with mock.patch("os.preadv", preadv):
            self.start()
            self.pump.until(lambda: self.left)
        self.assertEqual((self.moved, self.left), (PIECE, [SIZE - PIECE]))

    def test_nothing_is_lent_where_the_begin_is_not_in_memory(self):
        with mock.patch("os.preadv", side_effect=BlockingIOError):
            self.assertIsNone(self.start())
        self.sink.write(b"as before")
        self.assertEqual(self.received(9), b"as before")

    def test_client_that_resets_or_is_aborted_ends_it(self):
        for end in ("rst", "abort"):
            with self.subTest(end=end):
                self.setUp()
                self.receiver.reading = False
                self.start()
                self.pump.settle()
                if end == "rst":
                    self.receiver.rst()
                else:
                    self.sink.abortConnection()
                self.pump.until(lambda: self.heard.told)
                self.assertEqual(self.left, [])

    def test_transport_that_is_lost_meanwhile_gets_its_socket_back_to_close_it(self):
        descriptors = open_descriptors()
        # It ends with the client's FIN, which its stream reads.
        self.sink, ended, self.receiver = stream_to(Heard(), self.pump)
        self.receiver.reading = False
        self.start()
        self.pump.settle()
        self.receiver.fin()
        self.pump.until(lambda: ended.told)
        self.pump.settle()
        self.receiver.sock.close()
        self.assertEqual((self.left, open_descriptors()), ([], descriptors))

    def test_what_the_kernel_cannot_send_is_read(self):
        self.assertIsNone(self.start(left=LEAST - 1))
        self.assertIsNone(self.splicer.send_file(self.fd, 0, SIZE, object(), self.count, self.left.append))
        for none in (Splicer(None, None), Splicer(self.pump.poller, None)):
            self.assertIsNone(none.send_file(self.fd, 0, SIZE, self.sink, self.count, self.left.append))


class FileBodyTests(SendFileCase):
    """A whole body: sent by the kernel as far as possible, and read where it is not."""

    def setUp(self):
        super().setUp()
        self.ended, self.failures, self.soon = [], [], []
        self.body = FileBody(
            OpenFile(self.fd, SIZE, 0), 0, SIZE, self.send, self.write, lambda: self.ended.append(1),
            self.failures.append, self.soon.append, self.fail,
        )  # fmt: skip

    def send(self, fd, at, left, ended):
        return self.splicer.send_file(fd, at, left, self.sink, self.count, ended)

    def write(self, data):
        self.sink.write(bytes(data))

    def run_until(self, condition):
        def step():
            while self.soon:
                self.soon.pop(0)()
            return condition()

        self.pump.until(step)

    def test_pieces_in_the_way_are_read(self):
        """sendfile(2) fails now and then: what it has not sent is read once, and each byte is sent once."""
        send, calls = os.sendfile, []

        def sendfile(*args):
            calls.append(args)
            if len(calls) % 3 == 2:
                raise OSError(5, "Input/output error")
            return send(*args)

        with mock.patch("os.sendfile", sendfile):
            self.body.resume()
            self.run_until(lambda: self.ended)
        self.assertTrue(self.received(SIZE) == self.content)
        self.assertEqual(self.failures, [])
        self.assertLess(self.moved, SIZE)
        self.assertRaises(OSError, os.fstat, self.fd)

    def test_connection_that_takes_nothing_more_is_lost(self):
        """It is not tried again and again."""
        with mock.patch("os.sendfile", side_effect=BrokenPipeError):
            self.receiver.rst()
            self.body.resume()
            self.run_until(lambda: self.heard.told)
        self.body.close()
        self.assertRaises(OSError, os.fstat, self.fd)

    def test_close_stops_it_and_closes_the_file(self):
        self.receiver.reading = False
        self.body.resume()
        self.pump.settle()
        self.body.close()
        self.assertRaises(OSError, os.fstat, self.fd)
        self.receiver.reading = True
        self.pump.settle()
        self.sink.write(b"behind")
        self.pump.until(lambda: bytes(self.receiver.received).endswith(b"behind"))
        self.assertEqual(len(self.receiver.received), self.moved + 6)
