"""The relay with TLS, and the TLS transport under the relay between transports."""

from __future__ import annotations

import gc
from typing import ClassVar

from OpenSSL import SSL
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.side import Side
from smartproxy.model.outcome import CloseReason
from smartproxy.net.detach import Detached
from smartproxy.net.poller import MARKED, READABLE
from smartproxy.net.stream import Stream
from smartproxy.relays import tls
from smartproxy.testing import Nature
from smartproxy.tls.channel import Channel
from smartproxy.tls.transport import TlsTransport
from tests.builds import only_pure
from tests.relays.relaying import MIB, RelayTests, noise
from tests.relays.test_over_sockets import OverSockets
from tests.relays.tls_worlds import TlsMemoryWorld, TlsRelayWorld, TlsSocketWorld
from tests.tls.ends import TlsEnd

_LARGE = (Channel, TlsTransport, tls.TlsHalf, tls.TlsRelay)


def _cut_at_once(world, cut, other):
    cut.write(b"half of it")
    world.settle()
    cut.below.fin()
    world.settle()


def _cut_behind_what_waits(world, cut, other):
    other.reading = False
    cut.write(noise(MIB))
    world.settle()
    cut.below.fin()
    world.settle()
    other.reading = True
    world.settle()


def _rubbish(world, cut, other):
    cut.write(b"half of it")
    world.settle()
    cut.below.write(b"GET / HTTP/1.0\r\n\r\n")
    world.settle()


def _abort_while_cutting(world, cut, other):
    other.reading = False
    cut.write(noise(64 * 1024))
    world.settle()
    cut.below.fin()
    world.settle()
    world.relay.abort(CloseReason.HALF_CLOSE_TIMEOUT)
    world.settle()
    other.reading = True


class WithinTls(OverSockets):
    """The tests of every relay over sockets, and those of TLS."""

    tls = (True, True)
    kind: type[TlsSocketWorld] = TlsRelayWorld
    #: The far end's TLS buffers records in user space, too.
    BOUND = 3 * MIB

    def world(self, **nature):
        return self.kind(self, tls=self.tls, **nature)

    def client_owner(self, world):
        return world.relay.client

    def assert_cut(self, end) -> None:
        """It has seen no orderly end: no close_notify if it has TLS, else a RST."""
        self.assertFalse(end.ended)
        self.assertTrue(end.below.ended if isinstance(end, TlsEnd) else end.was_reset)

    def test_the_bytes_on_the_wire_are_not_the_plaintext(self):
        world = self.linked()
        world.client.write(b"a secret in plaintext")
        world.upstream.write(b"a secret in plaintext")
        world.settle()
        for end in world.ends:
            self.assertEqual(end.received, b"a secret in plaintext")
            self.assertNotIn(b"secret", end.below.received)

    def test_a_fin_without_a_close_notify_is_passed_on_as_a_cut(self):
        """Truncation (RFC 8446, 6.1): data is missing, and the other side must not take what it has for the whole."""
        for index, reason in enumerate((CloseReason.CLIENT_RESET, CloseReason.UPSTREAM_RESET)):
            if not self.tls[index]:
                continue
            world = self.linked()
            cut, other = ((world.client, world.upstream), (world.upstream, world.client))[index]
            cut.write(b"half of it")
            world.settle()
            cut.below.fin()
            self.assert_over(world, reason)
            self.assertEqual(other.received, b"half of it")
            self.assert_cut(other)
            world.assert_nothing_is_left(self)

    def test_a_bare_fin_in_answer_to_a_close_notify_is_an_orderly_end(self):
        """A browser closes the socket when it has read everything. Whatever relays it, the reason is the same."""
        for index in range(2):
            if not self.tls[index]:
                continue
            world = self.linked()
            ends = (world.client, world.upstream)
            ends[1 - index].write(b"all of it")
            ends[1 - index].fin()
            world.settle()
            self.assertTrue(ends[index].ended)
            ends[index].below.fin()
            self.assert_over(world, CloseReason.NORMAL)
            self.assertTrue(ends[1 - index].ended)
            self.assertFalse(ends[1 - index].was_reset)
            world.assert_nothing_is_left(self)

    def test_a_reset_in_answer_to_a_close_notify_is_a_reset(self):
        for index, reason in enumerate((CloseReason.CLIENT_RESET, CloseReason.UPSTREAM_RESET)):
            world = self.linked()
            ends = (world.client, world.upstream)
            ends[1 - index].fin()
            world.settle()
            ends[index].rst()
            self.assert_over(world, reason)
            world.assert_nothing_is_left(self)

    def test_bytes_before_a_reset_are_delivered_although_the_end_meets_it_first(self):
        for index, reason in enumerate((CloseReason.CLIENT_RESET, CloseReason.UPSTREAM_RESET)):
            world = self.linked()
            ends = (world.client, world.upstream)
            ends[index].write(b"the last bytes")
            ends[index].rst()
            ends[1 - index].fin()
            if isinstance(world.relay, tls.TlsRelay):
                (world.relay.client, world.relay.upstream)[1 - index].ready(READABLE | MARKED)
            self.assert_over(world, reason)
            self.assertEqual(ends[1 - index].received, b"the last bytes")
            world.assert_nothing_is_left(self)

    def test_bytes_sent_before_a_cut_are_delivered_complete(self):
        """Many targets close without close_notify behind a complete answer: a slow reader must still get all of it."""
        for index in range(2):
            if not self.tls[index]:
                continue
            world = self.linked(**self.NARROW)
            ends = (world.client, world.upstream)
            speaker, listener = ends[index], ends[1 - index]
            listener.reading = False
            speaker.write(noise(MIB))
            world.settle()
            speaker.below.fin()
            world.settle()
            self.assertEqual(world.outcome, [])
            listener.reading = True
            world.settle()
            self.assert_same(listener.received, noise(MIB))
            self.assertEqual(world.outcome, [(CloseReason.CLIENT_RESET, CloseReason.UPSTREAM_RESET)[index]])
            self.assert_cut(listener)
            world.assert_nothing_is_left(self)

    def test_a_cut_to_a_peer_that_never_reads_can_be_aborted(self):
        for index in range(2):
            if not self.tls[index]:
                continue
            world = self.linked(**self.NARROW)
            ends = (world.client, world.upstream)
            ends[1 - index].reading = False
            ends[index].write(noise(64 * 1024))
            world.settle()
            ends[index].below.fin()
            world.settle()
            world.relay.abort(CloseReason.HALF_CLOSE_TIMEOUT)
            world.settle()
            self.assertEqual(len(world.outcome), 1)
            ends[1 - index].reading = True
            world.assert_nothing_is_left(self)

    def test_every_cut_frees_its_channels_without_collector(self):
        """A relay that keeps itself alive keeps 70 KiB of OpenSSL until the collector runs.

        A bare FIN, one whose bytes before it are still to be sent, rubbish, and an abort while the cut waits.
        """
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        others = {id(each) for each in gc.get_objects() if isinstance(each, _LARGE)}
        for index in range(2):
            for cut in (_cut_at_once, _cut_behind_what_waits, _rubbish, _abort_while_cutting):
                if self.tls[index]:
                    world = self.linked(**self.NARROW)
                    cut(world, *((world.client, world.upstream), (world.upstream, world.client))[index])
                    self.assertEqual(len(world.outcome), 1)
                    del world.relay, world.near
                    world.assert_nothing_is_left(self)
                    left = [
                        type(each)
                        for each in gc.get_objects()
                        if isinstance(each, _LARGE) and id(each) not in others
                    ]
                    self.assertEqual(left, [], cut)

    def test_bytes_that_are_not_tls_are_passed_on_as_a_reset(self):
        for index, reason in enumerate((CloseReason.CLIENT_RESET, CloseReason.UPSTREAM_RESET)):
            if not self.tls[index]:
                continue
            world = self.linked()
            broken = (world.client, world.upstream)[index]
            broken.write(b"half of it")
            world.settle()
            broken.below.write(b"GET / HTTP/1.0\r\n\r\n")
            self.assert_over(world, reason)
            self.assertTrue((world.upstream, world.client)[index].was_reset)
            self.assertEqual(world.relay.problem, "bad record type; record layer failure" if index else "")
            self.assertFalse(world.relay.spared)
            world.assert_nothing_is_left(self)

    def test_bytes_are_delivered_although_their_tls_fails_right_behind(self):
        """How the kernel cuts the stream must not decide what is delivered."""
        for index, reason in enumerate((CloseReason.CLIENT_RESET, CloseReason.UPSTREAM_RESET)):
            if not self.tls[index]:
                continue
            world = self.linked()
            broken, other = ((world.client, world.upstream), (world.upstream, world.client))[index]
            broken.write(b"half of it")
            broken.below.write(b"GET / HTTP/1.0\r\n\r\n")
            self.assert_over(world, reason)
            self.assertEqual((other.received, other.was_reset), (b"half of it", True))
            self.assertEqual(world.relay.problem, "bad record type; record layer failure" if index else "")
            self.assertFalse(world.relay.spared)
            world.assert_nothing_is_left(self)

    def test_client_is_spared_where_target_tls_fails_unanswered(self):
        """It can be told then: in TLS 1.3 a target refuses our certificate behind the handshake."""
        if not self.tls[1]:
            return
        world = self.linked()
        world.client.write(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        world.settle()
        world.upstream.below.write(b"GET / HTTP/1.0\r\n\r\n")
        self.assert_over(world, CloseReason.UPSTREAM_RESET)
        self.assertEqual(
            (world.relay.problem, world.relay.first),
            ("bad record type; record layer failure", b"GET / HTTP/1.1\r\nHo"),
        )
        self.assertTrue(world.relay.spared)
        self.assertFalse(world.client.was_reset or world.client.ended)
        self.discard_client(world)
        world.assert_nothing_is_left(self)

    def discard_client(self, world) -> None:
        """Close the connection of a client that was spared."""
        spared = world.relay.spared
        if isinstance(spared, Detached):
            Stream(spared.sock, world.pump.poller, Side(), seen=READABLE).abortConnection()
        else:
            world.near[0].transport.abortConnection()
        world.settle()


class TlsRelayTests(WithinTls, SynchronousTestCase):
    def test_a_close_notify_at_the_end_of_a_turn_is_passed_on(self):
        """Both were read from the socket already, so there is no further event for the end."""
        self.patch(tls.TlsHalf, "TURNS", 1)
        world = self.linked()
        world.client.connection.send(b"all there is")
        world.client.fin()
        world.settle()
        self.assertEqual((world.upstream.received, world.upstream.ended), (b"all there is", True))

    @only_pure
    def test_in_a_crowd_all_bytes_are_relayed_a_chunk_at_a_time(self):
        """Bytes that the channel holds have no event of the kernel's, and must not wait for one."""
        world = self.linked()
        self.patch(world.pump.poller, "is_over", lambda: True)
        up, down = noise(MIB, 1), noise(MIB, 2)
        world.client.write(up)
        world.upstream.write(down)
        world.settle()
        self.assert_same(world.upstream.received, up)
        self.assert_same(world.client.received, down)

    def test_bytes_are_relayed_before_an_answer_meets_a_reset(self):
        """A channel's answer is sent after the bytes that were read, so that its failure cannot lose them."""
        world = self.linked()
        world.relay.client.channel.connection.send(b"an answer")  # as to a change of keys: not sent yet
        world.client.write(b"ask")
        world.client.rst()
        world.relay.client.ready(1)
        self.assert_over(world, CloseReason.CLIENT_RESET)
        self.assertEqual(world.upstream.received, b"ask")
        self.assertEqual(world.record.bytes_received, 3)
        world.assert_nothing_is_left(self)

    def test_all_bytes_before_a_reset_are_relayed_although_each_read_has_an_answer(self):
        decrypt = Channel.decrypt_shared

        def answering(channel, count):
            got = decrypt(channel, count)
            if channel is asked:
                channel.connection.send(b"an answer")  # as to a change of keys: not sent yet
            return got

        world = self.linked()
        asked = world.relay.client.channel
        self.patch(Channel, "decrypt_shared", answering)
        self.patch(tls, "PLAIN", 1024)  # what is received at once
        sent = noise(8 * 1024)
        world.client.write(sent)
        world.client.rst()
        world.relay.client.ready(READABLE)
        self.assert_over(world, CloseReason.CLIENT_RESET)
        self.assert_same(world.upstream.received, sent)
        self.assertTrue(world.upstream.was_reset)
        world.assert_nothing_is_left(self)

    def test_an_exception_in_an_event_resets_both_sides(self):
        world = self.linked()
        world.relay.client.failed(Failure(ValueError()))
        self.assert_over(world, CloseReason.ERROR)
        self.assertTrue(world.client.was_reset)
        world.assert_nothing_is_left(self)


class TlsRelayToPlainTests(WithinTls, SynchronousTestCase):
    tls = (True, False)


class TlsRelayFromPlainTests(WithinTls, SynchronousTestCase):
    tls = (False, True)


class TlsTransportOverStreamsTests(WithinTls, SynchronousTestCase):
    kind = TlsSocketWorld

    def test_half_close_timeout_sends_no_reset_behind_the_end(self):
        """Left out."""

    test_half_close_timeout_sends_no_reset_behind_the_end.skip = (
        "whether everything behind a close_notify is in the kernel is not known here, so this end is a reset"
    )

    def client_owner(self, world):
        return world.near[0].transport.lower.transport


class TlsTransportInMemoryTests(RelayTests, SynchronousTestCase):
    NARROW: ClassVar = {"window": 16 * 1024}
    BOUND = 512 * 1024

    def world(self, **nature):
        return TlsMemoryWorld(self, Nature(**nature))

    def test_a_chunk_received_after_the_pause_is_relayed(self):
        world = self.linked(window=16 * 1024, late=True)
        answer = noise(MIB)
        world.client.reading = False
        world.upstream.write(answer)
        world.settle()
        world.client.reading = True
        world.settle()
        self.assert_same(world.client.received, answer)

    def test_a_fin_without_a_close_notify_is_passed_on_as_a_cut(self):
        world = self.linked()
        world.client.write(b"half of it")
        world.settle()
        world.client.below.fin()
        self.assert_over(world, CloseReason.CLIENT_RESET)
        self.assertEqual((world.upstream.received, world.upstream.ended), (b"half of it", False))
        self.assertTrue(world.upstream.below.ended)


class OldTlsRelayTests(SynchronousTestCase):
    """TLS 1.2, whose records and session tickets differ from those of 1.3."""

    def test_both_ways_and_to_the_end(self):
        class Old(TlsRelayWorld):
            version = SSL.TLS1_2_VERSION

        world = Old(self)
        world.link()
        up, down = noise(MIB, 1), noise(MIB, 2)
        world.client.write(up)
        world.upstream.write(down)
        world.settle()
        world.client.fin()
        world.upstream.fin()
        world.settle()
        self.assertEqual((world.upstream.received, world.client.received), (up, down))
        self.assertEqual(world.outcome, [CloseReason.NORMAL])
        self.assertEqual((world.record.bytes_received, world.record.bytes_sent), (MIB, MIB))
        world.assert_nothing_is_left(self)
