"""One side of a connection: it buffers received bytes until they are consumed."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.errors import DeadlineExpired, PeerClosed, Refused
from smartproxy.flow.side import DETACHED, HOLD, Screen, Side
from smartproxy.model.outcome import RejectReason
from smartproxy.net.liveness import transport_gone
from smartproxy.testing import Nature, connection


class Took:
    def __init__(self):
        self.told = []

    def data_received(self, data):
        self.told.append(data)

    def input_ended(self):
        self.told.append("ended")

    def output_ended(self):
        self.told.append("output ended")

    def lost(self, why):
        self.told.append(why.type)


class Judge(Screen):
    """Lets nothing pass that begins with ``no``."""

    def __init__(self, side):
        super().__init__(side, RejectReason.NO_ROUTE, "begins with no")
        self.decisions = 0

    def judge(self, begin):
        if begin.startswith(b"no"):
            return False
        return None if b"no".startswith(begin) else True

    def decided(self):
        self.decisions += 1


class Watched(Side):
    """Records what is left to a subclass."""

    def __init__(self):
        self.told = []

    def left(self):
        self.told.append("left")

    def vanished(self, reason):
        self.told.append(reason.type)


class SideTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.side = Watched()
        self.transport, self.far = connection(self.clock, Nature(window=16 * 1024))
        self.transport.carry(self.side)

    def say(self, data):
        self.far.write(data)
        self.clock.advance(0)

    def test_it_provides_twisteds_half_close_interface(self):
        verifyObject(IHalfCloseableProtocol, self.side)

    def test_received_bytes_are_buffered_until_consumed(self):
        self.say(b"one ")
        self.say(b"two")
        self.assertEqual(self.side.buffered, b"one two")
        self.assertEqual(self.side.consume(4), b"one ")
        self.assertEqual((self.side.consume(), self.side.buffered), (b"two", b""))

    def test_pieces_are_appended_without_copying_what_is_buffered(self):
        """64 KiB in pieces of 4 bytes would else copy 500 MiB."""
        self.say(b"one ")
        self.say(b"two")
        held = self.side.buffered
        self.say(b" three")
        self.assertIs(self.side.buffered, held)
        self.assertEqual(self.side.consume(), b"one two three")
        self.assertEqual(self.side.buffered, b"")

    def test_consumed_bytes_are_immutable(self):
        for piece in (b"a", b"b", b"c"):
            self.say(piece)
        self.assertIs(type(self.side.consume(1)), bytes)
        self.say(b"d")
        self.assertEqual(self.side.buffered, b"bcd")
        self.assertIs(type(self.side.consume()), bytes)

    def test_the_buffer_is_limited_by_pausing(self):
        self.say(bytes(4 * HOLD))
        self.assertGreaterEqual(len(self.side.buffered), HOLD)
        self.assertLess(len(self.side.buffered), HOLD + 64 * 1024)
        self.assertFalse(self.transport.reading)

    def test_a_wait_after_consuming_resumes_reading(self):
        """A PROXY header and a ClientHello behind it may together fill the buffer."""
        self.say(bytes(4 * HOLD))
        self.side.consume(HOLD)
        waiting = self.side.wait_for(HOLD).deferred()
        self.clock.advance(0)
        self.successResultOf(waiting)
        self.assertGreaterEqual(len(self.side.buffered), HOLD)

    def test_a_wait_for_more_than_the_limit_is_refused(self):
        self.assertRaises(Refused, self.side.wait_for, HOLD + 1)

    def test_a_wait_fires_when_enough_bytes_are_buffered(self):
        waiting = self.side.wait_for(3).deferred()
        self.say(b"12")
        self.assertNoResult(waiting)
        self.say(b"3")
        self.assertIsNone(self.successResultOf(waiting))

    def test_a_wait_fails_when_the_peer_has_ended(self):
        waiting = self.side.wait_for(3).deferred()
        self.far.fin()
        self.clock.advance(0)
        self.failureResultOf(waiting, PeerClosed)
        self.assertRaises(PeerClosed, self.side.wait_for, 3)

    def test_a_wait_fails_when_it_expires(self):
        waiting = self.side.wait_for(3).deferred()
        self.side.expire()
        self.failureResultOf(waiting, DeadlineExpired)
        self.side.expire()

    def test_expiring_without_a_wait_does_nothing(self):
        self.side.expire()
        waiting = self.side.wait_for(1).deferred()
        self.say(b"x")
        self.successResultOf(waiting)

    def test_a_wait_can_be_cancelled(self):
        waiting = self.side.wait_for(3).deferred()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.say(b"123")
        self.assertEqual(self.side.buffered, b"123")

    def test_a_fin_without_a_wait_is_left_to_the_subclass(self):
        self.far.fin()
        self.clock.advance(0)
        self.assertEqual((self.side.told, self.side.ended), (["left"], True))

    def test_a_loss_before_the_link_is_left_to_the_subclass(self):
        self.far.rst()
        self.clock.advance(0)
        self.assertEqual(self.side.told, [ConnectionLost])

    def test_with_a_receiver_everything_is_forwarded(self):
        self.say(b"held")
        receiver = Took()
        self.side.attach(receiver)
        self.say(b"passed on")
        self.far.fin()
        self.clock.advance(0)
        self.transport.loseConnection()
        self.clock.advance(0)
        self.assertEqual(receiver.told, [b"passed on", "ended", ConnectionDone])
        self.assertEqual((self.side.consume(), self.side.told), (b"held", []))

    # -- detaching -----------------------------------------------------------------------------------

    def test_a_detached_side_neither_writes_nor_closes(self):
        """A relay owns the socket then; code that still has the side must not affect it."""
        self.assertFalse(self.side.is_detached)
        self.assertIs(self.side.detach(), self.transport)
        self.assertTrue(self.side.is_detached)
        for call in (
            self.side.transport.abortConnection,
            self.side.transport.loseConnection,
            self.side.transport.resumeProducing,
            self.side.transport.pauseProducing,
            self.side.transport.unregisterProducer,
        ):
            call()
        self.side.transport.write(b"late")
        self.clock.advance(1)
        self.assertEqual((self.far.received, self.far.was_reset, self.far.ended), (b"", False, False))

    def test_the_socket_of_a_detached_side_is_gone_for_it(self):
        self.side.detach()
        self.assertIs(self.side.transport, DETACHED)
        self.assertTrue(transport_gone(self.side.transport))


class ScreenTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.side = Watched()
        self.transport, self.far = connection(self.clock)
        self.transport.carry(self.side)
        self.screen = Judge(self.side)

    def say(self, data):
        self.far.write(data)
        self.clock.advance(0)

    def assert_removed(self):
        self.assertFalse(self.side.is_screened)
        self.assertEqual((self.screen.behind, self.screen.decisions), (None, 1))

    def test_bytes_that_pass_are_buffered_as_without_it(self):
        waiting = self.side.wait_for(2).deferred()
        self.say(b"n")
        self.assertNoResult(waiting)
        self.say(b"et")
        self.successResultOf(waiting)
        self.assertEqual(self.side.buffered, b"net")
        self.assert_removed()

    def test_bytes_that_pass_are_forwarded_to_the_receiver_behind(self):
        took = Took()
        self.say(b"n")
        self.side.attach(took)
        self.assertEqual(took.told, [])
        self.say(b"ext")
        self.say(b"more")
        self.assertEqual(took.told, [b"next", b"more"])
        self.assert_removed()

    def test_refused_bytes_reach_nobody(self):
        took = Took()
        self.side.attach(took)
        self.say(b"not this")
        self.say(b"nor this")
        self.assertEqual((took.told, self.side.buffered), ([ConnectionAborted], b""))
        self.assertTrue(self.far.was_reset)

    def test_refused_side_without_receiver_is_lost_as_without_it(self):
        self.say(b"no")
        self.assertEqual(self.side.told, [ConnectionAborted])

    def test_end_lets_pass_what_is_held(self):
        """It cannot become what would have been refused."""
        for took in (None, Took()):
            self.setUp()
            if took is not None:
                self.side.attach(took)
            self.say(b"n")
            self.far.fin()
            self.clock.advance(0)
            self.assertEqual(
                took.told if took else [self.side.buffered, *self.side.told],
                [b"n", "ended" if took else "left"],
            )
            self.assert_removed()

    def test_end_of_the_output_and_loss_reach_the_receiver(self):
        took = Took()
        self.side.attach(took)
        self.transport.loseWriteConnection()
        self.far.rst()
        self.clock.advance(0)
        self.assertEqual(took.told, ["output ended", ConnectionLost])
