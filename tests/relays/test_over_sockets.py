"""Relays over real sockets: what depends on the kernel, and what is special to splicing."""

from __future__ import annotations

import socket
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import CloseReason
from tests.relays.relaying import MIB, RelayTests, noise
from tests.relays.worlds import SocketWorld


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

    def test_bytes_relayed_before_a_reset_reach_a_slow_peer(self):
        """What the record has counted is delivered; then the reset follows, and no clean end."""
        for index, reason in enumerate((CloseReason.CLIENT_RESET, CloseReason.UPSTREAM_RESET)):
            world = self.linked()
            ends = world.client, world.upstream
            sender, receiver = ends[index], ends[1 - index]
            receiver.reading = False
            sender.write(noise(60_000))
            world.settle()
            sender.rst()
            world.settle()
            receiver.reading = True
            self.assert_over(world, reason)
            self.assert_same(receiver.received, noise(60_000))
            self.assert_counted(world)
            self.assertEqual((receiver.ended, receiver.was_reset), (False, True))
            world.assert_nothing_is_left(self)

    def test_a_long_answer_before_a_reset_reaches_a_slow_client(self):
        """More than the transport or the relay buffers: it waits in our kernel, and would be lost with a RST."""
        world = self.linked()
        world.client.reading = False
        world.upstream.write(noise(MIB))
        world.settle()
        world.upstream.rst()
        world.settle()
        self.assertEqual(world.outcome, [])
        world.client.reading = True
        self.assert_over(world, CloseReason.UPSTREAM_RESET)
        self.assert_same(world.client.received, noise(MIB))
        self.assertEqual((world.client.ended, world.client.was_reset), (False, True))
        world.assert_nothing_is_left(self)

    def test_a_long_answer_before_fin_and_reset_reaches_a_slow_client(self):
        """The FIN was passed on already; the reset of what the client sends afterwards must not overtake the answer."""
        for last in (lambda client: client.fin(), lambda client: client.write(b"still more")):
            world = self.linked()
            world.client.reading = False
            world.upstream.write(noise(MIB))
            world.upstream.fin()
            world.settle()
            world.upstream.close()
            world.client.write(b"more")
            world.settle()
            world.client.write(noise(MIB))  # which has nowhere to go
            world.settle()
            self.assertEqual(world.outcome, [])
            world.client.reading = True
            world.settle()
            self.assert_same(world.client.received, noise(MIB))
            self.assertTrue(world.client.ended)
            last(world.client)
            self.assert_over(world, CloseReason.UPSTREAM_RESET)
            world.assert_nothing_is_left(self)

    def test_an_answer_is_delivered_while_the_client_goes_on_sending(self):
        """Unread bytes of the client would make our close a RST, which drops the answer (RFC 9112, 9.6)."""
        world = self.linked(**self.NARROW)
        world.client.reading = False
        world.client.write(noise(MIB))
        world.upstream.reading = False
        world.settle()
        world.upstream.write(noise(20_000))
        world.settle()
        world.upstream.close()
        world.settle()
        world.client.reading = True
        world.settle()
        self.assert_same(world.client.received, noise(20_000))
        self.assertEqual(world.outcome, [CloseReason.UPSTREAM_RESET])
        world.assert_nothing_is_left(self)

    def test_an_abort_ends_a_relay_that_still_delivers(self):
        world = self.linked()
        world.client.reading = False
        world.upstream.write(noise(MIB))
        world.settle()
        world.upstream.rst()
        world.settle()
        world.relay.abort(CloseReason.ADMIN)
        world.settle()
        self.assertEqual(len(world.outcome), 1)
        world.client.reading = True
        world.assert_nothing_is_left(self)

    def test_both_resets_end_a_relay_that_still_delivers(self):
        world = self.linked()
        world.client.reading = False
        world.upstream.write(noise(MIB))
        world.settle()
        world.upstream.rst()
        world.settle()
        world.client.rst()
        self.assert_over(world, CloseReason.UPSTREAM_RESET)
        world.assert_nothing_is_left(self)

    def test_a_reset_reported_to_a_write_is_passed_on(self):
        """The kernel reports a RST once: after a write has got it, a read of the socket looks like a FIN."""
        world = self.linked()
        world.upstream.rst()
        world.client.write(b"ask")
        self.write_before_the_event(world)
        self.assert_over(world, CloseReason.UPSTREAM_RESET)
        self.assertTrue(world.client.was_reset)

    def test_a_failed_write_does_not_mix_the_directions(self):
        """It reads the answer within the write of the request, into the buffer that the request is in."""
        for size in (100, 60_000):
            world = self.linked()
            world.upstream.reading = False
            world.client.write(b"unread")
            world.settle()
            answer, request = noise(size, 7), noise(size, 8)
            world.upstream.write(answer)
            world.upstream.close()
            world.client.write(request)
            self.write_before_the_event(world)
            world.settle()
            self.assert_same(world.client.received, answer)
            self.assertEqual(world.outcome, [CloseReason.UPSTREAM_RESET])
            world.assert_nothing_is_left(self)

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

    # -- urgent data -----------------------------------------------------------------------------------

    def send_around_urgent(self, end, *parts: bytes) -> None:
        """Write two ``parts`` with an urgent byte (MSG_OOB) between them, before anything is read.

        A second one before the first is read would make that an ordinary byte (tcp(7)).
        """
        before, after = parts
        end.write(before)
        self.assertEqual(end.waiting, 0)
        getattr(end, "below", end).sock.send(b"!", socket.MSG_OOB)
        end.write(after)

    def directions(self, world):
        return (world.client, world.upstream), (world.upstream, world.client)

    def test_bytes_on_either_side_of_an_urgent_byte_are_relayed(self):
        """A read stops before the mark: it is short although bytes follow, and no further event comes for these."""
        for index in range(2):
            for parts in ((b"abc", b"def"), (b"", b"def"), (noise(200_000),) * 2):
                world = self.linked()
                sender, receiver = self.directions(world)[index]
                for count in range(1, 4):
                    self.send_around_urgent(sender, *parts)
                    world.settle()
                    self.assert_same(receiver.received, b"".join(parts) * count)
                self.assertEqual(world.outcome, [])

    def test_an_urgent_byte_before_a_fin_hides_neither_bytes_nor_fin(self):
        """splice(2) returns 0 at the mark once the FIN was received, which is not the end."""
        for index in range(2):
            for parts in ((noise(200_000),) * 2, (noise(200_000), b""), (b"abc", b"def"), (b"", b"")):
                world = self.linked()
                sender, receiver = self.directions(world)[index]
                self.send_around_urgent(sender, *parts)
                sender.fin()
                world.settle()
                self.assert_same(receiver.received, b"".join(parts))
                self.assertTrue(receiver.ended)
                receiver.fin()
                self.assert_over(world, CloseReason.NORMAL)

    def test_an_urgent_byte_in_a_running_bulk_transfer_loses_nothing(self):
        world = self.linked()
        world.upstream.write(noise(MIB))
        world.settle()
        self.send_around_urgent(world.upstream, noise(20_000), noise(200_000))
        world.settle()
        self.assert_same(world.client.received, noise(MIB) + noise(20_000) + noise(200_000))

    def test_an_urgent_byte_before_the_link_is_known_to_the_relay(self):
        """The event was the transport's: what it knows of the socket goes to the relay with it."""
        world = self.world()
        self.send_around_urgent(world.upstream, b"abc", b"def")
        world.settle()
        world.link()
        world.settle()
        self.assertEqual(world.client.received, b"abcdef")

    def test_an_urgent_byte_for_a_peer_that_does_not_read_loses_nothing(self):
        world = self.linked(**self.NARROW)
        world.client.reading = False
        sock = getattr(world.upstream, "below", world.upstream).sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MIB)
        world.upstream.write(noise(MIB))
        world.settle()
        sock.send(b"!", socket.MSG_OOB)
        world.upstream.write(b"end")
        world.settle()
        world.client.reading = True
        world.settle()
        self.assert_same(world.client.received, noise(MIB) + b"end")

    # -- what the kernel still delivers ----------------------------------------------------------------

    def test_what_a_slow_reader_acknowledges_is_known(self):
        """Everything was handed to the kernel, and that it is still being read can only be asked."""
        world = self.linked()
        self.assertIsNone(world.relay.acknowledged())
        world.client.reading = False
        world.upstream.write(noise(MIB))
        world.upstream.fin()
        world.settle()
        first = world.relay.acknowledged()
        self.assertEqual(world.relay.acknowledged(), first)
        world.client.reading = True
        world.pump.until(lambda: len(world.client.received) > MIB // 2)
        self.assertGreater(world.relay.acknowledged() or MIB, first)
        # The kernel may hold the last acknowledgement back for a moment.
        world.pump.until(lambda: world.relay.acknowledged() is None)

    def test_half_close_timeout_sends_no_reset_behind_the_end(self):
        """The client was sent everything and our FIN, and may still be reading: a RST could drop that (RFC 9112, 9.6)."""
        world = self.linked()
        world.client.reading = False
        world.upstream.write(noise(MIB))
        world.upstream.fin()
        world.settle()
        world.relay.abort(CloseReason.HALF_CLOSE_TIMEOUT)
        world.settle()
        world.client.reading = True
        self.assert_over(world, CloseReason.HALF_CLOSE_TIMEOUT)
        self.assert_same(world.client.received, noise(MIB))
        self.assertEqual((world.client.ended, world.client.was_reset), (True, False))
        self.assertTrue(world.upstream.was_reset)
        world.assert_nothing_is_left(self)

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
