"""The poller: edge-triggered events of many sockets, dispatched in limited batches."""

from __future__ import annotations

import os
import socket

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from smartproxy.net import poller as poller_module
from smartproxy.net.poller import READABLE, WRITABLE, Poller
from tests.net.pollers import Owner, PollerCase


class PollerTests(PollerCase):
    def connected_at(self, number, owner):
        """A connection of ``owner`` whose descriptor number belonged to another socket before."""
        near, far = socket.socketpair()
        self.addCleanup(far.close)
        if near.fileno() != number:
            os.dup2(near.fileno(), number)
            near.close()
        there = socket.socket(fileno=number) if near.fileno() < 0 else near
        self.addCleanup(there.close)
        there.setblocking(False)
        self.poller.add(number, owner)
        return there, far

    def test_it_provides_twisteds_reader_interface(self):
        verifyObject(IReadDescriptor, self.poller)
        self.assertEqual(self.poller.logPrefix(), "poller")

    def test_it_is_a_single_reader_of_the_reactor(self):
        self.assertEqual(self.reactor.readers, {self.poller})
        self.poller.stop()
        self.assertEqual(self.reactor.readers, set())
        self.assertEqual(self.poller.fileno(), -1)

    def test_a_change_is_reported_once(self):
        owner = Owner()
        _, far = self.pair(owner)
        self.quietened(owner)
        far.send(b"x")
        self.poller.doRead()
        self.assertEqual(len(owner.events), 1)
        self.assertTrue(owner.events[0] & READABLE)
        self.poller.doRead()
        self.assertEqual(len(owner.events), 1)

    def test_a_rearmed_socket_is_reported_again(self):
        owner = Owner()
        near, far = self.pair(owner)
        self.quietened(owner)
        far.send(b"x")
        self.poller.doRead()
        self.poller.rearm(near.fileno())
        self.poller.doRead()
        self.assertEqual(len(owner.events), 2)
        self.assertTrue(owner.events[1] & READABLE)

    def test_events_go_to_the_new_owner_after_a_hand_over(self):
        old, new = Owner(), Owner()
        near, far = self.pair(old)
        self.quietened(old)
        self.poller.hand_over(near.fileno(), new)
        far.send(b"x")
        self.poller.doRead()
        self.assertEqual((old.events, len(new.events)), ([], 1))

    def test_now_is_the_time_of_the_batch(self):
        seen = []
        owner = Owner(lambda _: seen.append(self.poller.now))
        self.pair(owner)
        self.reactor.advance(42)
        self.poller.doRead()
        self.assertEqual(seen, [42])

    def test_outside_of_a_batch_a_socket_is_closed_at_once(self):
        owner = Owner()
        near, _ = self.pair(owner)
        self.poller.close(near, owner)
        self.assertEqual((near.fileno(), len(self.poller)), (-1, 0))
        self.poller.close(near, owner)

    def test_closing_a_stale_socket_leaves_its_numbers_new_owner(self):
        """The connection that has the number by now keeps its descriptor and its events."""
        for close in (lambda sock: sock.close(), lambda sock: os.close(sock.fileno())):
            owner, fresh = Owner(), Owner()
            near, _ = self.pair(owner)
            number = near.fileno()
            close(near)
            other, far = self.connected_at(number, fresh)
            self.poller.close(near, owner)
            far.sendall(b"x")
            self.poller.doRead()
            self.assertTrue(fresh.events)
            self.assertEqual((other.fileno(), other.recv(10)), (number, b"x"))
            self.poller.close(other, fresh)
            self.assertEqual(len(self.poller), 0)

    def test_closing_a_stale_socket_leaves_nothing_behind(self):
        for close in (lambda sock: sock.close(), lambda sock: os.close(sock.fileno())):
            owner = Owner()
            near, _ = self.pair(owner)
            close(near)
            self.poller.close(near, owner)
            self.assertEqual((near.fileno(), len(self.poller)), (-1, 0))

    def test_an_event_of_a_socket_closed_in_the_batch_is_dropped(self):
        """Its number must not be reused before the batch ends: the event would be taken for the new socket's."""
        fresh = Owner()
        made = []

        def close_both(_):
            self.poller.close(one, first)
            self.poller.close(two, second)
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

    def test_an_owner_that_raises_is_closed_and_others_go_on(self):
        def fail(_):
            raise ZeroDivisionError

        owners = [Owner(), Owner(fail), Owner()]
        for owner in owners:
            self.pair(owner)
        self.poller.doRead()
        self.assertEqual([len(owner.events) for owner in owners], [1, 1, 1])
        self.assertEqual([owner.failures for owner in owners], [[], [ZeroDivisionError], []])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_the_new_owner_is_closed_if_the_old_one_raises(self):
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
            self.poller.close(near, owner)
            raise ZeroDivisionError

        owner = Owner(close)
        near, _ = self.pair(owner)
        self.poller.doRead()
        self.assertEqual((owner.failures, near.fileno()), ([], -1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_an_owner_that_cannot_be_closed_is_logged(self):
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

    def test_a_batch_is_limited_and_the_rest_follows(self):
        self.patch(poller_module, "_BATCH", 2)
        owners = [Owner() for _ in range(5)]
        for owner in owners:
            self.pair(owner)
        for told in (2, 4, 5):
            self.poller.doRead()
            self.assertEqual(sum(len(owner.events) for owner in owners), told)
        self.assertEqual({len(owner.events) for owner in owners}, {1})

    def test_with_many_events_ends_are_deferred_in_slices(self):
        self.crowd(35)
        self.poller.doRead()
        self.assertEqual(self.told, ["living", 0, 1, 2, 3])
        for turn in range(2, 9):
            self.turn()
            self.assertEqual(len(self.told), 1 + 4 * turn)
        self.turn()
        self.assertEqual(self.told, ["living", *range(35)])
        self.assertEqual(self.reactor.calls, [])

    def test_with_few_events_ends_keep_their_order(self):
        self.crowd(8)
        self.poller.doRead()
        self.assertEqual(self.told, [*range(8), "living"])

    def test_a_deferred_end_of_a_closed_socket_is_dropped(self):
        ending, ends = self.crowd(20)
        self.poller.doRead()
        free = {ends[number][0].fileno() for number in (10, 11)}
        for number in (10, 11):
            self.poller.close(ends[number][0], ending[number])
        fresh = Owner()
        pair = [self.pair(fresh)[0] for _ in range(20)]
        self.assertTrue(free & {near.fileno() for near in pair})
        while self.reactor.calls:
            self.turn()
        self.assertEqual(self.told, ["living", *(number for number in range(20) if number not in {10, 11})])
        self.assertTrue(all(not events & READABLE for events in fresh.events))

    def test_stopping_with_deferred_ends_leaves_no_call(self):
        self.crowd(20)
        self.poller.doRead()
        self.poller.stop()
        self.assertEqual(self.reactor.calls, [])

    def test_stopping_within_a_full_batch_ends_it(self):
        """The last connection may stop the service: no event is asked for after that."""
        self.patch(poller_module, "_BATCH", 2)
        for _ in range(2):
            self.pair(Owner(lambda _: self.poller.stop()))
        for _ in range(3):
            self.pair(Owner())
        self.poller.doRead()
        self.assertEqual((self.poller.fileno(), self.reactor.calls), (-1, []))

    def test_stopping_within_a_crowd_of_ends_leaves_no_call(self):
        self.crowd(35)
        self.pair(Owner(lambda _: self.poller.stop()))
        while self.poller.fileno() >= 0:
            self.poller.doRead()
        self.assertEqual(self.reactor.calls, [])

    def test_soon_calls_in_order_and_one_that_fails_stops_no_other(self):
        called = []
        for call in (
            lambda: called.append(1),
            lambda: 1 / 0,
            lambda: self.poller.soon(called.append, 4),
            lambda: called.append(3),
        ):
            self.poller.soon(call)
        self.reactor.advance(0)
        self.assertEqual((called, len(self.flushLoggedErrors(ZeroDivisionError))), ([1, 3, 4], 1))

    def test_soon_never_calls_at_once(self):
        called = []
        self.poller.soon(called.append, 1)
        self.assertEqual(called, [])
        self.reactor.advance(0)
        self.assertEqual(called, [1])

    def test_stopping_closes_every_owner(self):
        owners = [Owner(), Owner()]
        for owner in owners:
            self.pair(owner)
        self.poller.stop()
        self.assertEqual([owner.failures for owner in owners], [[ConnectionAborted]] * 2)

    def test_stopping_skips_an_owner_that_closed_meanwhile(self):
        class Closes(Owner):
            def failed(self, why):
                super().failed(why)
                for sock, owner in zip(pair, owners, strict=True):
                    poller.close(sock, owner)

        poller = self.poller
        owners = [Closes(), Closes()]
        pair = [self.pair(owner)[0] for owner in owners]
        poller.stop()
        self.assertEqual([owner.failures for owner in owners], [[ConnectionAborted], []])

    def test_a_fin_is_an_event_for_a_socket_that_is_not_read(self):
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
