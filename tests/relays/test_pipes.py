"""The pool of pipes: opened on demand, kept when empty, smaller when the kernel refuses large ones."""

from __future__ import annotations

import errno
import fcntl
import os

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.net import descriptors
from smartproxy.relays import pipes
from smartproxy.relays.pipes import PipePool
from tests.pumps import open_descriptors


class Holder:
    """A borrower, which may be stalled."""

    def __init__(self, pool, *, stalled):
        self.pool = pool
        self.is_stalled = stalled

    def empty_pipe(self):
        self.pool.reclaimed += len(os.read(self.pipe.read, self.pipe.size))
        self.is_stalled = False
        self.pool.take_back(self, self.pipe, empty=True)


class PipePoolTests(SynchronousTestCase):
    def setUp(self):
        self.before = open_descriptors()
        self.pool = PipePool()
        self.addCleanup(self.pool.close)
        self.holders = {}

    def lend(self, *, stalled=False):
        """A pipe, lent to a borrower of its own."""
        holder = Holder(self.pool, stalled=stalled)
        pipe = holder.pipe = self.pool.lend(holder)
        self.holders[pipe] = holder
        return pipe

    def take_back(self, pipe, *, empty):
        self.pool.take_back(self.holders.pop(pipe), pipe, empty=empty)

    def test_a_pipe_has_its_stated_size_and_does_not_block(self):
        pipe = self.lend()
        self.assertEqual(fcntl.fcntl(pipe.write, fcntl.F_GETPIPE_SZ), pipe.size)
        self.assertRaises(BlockingIOError, os.read, pipe.read, 1)
        os.write(pipe.write, b"x")
        self.assertEqual(os.read(pipe.read, 9), b"x")
        self.take_back(pipe, empty=True)

    def test_an_empty_pipe_is_lent_again(self):
        pipe = self.lend()
        self.assertEqual(self.pool.lent, 1)
        self.take_back(pipe, empty=True)
        self.assertEqual(self.pool.lent, 0)
        self.assertEqual(self.lend(), pipe)
        self.take_back(pipe, empty=True)

    def test_a_pipe_with_bytes_in_it_is_closed(self):
        pipe = self.lend()
        os.write(pipe.write, b"somebody's secret")
        self.take_back(pipe, empty=False)
        self.assertEqual(open_descriptors(), self.before)
        other = self.lend()
        self.assertRaises(BlockingIOError, os.read, other.read, 1)
        self.take_back(other, empty=True)

    def test_the_number_of_idle_pipes_is_limited(self):
        lent = [self.lend() for _ in range(pipes._SPARE + 3)]
        for pipe in lent:
            self.take_back(pipe, empty=True)
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
        pipe = self.lend()
        self.assertEqual((asked, pipe.size), ([1 << 20, 256 << 10, 64 << 10], 65536))
        self.take_back(pipe, empty=True)

    def test_a_pipe_that_cannot_be_resized_keeps_its_size(self):
        real = fcntl.fcntl

        def refuse(fd, command, *argument):
            if command == fcntl.F_SETPIPE_SZ:
                raise OSError(errno.EPERM, "Operation not permitted")
            return real(fd, command, *argument)

        self.patch(pipes.fcntl, "fcntl", refuse)
        pipe = self.lend()
        self.assertEqual(pipe.size, real(pipe.write, fcntl.F_GETPIPE_SZ))
        self.take_back(pipe, empty=True)

    def test_without_descriptors_no_pipe_is_lent(self):
        def refuse(flags):
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(pipes.os, "pipe2", refuse)
        self.assertIsNone(self.lend())
        self.assertEqual(self.pool.lent, 0)

    # -- limits ----------------------------------------------------------------------------------------

    def test_the_number_of_pipes_is_limited(self):
        self.patch(self.pool, "_most", 3)
        lent = [self.lend() for _ in range(4)]
        self.assertEqual((lent[3], self.pool.lent), (None, 3))
        self.take_back(lent[0], empty=False)
        self.assertIsNotNone(self.lend())

    def test_pipes_take_an_eighth_of_the_descriptors_at_most(self):
        for limit, most in ((128, 7), (1024, 60), (65536, 256)):
            self.patch(descriptors.resource, "getrlimit", lambda _, limit=limit: (limit, limit))
            self.assertEqual(PipePool()._most, most)

    def test_no_pipe_takes_a_descriptor_of_the_reserve(self):
        """They are for existing connections: dialling, the admin listener, logs."""
        pipe = self.lend()
        self.patch(self.pool, "_highest", max(pipe.read, pipe.write) + 1)
        self.assertIsNone(self.lend())
        self.assertEqual(open_descriptors(), self.before + 2)

    def test_a_stalled_direction_loses_its_pipe_to_a_busy_one(self):
        self.patch(self.pool, "_most", 2)
        stalled, busy = self.lend(stalled=True), self.lend()
        os.write(stalled.write, b"stalled")
        self.assertEqual(self.lend(), stalled)
        self.assertEqual((self.pool.lent, self.pool.reclaimed), (2, len(b"stalled")))
        self.assertIsNone(self.lend())
        self.take_back(busy, empty=True)

    def test_bytes_taken_out_of_pipes_are_limited(self):
        """Else 10,000 clients that ask for a download and do not read it would take 10 GB."""
        self.patch(self.pool, "_most", 1)
        self.lend(stalled=True)
        self.pool.reclaimed = pipes._MOST_RECLAIMED
        self.assertIsNone(self.lend())
