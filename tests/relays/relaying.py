"""The behaviour of every relay: these tests run over each relay and each kind of connection."""

from __future__ import annotations

import hashlib
from random import Random

from zope.interface.verify import verifyObject

from smartproxy.model.outcome import CloseReason
from smartproxy.relays.interfaces import IRelay

MIB = 1 << 20


def noise(count: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(count)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class RelayTests:
    """Run in the world that :meth:`world` makes."""

    def world(self, **nature):
        raise NotImplementedError

    def linked(self, header: bytes = b"", **nature):
        world = self.world(**nature)
        world.link(header)
        world.settle()
        return world

    def assert_over(self, world, reason: CloseReason) -> None:
        world.settle()
        self.assertEqual(world.outcome, [reason])

    def assert_same(self, got: bytes, wanted: bytes) -> None:
        self.assertEqual((len(got), digest(got)), (len(wanted), digest(wanted)))

    def assert_counted(self, world) -> None:
        """The record has exactly the bytes that each far end has received."""
        self.assertEqual(world.record.bytes_received, len(world.upstream.received))
        self.assertEqual(world.record.bytes_sent, len(world.client.received))

    # -- bytes ---------------------------------------------------------------------------------------

    def test_it_provides_the_relay_interface(self):
        verifyObject(IRelay, self.linked().relay)

    def test_small_messages_are_relayed_both_ways_at_once(self):
        world = self.linked()
        for number in range(5):
            world.client.write(b"ask %d;" % number)
            world.settle()
            self.assertTrue(world.upstream.received.endswith(b"ask %d;" % number))
            world.upstream.write(b"answer %d;" % number)
            world.settle()
            self.assertTrue(world.client.received.endswith(b"answer %d;" % number))
        self.assert_counted(world)
        self.assertEqual(world.outcome, [])

    def test_bytes_of_a_server_that_sends_first_are_relayed(self):
        world = self.world()
        world.upstream.write(b"220 ready")
        world.settle()
        world.link()
        world.settle()
        self.assertEqual(world.client.received, b"220 ready")
        self.assert_counted(world)

    def test_bytes_and_fin_received_before_the_link_are_relayed(self):
        world = self.world()
        world.upstream.write(b"go away")
        world.upstream.fin()
        world.settle()
        world.link()
        world.settle()
        self.assertEqual(world.client.received, b"go away")
        self.assertTrue(world.client.ended)

    def test_large_streams_are_relayed_both_ways_at_the_same_time(self):
        world = self.linked()
        up, down = noise(3 * MIB, 1), noise(5 * MIB + 12345, 2)
        world.client.write(up)
        world.upstream.write(down)
        world.settle()
        self.assert_same(world.upstream.received, up)
        self.assert_same(world.client.received, down)
        world.client.fin()
        world.upstream.fin()
        self.assert_over(world, CloseReason.NORMAL)
        self.assert_counted(world)
        world.assert_nothing_is_left(self)

    def test_the_last_bytes_of_a_bulk_transfer_are_relayed(self):
        """Whatever the length, and without a FIN behind it that would flush it."""
        world = self.linked()
        for number in (1, 16384, 16385, 3 * MIB):
            data = noise(number, number)
            world.upstream.write(data)
            world.settle()
            self.assert_same(world.client.received, data)
            world.client.received = b""

    def test_writes_of_a_few_bytes_arrive_complete_and_in_order(self):
        """Relayed bytes must not depend on how they are split into segments."""
        world = self.linked()
        chance = Random(3)
        up, down = noise(5000, 3), noise(4000, 4)
        for far, data in ((world.client, up), (world.upstream, down)):
            at = 0
            while at < len(data):
                size = chance.randint(1, 7)
                far.write(data[at : at + size])
                at += size
                if chance.random() < 0.2:
                    world.settle()
        world.settle()
        self.assert_same(world.upstream.received, up)
        self.assert_same(world.client.received, down)
        self.assert_counted(world)

    # -- the first bytes -----------------------------------------------------------------------------

    def test_the_header_is_sent_first_and_not_counted(self):
        world = self.world()
        world.client.write(b"held")
        world.settle()
        world.link(b"PROXY\r\n")
        world.settle()
        world.client.write(b" and more")
        world.settle()
        self.assertEqual(world.upstream.received, b"PROXY\r\nheld and more")
        self.assertEqual(world.record.bytes_received, len(b"held and more"))

    def test_a_header_without_first_bytes_is_sent_at_once(self):
        world = self.linked(b"PROXY\r\n")
        self.assertEqual(world.upstream.received, b"PROXY\r\n")
        self.assertEqual(world.record.bytes_received, 0)

    def test_a_large_first_message_follows_the_header_complete(self):
        world = self.world()
        data = noise(200_000)
        world.client.write(data)
        world.settle()
        self.assertLess(
            len(world.near[0].buffered), 200_000, "all of it is buffered: the client was not paused"
        )
        world.link(b"HEADER")
        world.settle()
        self.assert_same(world.upstream.received, b"HEADER" + data)
        self.assertEqual(world.record.bytes_received, len(data))

    # -- half-close ----------------------------------------------------------------------------------

    def test_a_client_that_ended_first_gets_a_late_long_answer(self):
        """A FIN of the client ends one direction only: an answer that comes later must still arrive whole."""
        world = self.linked()
        world.client.write(b"ask")
        world.client.fin()
        world.settle()
        self.assertEqual((world.upstream.received, world.upstream.ended), (b"ask", True))
        self.assertEqual(world.outcome, [])
        answer = noise(2 * MIB)
        world.upstream.write(answer)
        world.settle()
        self.assertFalse(world.client.ended)
        world.upstream.fin()
        self.assert_over(world, CloseReason.NORMAL)
        self.assert_same(world.client.received, answer)
        self.assertEqual((world.client.ended, world.client.was_reset), (True, False))
        self.assert_counted(world)
        world.assert_nothing_is_left(self)

    def test_an_upstream_that_ended_first_gets_the_whole_upload(self):
        world = self.linked()
        world.upstream.write(b"bye")
        world.upstream.fin()
        world.settle()
        self.assertEqual((world.client.received, world.client.ended), (b"bye", True))
        upload = noise(MIB)
        world.client.write(upload)
        world.settle()
        self.assert_same(world.upstream.received, upload)
        self.assertEqual(world.outcome, [])
        world.client.fin()
        self.assert_over(world, CloseReason.NORMAL)
        self.assertEqual((world.upstream.ended, world.upstream.was_reset), (True, False))
        self.assert_counted(world)
        world.assert_nothing_is_left(self)

    def test_last_bytes_and_fin_in_one_event_are_both_relayed(self):
        """The kernel reports bytes and FIN in one event: neither may hide the other."""
        world = self.linked()
        world.client.write(b"ask")
        world.client.fin()
        world.upstream.write(b"answer")
        world.upstream.fin()
        self.assert_over(world, CloseReason.NORMAL)
        self.assertEqual((world.upstream.received, world.client.received), (b"ask", b"answer"))

    def test_a_fin_received_while_dialling_is_passed_on(self):
        world = self.world()
        world.client.write(b"ask")
        world.client.fin()
        world.settle()
        self.assertTrue(world.near[0].ended)
        world.link(b"HEADER")
        world.settle()
        self.assertEqual((world.upstream.received, world.upstream.ended), (b"HEADERask", True))
        world.upstream.write(b"answer")
        world.upstream.fin()
        self.assert_over(world, CloseReason.NORMAL)
        self.assertEqual((world.client.received, world.client.ended), (b"answer", True))

    def test_a_fin_without_any_bytes_is_passed_on(self):
        world = self.world()
        world.client.fin()
        world.settle()
        world.link()
        world.settle()
        self.assertTrue(world.upstream.ended)
        self.assertEqual(world.outcome, [])

    def test_a_client_that_reads_its_last_bytes_slowly_gets_them_all(self):
        """Both directions have ended, but the close must not overtake the last bytes."""
        world = self.linked()
        answer = noise(3 * MIB)
        world.client.reading = False
        world.client.fin()
        world.upstream.write(answer)
        world.upstream.fin()
        world.settle()
        world.client.reading = True
        self.assert_over(world, CloseReason.NORMAL)
        self.assert_same(world.client.received, answer)
        self.assertTrue(world.client.ended)

    # -- back-pressure -------------------------------------------------------------------------------

    def test_an_upstream_is_not_read_while_its_client_does_not_read(self):
        """The bytes buffered are bounded, and none is lost once the client reads again."""
        world = self.linked(**self.NARROW)
        answer = noise(8 * MIB)
        world.client.reading = False
        world.upstream.write(answer)
        world.settle()
        self.assertGreater(world.upstream.waiting, len(answer) - self.BOUND)
        world.client.write(b"still heard")
        world.settle()
        self.assertEqual(world.upstream.received, b"still heard")
        world.client.reading = True
        world.settle()
        self.assert_same(world.client.received, answer)
        self.assert_counted(world)

    def test_a_client_is_not_read_while_its_upstream_does_not_read(self):
        world = self.linked(**self.NARROW)
        upload = noise(8 * MIB)
        world.upstream.reading = False
        world.client.write(upload)
        world.settle()
        self.assertGreater(world.client.waiting, len(upload) - self.BOUND)
        world.upstream.write(b"still heard")
        world.settle()
        self.assertEqual(world.client.received, b"still heard")
        world.upstream.reading = True
        world.settle()
        self.assert_same(world.upstream.received, upload)
        self.assert_counted(world)

    def test_a_client_that_reads_on_and_off_gets_all_bytes(self):
        world = self.linked(**self.NARROW)
        answer = noise(2 * MIB)
        world.upstream.write(answer)
        for _ in range(20):
            world.client.reading = not world.client.reading
            world.settle()
        world.client.reading = True
        world.settle()
        self.assert_same(world.client.received, answer)

    # -- resets --------------------------------------------------------------------------------------

    def phases(self):
        """A linked relay in each state that matters."""
        yield "quiet", self.linked()
        world = self.linked()
        world.client.write(b"ask")
        world.upstream.write(b"answer")
        world.settle()
        yield "busy", world
        world = self.linked()
        world.client.write(b"ask")
        world.client.fin()
        world.settle()
        yield "the client has ended", world
        world = self.linked()
        world.upstream.write(b"answer")
        world.upstream.fin()
        world.settle()
        yield "the upstream has ended", world
        world = self.linked(**self.NARROW)
        world.client.reading = False
        world.upstream.write(noise(MIB))
        world.settle()
        yield "the client does not read", world
        world = self.linked(**self.NARROW)
        world.upstream.reading = False
        world.client.write(noise(MIB))
        world.settle()
        yield "the upstream does not read", world

    def test_a_reset_of_the_client_is_passed_on(self):
        for name, world in self.phases():
            with self.subTest(name):
                world.client.rst()
                world.upstream.reading = True
                self.assert_over(world, CloseReason.CLIENT_RESET)
                self.assertTrue(world.upstream.was_reset)
                world.assert_nothing_is_left(self)

    def test_a_reset_of_the_upstream_is_passed_on(self):
        for name, world in self.phases():
            with self.subTest(name):
                world.upstream.rst()
                world.client.reading = True  # until then, what was received before the reset waits for it
                self.assert_over(world, CloseReason.UPSTREAM_RESET)
                self.assertTrue(world.client.was_reset)
                world.assert_nothing_is_left(self)

    def test_a_reset_before_the_link_is_passed_on(self):
        world = self.world()
        world.upstream.write(b"x")
        world.settle()
        world.link()
        world.upstream.rst()
        self.assert_over(world, CloseReason.UPSTREAM_RESET)

    def test_first_bytes_for_a_reset_upstream_end_the_relay(self):
        """The first write of the relay fails, before anything else has been moved."""
        world = self.world()
        world.client.write(b"ask")
        world.settle()
        world.upstream.rst()
        world.link(b"HEADER")
        self.assert_over(world, CloseReason.UPSTREAM_RESET)
        self.assertTrue(world.client.was_reset)
        world.assert_nothing_is_left(self)

    # -- ending --------------------------------------------------------------------------------------

    def test_abort_resets_both_sides_for_the_reason_given(self):
        for name, world in self.phases():
            with self.subTest(name):
                world.relay.abort(CloseReason.ADMIN)
                world.client.reading = world.upstream.reading = True
                self.assert_over(world, CloseReason.ADMIN)
                self.assertTrue(world.client.was_reset)
                self.assertTrue(world.upstream.was_reset)
                world.assert_nothing_is_left(self)

    def test_abort_drops_what_waits_to_be_written(self):
        world = self.linked(**self.NARROW)
        world.client.reading = False
        world.upstream.write(noise(4 * MIB))
        world.settle()
        world.relay.abort(CloseReason.SHUTDOWN)
        self.assert_over(world, CloseReason.SHUTDOWN)
        world.assert_nothing_is_left(self)

    def test_only_the_first_end_counts(self):
        world = self.linked()
        world.relay.abort(CloseReason.LIFETIME)
        world.relay.abort(CloseReason.ADMIN)
        world.client.rst()
        world.settle()
        world.relay.abort(CloseReason.ADMIN)
        world.upstream.fin()
        self.assert_over(world, CloseReason.LIFETIME)

    def test_abort_after_an_orderly_end_does_nothing(self):
        world = self.linked()
        world.client.fin()
        world.upstream.fin()
        self.assert_over(world, CloseReason.NORMAL)
        world.relay.abort(CloseReason.ADMIN)
        self.assert_over(world, CloseReason.NORMAL)
        self.assertFalse(world.client.was_reset)
