"""What is special to the relay that copies: one shared buffer, what waits in memory, and its share of a turn."""

from __future__ import annotations

import socket

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import CloseReason
from smartproxy.relays import copying
from tests.builds import only_pure
from tests.pumps import open_descriptors
from tests.relays.relaying import MIB, noise
from tests.relays.test_over_sockets import OverSockets
from tests.relays.worlds import CopyWorld


class CopyRelayTests(OverSockets, SynchronousTestCase):
    #: Four kernel buffers, which the kernel doubles, and one read.
    BOUND = 512 * 1024

    def world(self, **nature):
        return CopyWorld(self, **nature)

    def client_owner(self, world):
        return world.relay.client

    def blocked(self, size=MIB):
        """A download of ``size`` bytes that its client does not read."""
        world = self.linked(**self.NARROW)
        world.client.reading = False
        self.enlarge(world.upstream, 2 * MIB)
        world.upstream.write(noise(size))
        world.settle()
        return world

    def enlarge(self, far, size):
        """Let the kernel hold ``size`` bytes that ``far`` sends, so that a read can be a full one."""
        far.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def test_what_a_slow_reader_leaves_is_bounded_and_sent_once(self):
        """It waits in memory, and each piece that the socket takes is one less; nothing is read meanwhile."""
        world = self.blocked()
        half = world.relay.client
        self.assertTrue(0 < half.waiting <= copying.COPY)
        last = half.waiting
        world.client.reading = True
        while half.waiting:
            world.pump.turn()
            self.assertTrue(half.waiting <= copying.COPY)
        self.assertGreater(last, 0)
        world.settle()
        self.assert_same(world.client.received, noise(MIB))
        self.assertEqual((half.waiting, half.pending), (0, b""))
        self.assert_counted(world)

    def test_blocked_directions_do_not_mix_in_the_shared_buffer(self):
        """Each read of another connection overwrites what was read before."""
        worlds = [self.linked(**self.NARROW) for _ in range(3)]
        for number, world in enumerate(worlds):
            world.client.reading = world.upstream.reading = False
            world.upstream.write(noise(MIB, number))
            world.client.write(noise(MIB, -1 - number))
        for world in worlds:
            world.settle()
        for number, world in enumerate(worlds):
            world.client.reading = world.upstream.reading = True
            world.settle()
            self.assert_same(world.client.received, noise(MIB, number))
            self.assert_same(world.upstream.received, noise(MIB, -1 - number))
            self.assert_counted(world)

    def test_a_header_that_is_sent_in_pieces_is_not_counted(self):
        world = self.world(**self.NARROW)
        world.upstream.reading = False
        world.client.write(b"held")
        world.settle()
        header = noise(200_000)
        world.link(header)
        world.settle()
        self.assertEqual(world.record.bytes_received, 0)
        world.upstream.reading = True
        world.settle()
        self.assert_same(world.upstream.received, header + b"held")
        self.assertEqual(world.record.bytes_received, len(b"held"))

    def test_bytes_left_at_the_end_of_a_turn_are_written(self):
        """The kernel does not report a socket again that was not drained."""
        self.patch(copying.CopyHalf, "TURNS", 1)
        world = self.linked()
        self.enlarge(world.upstream, 2 * MIB)
        world.upstream.write(noise(3 * copying.COPY + 1))
        world.settle()
        self.assert_same(world.client.received, noise(3 * copying.COPY + 1))

    @only_pure
    def test_in_a_crowd_a_bulk_transfer_moves_one_chunk_at_a_time(self):
        """200 of them would take a third of a second of one turn otherwise."""
        world = self.linked()
        self.patch(world.pump.poller, "is_over", lambda: True)
        moved = []
        self.patch(world.relay.client, "count", lambda count, now: moved.append(count))
        self.enlarge(world.upstream, 4 * MIB)
        world.upstream.write(noise(3 * copying.COPY))
        world.relay.upstream.ready(1)
        self.assertEqual(len(moved), 1)
        self.assertLessEqual(moved[0], copying.COPY)
        world.settle()
        self.assert_same(world.client.received, noise(3 * copying.COPY))
        self.assertEqual(sum(moved), 3 * copying.COPY)

    def test_a_bulk_transfer_opens_no_descriptor(self):
        world = self.linked()
        before = open_descriptors()
        world.client.reading = False
        world.upstream.write(noise(8 * MIB))
        world.settle()
        self.assertEqual(open_descriptors(), before)

    def test_a_blocked_direction_that_is_aborted_drops_what_waits(self):
        world = self.blocked()
        half = world.relay.client
        world.relay.abort(CloseReason.ADMIN)
        self.assertEqual((half.waiting, half.pending), (0, b""))
        world.client.reading = True
        self.assert_over(world, CloseReason.ADMIN)
        world.assert_nothing_is_left(self)

    def test_an_exception_in_an_event_resets_both_sides(self):
        world = self.linked()
        world.relay.client.failed(Failure(ValueError()))
        self.assert_over(world, CloseReason.ERROR)
        self.assertTrue(world.client.was_reset)
        world.assert_nothing_is_left(self)
