"""What is special to splicing: bulk transfers, pipes, and sockets that cannot be spliced."""

from __future__ import annotations

import errno
import os
import socket

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import CloseReason
from smartproxy.relays import splice
from smartproxy.relays.pipes import PipePool
from tests.builds import only_pure
from tests.relays.relaying import MIB, noise
from tests.relays.test_over_sockets import OverSockets
from tests.relays.worlds import SpliceWorld


class SpliceRelayTests(OverSockets, SynchronousTestCase):
    def world(self, **nature):
        return SpliceWorld(self, **nature)

    def test_bytes_in_the_pipe_at_the_end_of_a_turn_are_written(self):
        """The socket is empty, so there is no further event: once, the last of eight reads stayed in the pipe."""
        self.patch(
            splice.SpliceHalf, "TURNS", 2
        )  # one read that finds out that it is bulk, one into the pipe
        world = self.linked()
        answer = noise(splice._COPY + 60_000)
        world.upstream.write(answer)
        world.settle()
        self.assert_same(world.client.received, answer)

    @only_pure
    def test_in_a_crowd_a_bulk_transfer_moves_one_chunk_at_a_time(self):
        """200 of them would take half a second of one turn otherwise."""
        world = self.linked()
        self.patch(world.pump.poller, "is_over", lambda: True)
        moved = []
        self.patch(world.relay.client, "count", lambda count, now: moved.append(count))
        sock = world.upstream.sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
        world.upstream.write(noise(5 * splice._COPY))
        world.relay.upstream.ready(1)
        self.assertEqual(moved, [splice._COPY])
        world.settle()
        self.assert_same(world.client.received, noise(5 * splice._COPY))

    def test_an_idle_connection_holds_no_pipe(self):
        world = self.linked()
        world.upstream.write(noise(MIB))
        world.settle()
        self.assert_same(world.client.received, noise(MIB))
        self.assertEqual(world.pool.lent, 0)

    def test_a_blocked_direction_holds_one_pipe(self):
        world = self.linked(**self.NARROW)
        world.client.reading = False
        world.upstream.write(noise(MIB))
        world.settle()
        self.assertEqual(world.pool.lent, 1)

    def test_a_pipe_with_bytes_in_it_is_not_lent_again(self):
        world = self.linked(**self.NARROW)
        world.client.reading = False
        world.upstream.write(noise(MIB))
        world.settle()
        world.relay.abort(CloseReason.ADMIN)
        pipe = world.pool.lend(self)
        self.assertRaises(BlockingIOError, os.read, pipe.read, 1)
        world.pool.take_back(self, pipe, empty=True)
        world.pool.close()

    def stalled(self, pool):
        """A download through the one pipe of ``pool`` that its client does not read."""
        world = self.world(**self.NARROW)
        world.pool = pool
        world.link()
        world.client.reading = False
        world.upstream.write(noise(MIB))
        world.settle()
        world.pump.poller.now = splice._STALLED
        return world

    def test_a_direction_blocked_for_a_moment_keeps_its_pipe(self):
        """Moving its bytes to memory would cost more than copying those of the other."""
        pool = PipePool()
        self.patch(pool, "_most", 1)
        first, second = self.stalled(pool), self.world()
        first.pump.poller.now = splice._STALLED / 2
        second.pool = pool
        second.link()
        second.upstream.write(noise(MIB))
        second.settle()
        self.assert_same(second.client.received, noise(MIB))
        self.assertEqual((pool.reclaimed, first.relay.client.pipe is not None), (0, True))
        first.relay.abort(CloseReason.ADMIN)

    def test_a_stalled_direction_gives_its_pipe_to_others_and_loses_nothing(self):
        pool = PipePool()
        self.patch(pool, "_most", 1)
        worlds = [self.stalled(pool) for _ in range(3)]
        self.assertEqual([world.relay.client.pipe is not None for world in worlds], [False, False, True])
        self.assertEqual(pool.lent, 1)
        self.assertEqual(pool.reclaimed, sum(world.relay.client.waiting for world in worlds[:2]))
        for world in worlds:
            world.client.reading = True
            world.settle()
            self.assert_same(world.client.received, noise(MIB))
            self.assert_counted(world)
        self.assertEqual((pool.lent, pool.reclaimed), (0, 0))
        pool.close()

    def test_a_stalled_direction_without_its_pipe_can_be_ended(self):
        pool = PipePool()
        self.patch(pool, "_most", 1)
        worlds = [self.stalled(pool) for _ in range(2)]
        worlds[0].relay.abort(CloseReason.ADMIN)
        self.assertEqual((pool.lent, pool.reclaimed), (1, 0))
        worlds[1].relay.abort(CloseReason.ADMIN)
        self.assertEqual(pool.lent, 0)

    @only_pure
    def test_without_pipes_the_bytes_are_copied(self):
        world = self.world()
        world.pool = PipePool()
        self.patch(world.pool, "lend", lambda _: None)
        world.link()
        world.upstream.write(noise(MIB))
        world.settle()
        self.assert_same(world.client.received, noise(MIB))

    def test_sockets_that_cannot_be_spliced_are_copied(self):
        def refuse(*_, **__):
            raise OSError(errno.EINVAL, "Invalid argument")

        self.patch(splice.os, "splice", refuse)
        world = self.linked()
        world.upstream.write(noise(MIB))
        world.settle()
        self.assert_same(world.client.received, noise(MIB))
        self.assertIsNone(world.relay.pipes)
        self.assertEqual(world.pool.lent, 0)

    def test_an_exception_in_an_event_resets_both_sides(self):
        world = self.linked()
        world.relay.client.failed(Failure(ValueError()))
        self.assert_over(world, CloseReason.ERROR)
        self.assertTrue(world.client.was_reset)
        world.assert_nothing_is_left(self)

    def client_owner(self, world):
        return world.relay.client
