"""The pool of pipes: opened on demand, kept when empty, smaller when the kernel refuses large ones."""

from __future__ import annotations

import errno
import fcntl
import os

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.relays import pipes
from smartproxy.relays.pipes import PipePool
from tests.pumps import open_descriptors


class PipePoolTests(SynchronousTestCase):
    def setUp(self):
        self.before = open_descriptors()
        self.pool = PipePool()
        self.addCleanup(self.pool.close)

    def test_a_pipe_has_its_stated_size_and_does_not_block(self):
        pipe = self.pool.lend()
        self.assertEqual(fcntl.fcntl(pipe.write, fcntl.F_GETPIPE_SZ), pipe.size)
        self.assertRaises(BlockingIOError, os.read, pipe.read, 1)
        os.write(pipe.write, b"x")
        self.assertEqual(os.read(pipe.read, 9), b"x")
        self.pool.take_back(pipe, empty=True)

    def test_an_empty_pipe_is_lent_again(self):
        pipe = self.pool.lend()
        self.assertEqual(self.pool.lent, 1)
        self.pool.take_back(pipe, empty=True)
        self.assertEqual(self.pool.lent, 0)
        self.assertEqual(self.pool.lend(), pipe)
        self.pool.take_back(pipe, empty=True)

    def test_a_pipe_with_bytes_in_it_is_closed(self):
        pipe = self.pool.lend()
        os.write(pipe.write, b"somebody's secret")
        self.pool.take_back(pipe, empty=False)
        self.assertEqual(open_descriptors(), self.before)
        other = self.pool.lend()
        self.assertRaises(BlockingIOError, os.read, other.read, 1)
        self.pool.take_back(other, empty=True)

    def test_the_number_of_idle_pipes_is_limited(self):
        lent = [self.pool.lend() for _ in range(pipes._SPARE + 3)]
        for pipe in lent:
            self.pool.take_back(pipe, empty=True)
        self.assertEqual(open_descriptors(), self.before + 2 * pipes._SPARE)
        self.pool.close()
        self.assertEqual(open_descriptors(), self.before)

    def test_over_the_page_limit_smaller_pipes_are_lent(self):
        asked = []
        real = fcntl.fcntl

        def stingy(fd, command, *argument):
            if command == fcntl.F_SETPIPE_SZ:
                asked.append(argument[0])
                if argument[0] > 65536:
                    raise OSError(errno.EPERM, "Operation not permitted")
            return real(fd, command, *argument)

        self.patch(pipes.fcntl, "fcntl", stingy)
        pipe = self.pool.lend()
        self.assertEqual((asked, pipe.size), ([1 << 20, 256 << 10, 64 << 10], 65536))
        self.pool.take_back(pipe, empty=True)

    def test_a_pipe_that_cannot_be_resized_keeps_its_size(self):
        real = fcntl.fcntl

        def refuse(fd, command, *argument):
            if command == fcntl.F_SETPIPE_SZ:
                raise OSError(errno.EPERM, "Operation not permitted")
            return real(fd, command, *argument)

        self.patch(pipes.fcntl, "fcntl", refuse)
        pipe = self.pool.lend()
        self.assertEqual(pipe.size, real(pipe.write, fcntl.F_GETPIPE_SZ))
        self.pool.take_back(pipe, empty=True)

    def test_without_descriptors_no_pipe_is_lent(self):
        def refuse(flags):
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(pipes.os, "pipe2", refuse)
        self.assertIsNone(self.pool.lend())
        self.assertEqual(self.pool.lent, 0)
