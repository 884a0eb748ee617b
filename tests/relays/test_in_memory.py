"""The relay between transports, in memory: with delays, without half-close, and with data after a pause."""

from __future__ import annotations

from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import CloseReason
from smartproxy.testing import Nature
from tests.relays.relaying import MIB, RelayTests, noise
from tests.relays.worlds import MemoryWorld


class TransportRelayInMemoryTests(RelayTests, SynchronousTestCase):
    NARROW: ClassVar = {"window": 16 * 1024}
    #: Two windows and two buffers: what was on its way, and a chunk above the high-water mark.
    BOUND = 256 * 1024

    def world(self, **nature):
        return MemoryWorld(self, Nature(**nature))

    def test_memory_is_bounded_by_the_high_water_mark(self):
        world = self.linked(**self.NARROW)
        world.client.reading = False
        world.upstream.write(noise(8 * MIB))
        world.settle()
        self.assertLess(world.transports[0].most, 2 * 64 * 1024)

    def test_pieces_of_a_few_bytes_with_random_delays(self):
        """Relayed bytes must not depend on how they are split, nor on pauses between the pieces."""
        world = self.linked(sizes=range(1, 8), delays=(0.0, 0.001, 0.05, 0.3))
        up, down = noise(3000, 5), noise(4000, 6)
        world.client.write(up)
        world.upstream.write(down)
        world.client.fin()
        world.upstream.fin()
        self.assert_over(world, CloseReason.NORMAL)
        self.assert_same(world.upstream.received, up)
        self.assert_same(world.client.received, down)
        self.assert_counted(world)

    def test_a_chunk_received_after_the_pause_is_relayed(self):
        """TLS delivers what it has decrypted already, although it was paused."""
        world = self.linked(window=16 * 1024, late=True)
        answer = noise(MIB)
        world.client.reading = False
        world.upstream.write(answer)
        world.settle()
        self.assertGreater(world.upstream.waiting, MIB // 2)
        world.client.reading = True
        world.settle()
        self.assert_same(world.client.received, answer)

    def test_without_half_close_one_end_closes_both_directions(self):
        """Twisted's TLS: what the client sent is delivered before the upstream is closed."""
        world = self.linked(half_closes=False)
        world.client.write(b"all of it")
        world.client.close()
        self.assert_over(world, CloseReason.NORMAL)
        self.assertEqual((world.upstream.received, world.upstream.was_reset), (b"all of it", False))
        world.assert_nothing_is_left(self)

    def test_without_half_close_the_whole_answer_is_delivered(self):
        world = self.linked(half_closes=False, window=1000)
        answer = noise(50_000)
        world.upstream.write(answer)
        world.upstream.close()
        self.assert_over(world, CloseReason.NORMAL)
        self.assert_same(world.client.received, answer)
        self.assertFalse(world.client.was_reset)

    def test_the_record_has_the_time_of_the_last_byte(self):
        world = self.linked()
        world.clock.advance(12.5)
        world.client.write(b"x")
        world.settle()
        self.assertEqual(world.record.last_activity_at, 12.5)

    def test_bytes_relayed_before_a_reset_reach_a_slow_peer(self):
        """What the transport still holds is sent before the connection is reset."""
        for index, reason in enumerate((CloseReason.CLIENT_RESET, CloseReason.UPSTREAM_RESET)):
            world = self.linked(window=1000)
            ends = world.client, world.upstream
            sender, receiver = ends[index], ends[1 - index]
            receiver.reading = False
            sender.write(noise(20_000))
            world.settle()
            sender.rst()
            world.settle()
            self.assertEqual(world.outcome, [])
            receiver.reading = True
            self.assert_over(world, reason)
            self.assert_same(receiver.received, noise(20_000))
            self.assertEqual((receiver.ended, receiver.was_reset), (False, True))
