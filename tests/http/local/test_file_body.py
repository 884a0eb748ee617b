"""Reading a file for a client: in the reactor's thread where it is in memory, else in another one."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.http.local.file_body import PIECE, FileBody
from smartproxy.http.local.files_below import OpenFile


class ReadingTests(SynchronousTestCase):
    """The kernel has nothing in memory: every piece is read in a thread, which is the test."""

    def setUp(self):
        path = Path(self.mktemp())
        path.write_bytes(bytes(range(256)) * 4096)
        fd = os.open(path, os.O_RDONLY)
        self.size = path.stat().st_size
        self.content = path.read_bytes()
        self.asked, self.soon, self.written, self.ended, self.failures = [], [], [], [], []
        refuse = mock.patch("os.preadv", side_effect=BlockingIOError)
        refuse.start()
        self.addCleanup(refuse.stop)
        self.file = OpenFile(fd, self.size, 0)
        self.body = FileBody(
            self.file, 0, self.size, lambda *_rest: None, lambda data: self.written.append(bytes(data)), lambda: self.ended.append(1),
            self.failures.append, self.soon.append, self.in_thread,
        )  # fmt: skip

    def in_thread(self, call):
        done = Deferred()
        self.asked.append((call, done))
        return done

    def answer(self):
        call, done = self.asked.pop(0)
        done.callback(call())
        while self.soon:
            self.soon.pop(0)()

    def is_open(self):
        try:
            os.fstat(self.file.fd)
        except OSError:
            return False
        return True

    def test_pieces_are_read_one_after_the_other(self):
        self.body.resume()
        while self.asked:
            self.assertEqual(len(self.asked), 1)
            self.answer()
        self.assertEqual((b"".join(self.written), self.ended), (self.content, [1]))
        self.assertFalse(self.is_open())

    def test_nothing_is_read_while_paused(self):
        self.body.resume()
        self.body.pause()
        self.answer()
        self.assertEqual((len(self.written[0]), self.asked), (PIECE, []))
        self.body.resume()
        self.assertEqual(len(self.asked), 1)
        self.answer()
        self.body.close()

    def test_a_descriptor_is_not_closed_while_a_thread_reads_it(self):
        """Its number could be that of another file by then."""
        self.body.resume()
        self.body.close()
        self.assertTrue(self.is_open())
        self.answer()
        self.assertEqual((self.written, self.asked, self.is_open()), ([], [], False))

    def test_an_error_of_the_disk_ends_the_answer(self):
        self.body.resume()
        _, done = self.asked.pop()
        done.errback(Failure(OSError(5, "Input/output error")))
        self.assertEqual(self.failures, ["the file cannot be read: [Errno 5] Input/output error"])
        self.assertFalse(self.is_open())
