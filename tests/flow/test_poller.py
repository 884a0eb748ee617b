"""Readiness of many sockets, told once a change."""

from __future__ import annotations

import socket

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.flow import poller as poller_module
from smartproxy.flow.poller import READABLE, WRITABLE, Poller
from tests.pumps import HandReactor


class Owner:
    """Notes its events, and does then what it was told to do."""

    def __init__(self, then=lambda events: None):
        self.events = []
        self.failures = []
        self.then = then

    def ready(self, events):
        self.events.append(events)
        self.then(events)

    def failed(self, why):
        self.failures.append(why.type)


class PollerTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = HandReactor()
        self.poller = Poller(self.reactor, self.reactor.seconds)
        self.poller.start()
        self.addCleanup(self.stop)

    def stop(self):
        if not self.poller._epoll.closed:
            self.poller.stop()

    def pair(self, owner):
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        near.setblocking(False)
        self.poller.add(near.fileno(), owner)
        return near, far

    def quietened(self, *owners):
        """The first event, that it can be written to, is behind them."""
        self.poller.doRead()
        for owner in owners:
            owner.events.clear()

    def test_keeps_twisteds_interface(self):
        verifyObject(IReadDescriptor, self.poller)
        self.assertEqual(self.poller.logPrefix(), "poller")

    def test_it_is_one_reader_of_the_reactor(self):
        self.assertEqual(self.reactor.readers, {self.poller})
        self.poller.stop()
        self.assertEqual(self.reactor.readers, set())
        self.assertEqual(self.poller.fileno(), -1)

    def test_a_change_is_told_once(self):
        owner = Owner()
        _, far = self.pair(owner)
        self.quietened(owner)
        far.send(b"x")
        self.poller.doRead()
        self.assertEqual(len(owner.events), 1)
        self.assertTrue(owner.events[0] & READABLE)
        self.poller.doRead()
        self.assertEqual(len(owner.events), 1)

    def test_rearmed_it_is_told_again(self):
        owner = Owner()
        near, far = self.pair(owner)
        self.quietened(owner)
        far.send(b"x")
        self.poller.doRead()
        self.poller.rearm(near.fileno())
        self.poller.doRead()
        self.assertEqual(len(owner.events), 2)
        self.assertTrue(owner.events[1] & READABLE)

    def test_handed_over_it_is_told_to_the_new_owner(self):
        old, new = Owner(), Owner()
        near, far = self.pair(old)
        self.quietened(old)
        self.poller.hand_over(near.fileno(), new)
        far.send(b"x")
        self.poller.doRead()
        self.assertEqual((old.events, len(new.events)), ([], 1))

    def test_the_time_is_that_of_the_batch(self):
        seen = []
        owner = Owner(lambda _: seen.append(self.poller.now))
        self.pair(owner)
        self.reactor.advance(42)
        self.poller.doRead()
        self.assertEqual(seen, [42])

    def test_closed_outside_of_a_batch_it_is_closed_at_once_and_once(self):
        near, _ = self.pair(Owner())
        self.poller.close(near)
        self.assertEqual((near.fileno(), len(self.poller)), (-1, 0))
        self.poller.close(near)

    def test_an_event_of_a_socket_that_this_batch_has_closed_is_told_to_nobody(self):
        """And its number is given to nobody before the batch is over: the event would be taken for theirs."""
        fresh = Owner()
        made = []

        def close_both(_):
            for sock in (one, two):
                self.poller.close(sock)
            made.append(self.pair(fresh)[0])

        first, second = Owner(close_both), Owner(close_both)
        one, _ = self.pair(first)
        two, _ = self.pair(second)
        numbers = {one.fileno(), two.fileno()}
        self.poller.doRead()
        self.assertEqual(len(first.events) + len(second.events), 1)
        self.assertEqual(fresh.events, [])
        self.assertNotIn(made[0].fileno(), numbers)
        self.assertEqual((one.fileno(), two.fileno()), (-1, -1))
        self.poller.doRead()
        self.assertEqual(len(fresh.events), 1)

    def test_an_owner_that_raises_is_told_and_the_others_have_their_events(self):
        def fail(_):
            raise ZeroDivisionError

        owners = [Owner(), Owner(fail), Owner()]
        for owner in owners:
            self.pair(owner)
        self.poller.doRead()
        self.assertEqual([len(owner.events) for owner in owners], [1, 1, 1])
        self.assertEqual([owner.failures for owner in owners], [[], [ZeroDivisionError], []])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_whom_it_was_handed_over_to_is_told_of_the_failure(self):
        heir = Owner()

        def hand_over(_):
            self.poller.hand_over(near.fileno(), heir)
            raise ZeroDivisionError

        owner = Owner(hand_over)
        near, _ = self.pair(owner)
        self.poller.doRead()
        self.assertEqual((owner.failures, heir.failures), ([], [ZeroDivisionError]))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_an_owner_that_raises_after_closing_is_only_logged(self):
        def close(_):
            self.poller.close(near)
            raise ZeroDivisionError

        owner = Owner(close)
        near, _ = self.pair(owner)
        self.poller.doRead()
        self.assertEqual((owner.failures, near.fileno()), ([], -1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_an_owner_that_cannot_even_let_go_harms_nobody(self):
        class Hopeless(Owner):
            def failed(self, why):
                raise KeyError

        def fail(_):
            raise ZeroDivisionError

        hopeless, other = Hopeless(fail), Owner()
        self.pair(hopeless)
        self.pair(other)
        self.poller.doRead()
        self.assertEqual(len(other.events), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, KeyError)), 2)
        self.stop()
        self.assertEqual(other.failures, [ConnectionAborted])
        self.flushLoggedErrors(KeyError)

    def test_a_batch_is_bounded_and_the_rest_has_its_turn(self):
        self.patch(poller_module, "_BATCH", 2)
        owners = [Owner() for _ in range(5)]
        for owner in owners:
            self.pair(owner)
        for told in (2, 4, 5):
            self.poller.doRead()
            self.assertEqual(sum(len(owner.events) for owner in owners), told)
        self.assertEqual({len(owner.events) for owner in owners}, {1})

    def test_soon_is_never_now(self):
        called = []
        self.poller.soon(called.append, 1)
        self.assertEqual(called, [])
        self.reactor.advance(0)
        self.assertEqual(called, [1])

    def test_stopped_every_owner_is_told(self):
        owners = [Owner(), Owner()]
        for owner in owners:
            self.pair(owner)
        self.poller.stop()
        self.assertEqual([owner.failures for owner in owners], [[ConnectionAborted]] * 2)

    def test_stopped_an_owner_that_another_has_closed_meanwhile_is_not_told(self):
        class Closes(Owner):
            def failed(self, why):
                super().failed(why)
                for sock in pair:
                    poller.close(sock)

        poller = self.poller
        owners = [Closes(), Closes()]
        pair = [self.pair(owner)[0] for owner in owners]
        poller.stop()
        self.assertEqual([owner.failures for owner in owners], [[ConnectionAborted], []])

    def test_a_peers_end_is_an_event_though_nobody_reads(self):
        owner = Owner()
        _, far = self.pair(owner)
        self.quietened(owner)
        far.shutdown(socket.SHUT_WR)
        self.poller.doRead()
        self.assertTrue(owner.events[0] & READABLE)
        self.assertTrue(owner.events[0] & WRITABLE)

    def test_the_clock_is_the_one_it_was_given(self):
        clock = Clock()
        clock.advance(7)
        other = Poller(self.reactor, clock.seconds)
        self.addCleanup(other._epoll.close)
        self.assertEqual(other.now, 7)
