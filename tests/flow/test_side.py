"""One side of a connection: it holds what comes until somebody takes it."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.errors import DeadlineExpired, PeerClosed, Refused
from smartproxy.flow.side import HOLD, Side
from smartproxy.testing import Nature, connection


class Took:
    def __init__(self):
        self.told = []

    def data_received(self, data):
        self.told.append(data)

    def input_ended(self):
        self.told.append("ended")

    def lost(self, why):
        self.told.append(why.type)


class Watched(Side):
    """Notes what is for a subclass."""

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

    def test_keeps_twisteds_interface(self):
        verifyObject(IHalfCloseableProtocol, self.side)

    def test_it_holds_what_comes_and_a_look_takes_nothing_away(self):
        self.say(b"one ")
        self.say(b"two")
        self.assertEqual(self.side.buffered, b"one two")
        self.assertEqual(self.side.consume(4), b"one ")
        self.assertEqual((self.side.consume(), self.side.buffered), (b"two", b""))

    def test_it_holds_only_so_much(self):
        self.say(bytes(4 * HOLD))
        self.assertGreaterEqual(len(self.side.buffered), HOLD)
        self.assertLess(len(self.side.buffered), HOLD + 64 * 1024)
        self.assertFalse(self.transport.reading)

    def test_it_reads_on_for_who_took_something_and_wants_more(self):
        """A PROXY header and what follows it may fill it up together."""
        self.say(bytes(4 * HOLD))
        self.side.consume(HOLD)
        waiting = self.side.wait_for(HOLD)
        self.clock.advance(0)
        self.successResultOf(waiting)
        self.assertGreaterEqual(len(self.side.buffered), HOLD)

    def test_more_than_may_be_held_is_refused(self):
        self.failureResultOf(self.side.wait_for(HOLD + 1), Refused)

    def test_more_waits_for_so_many_bytes(self):
        waiting = self.side.wait_for(3)
        self.say(b"12")
        self.assertNoResult(waiting)
        self.say(b"3")
        self.assertIsNone(self.successResultOf(waiting))

    def test_more_fails_when_the_peer_has_ended(self):
        waiting = self.side.wait_for(3)
        self.far.fin()
        self.clock.advance(0)
        self.failureResultOf(waiting, PeerClosed)
        self.failureResultOf(self.side.wait_for(3), PeerClosed)

    def test_more_fails_when_it_expires(self):
        waiting = self.side.wait_for(3)
        self.side.expire()
        self.failureResultOf(waiting, DeadlineExpired)
        self.side.expire()

    def test_expiring_harms_nobody_who_does_not_wait(self):
        self.side.expire()
        waiting = self.side.wait_for(1)
        self.say(b"x")
        self.successResultOf(waiting)

    def test_who_waits_may_give_up(self):
        waiting = self.side.wait_for(3)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.say(b"123")
        self.assertEqual(self.side.buffered, b"123")

    def test_an_end_while_nobody_waits_is_for_the_subclass(self):
        self.far.fin()
        self.clock.advance(0)
        self.assertEqual((self.side.told, self.side.ended), (["left"], True))

    def test_a_loss_before_the_link_is_for_the_subclass(self):
        self.far.rst()
        self.clock.advance(0)
        self.assertEqual(self.side.told, [ConnectionLost])

    def test_linked_everything_goes_to_the_taker(self):
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
