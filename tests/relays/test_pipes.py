"""Pipes to splice through: made when needed, kept when empty, and what is done where the kernel gives less."""

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

    def test_a_pipe_is_as_large_as_it_says_and_blocks_nobody(self):
        pipe = self.pool.lend()
        self.assertEqual(fcntl.fcntl(pipe.write, fcntl.F_GETPIPE_SZ), pipe.size)
        self.assertRaises(BlockingIOError, os.read, pipe.read, 1)
        os.write(pipe.write, b"x")
        self.assertEqual(os.read(pipe.read, 9), b"x")
        self.pool.take_back(pipe, empty=True)

    def test_an_empty_one_is_lent_again(self):
        pipe = self.pool.lend()
        self.assertEqual(self.pool.lent, 1)
        self.pool.take_back(pipe, empty=True)
        self.assertEqual(self.pool.lent, 0)
        self.assertEqual(self.pool.lend(), pipe)
        self.pool.take_back(pipe, empty=True)

    def test_one_with_bytes_in_it_is_lent_to_nobody(self):
        pipe = self.pool.lend()
        os.write(pipe.write, b"somebody's secret")
        self.pool.take_back(pipe, empty=False)
        self.assertEqual(open_descriptors(), self.before)
        other = self.pool.lend()
        self.assertRaises(BlockingIOError, os.read, other.read, 1)
        self.pool.take_back(other, empty=True)

    def test_only_so_many_are_kept(self):
        lent = [self.pool.lend() for _ in range(pipes._SPARE + 3)]
        for pipe in lent:
            self.pool.take_back(pipe, empty=True)
        self.assertEqual(open_descriptors(), self.before + 2 * pipes._SPARE)
        self.pool.close()
        self.assertEqual(open_descriptors(), self.before)

    def test_where_the_user_may_have_no_more_large_ones_a_smaller_one_does(self):
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

    def test_where_no_size_can_be_had_the_pipe_is_as_it_is(self):
        real = fcntl.fcntl

        def refuse(fd, command, *argument):
            if command == fcntl.F_SETPIPE_SZ:
                raise OSError(errno.EPERM, "Operation not permitted")
            return real(fd, command, *argument)

        self.patch(pipes.fcntl, "fcntl", refuse)
        pipe = self.pool.lend()
        self.assertEqual(pipe.size, real(pipe.write, fcntl.F_GETPIPE_SZ))
        self.pool.take_back(pipe, empty=True)

    def test_where_there_are_no_descriptors_there_is_no_pipe(self):
        def refuse(flags):
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(pipes.os, "pipe2", refuse)
        self.assertIsNone(self.pool.lend())
        self.assertEqual(self.pool.lent, 0)
