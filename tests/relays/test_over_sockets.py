"""Relays over real sockets: what depends on the kernel, and what is special to splicing."""

from __future__ import annotations

import errno
import os
from typing import ClassVar

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import CloseReason
from smartproxy.relays import splice
from smartproxy.relays.pipes import PipePool
from tests.relays.relaying import MIB, RelayTests, noise
from tests.relays.worlds import SocketWorld, SpliceWorld


class OverSockets(RelayTests):
    NARROW: ClassVar = {"buffers": 16 * 1024}
    #: Four kernel buffers, which the kernel doubles, and a pipe of 1 MiB.
    BOUND = 2 * MIB

    def test_an_early_answer_to_a_long_upload_is_delivered(self):
        """The upstream answers and closes while the client still sends: its kernel replies with a RST."""
        world = self.linked(**self.NARROW)
        world.upstream.reading = False
        world.client.write(noise(MIB))
        world.settle()
        world.upstream.write(b"413 too much")
        world.upstream.close()
        world.settle()
        self.assertEqual(world.client.received, b"413 too much")
        self.assertEqual(len(world.outcome), 1)
        world.assert_nothing_is_left(self)

    def test_an_answer_before_fin_and_reset_is_delivered(self):
        """It closed with nothing unread, so a FIN came first; a RST replies to what is sent afterwards."""
        world = self.linked()
        world.upstream.write(b"413 too much")
        world.upstream.close()
        world.settle()
        world.client.write(noise(MIB))
        world.settle()
        self.assertEqual(world.client.received, b"413 too much")
        self.assertEqual(world.outcome, [CloseReason.UPSTREAM_RESET])
        world.assert_nothing_is_left(self)

    def test_a_reset_reported_to_a_write_is_passed_on(self):
        """The kernel reports a RST once: after a write has got it, a read of the socket looks like a FIN."""
        world = self.linked()
        world.upstream.rst()
        world.client.write(b"ask")
        self.write_before_the_event(world)
        self.assert_over(world, CloseReason.UPSTREAM_RESET)
        self.assertTrue(world.client.was_reset)

    def write_before_the_event(self, world) -> None:
        """Relay the client's bytes before the event of the upstream's RST is dispatched."""
        watched = world.pump.poller._watched
        client = next(owner for fd, owner in watched.items() if owner is self.client_owner(world))
        client.ready(1)

    def test_bytes_unsent_before_the_link_precede_the_header(self):
        """A transport that is detached may still hold bytes for its peer; they are no payload of the relay."""
        world = self.world(**self.NARROW)
        world.upstream.reading = False
        early = noise(256 * 1024)
        world.near[1].transport.write(early)
        world.client.write(b"held")
        world.settle()
        world.link(b"HEADER ")
        world.settle()
        world.upstream.reading = True
        world.settle()
        self.assert_same(world.upstream.received, early + b"HEADER held")
        self.assertEqual(world.record.bytes_received, len(b"held"))

    def test_all_descriptors_are_closed(self):
        for _ in range(3):
            world = self.linked()
            world.client.write(b"x")
            world.settle()
            world.client.fin()
            world.upstream.fin()
            self.assert_over(world, CloseReason.NORMAL)
            world.assert_nothing_is_left(self)


class TransportRelayOverStreamsTests(OverSockets, SynchronousTestCase):
    def world(self, **nature):
        return SocketWorld(self, **nature)

    def client_owner(self, world):
        return world.near[0].transport


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
        pipe = world.pool.lend()
        self.assertRaises(BlockingIOError, os.read, pipe.read, 1)
        world.pool.take_back(pipe, empty=True)
        world.pool.close()

    def test_without_pipes_the_bytes_are_copied(self):
        world = self.world()
        world.pool = PipePool()
        self.patch(world.pool, "lend", lambda: None)
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
