"""The states of a half: the whole table, and that nothing of an ended relay is left to the garbage collector."""

from __future__ import annotations

import gc
import itertools

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import IllegalTransition
from smartproxy.model.outcome import CloseReason
from smartproxy.relays.half import Half
from smartproxy.relays.states import READING, WRITING, HalfEvent, Reading, Writing
from tests.relays.relaying import noise
from tests.relays.tls_worlds import TlsRelayWorld
from tests.relays.worlds import CopyWorld, SpliceWorld

OPEN = (Reading.OPEN, Writing.OPEN)
CLOSED = (Reading.CLOSED, Writing.CLOSED)


def reachable():
    """Every pair of states that events can lead to, by the tables alone."""
    known, fresh = {OPEN}, [OPEN]
    while fresh:
        reading, writing = fresh.pop()
        for event in HalfEvent:
            if event in READING[reading] and event in WRITING[writing]:
                after = READING[reading][event], WRITING[writing][event]
                if after not in known:
                    known.add(after)
                    fresh.append(after)
    return known


class TableTests(SynchronousTestCase):
    def setUp(self):
        world = SpliceWorld(self)
        world.link()
        self.half = world.relay.client
        self.addCleanup(self.set_states, *OPEN)  # for the end of the relay

    def set_states(self, reading, writing):
        self.half.reading, self.half.writing = reading, writing

    def test_every_state_has_a_row(self):
        self.assertEqual((set(READING), set(WRITING)), (set(Reading), set(Writing)))

    def test_every_event_in_every_state_is_followed_or_raises(self):
        """An event is legal where both tables have it; one that is not must leave both states as they were."""
        for reading, writing, event in itertools.product(Reading, Writing, HalfEvent):
            self.half.reading, self.half.writing = reading, writing
            if event in READING[reading] and event in WRITING[writing]:
                self.half.change(event)
                wanted = READING[reading][event], WRITING[writing][event]
            else:
                self.assertRaises(IllegalTransition, self.half.change, event)
                wanted = reading, writing
            self.assertEqual((self.half.reading, self.half.writing), wanted)

    def test_the_reachable_states_are_these(self):
        """Written out by hand, against the tables: the relays need no code for any other pair."""
        self.assertEqual(
            reachable(),
            {
                OPEN,
                (Reading.ENDED, Writing.OPEN),
                (Reading.OPEN, Writing.FINISHED),
                (Reading.ENDED, Writing.FINISHED),
                (Reading.OPEN, Writing.FAILED),
                (Reading.DRAINING, Writing.FAILED),
                (Reading.ENDED, Writing.FAILED),
                (Reading.CLOSED, Writing.CUTTING),
                CLOSED,
            },
        )

    def test_every_state_can_be_closed_and_nothing_follows(self):
        for reading, writing in itertools.product(Reading, Writing):
            self.half.reading, self.half.writing = reading, writing
            self.half.change(HalfEvent.CLOSED)
            self.assertEqual((self.half.reading, self.half.writing), CLOSED)
        for event in set(HalfEvent) - {HalfEvent.CLOSED}:
            self.assertRaises(IllegalTransition, self.half.change, event)

    def test_no_event_that_ends_something_is_allowed_twice(self):
        for event in (
            HalfEvent.INPUT_ENDED,
            HalfEvent.OUTPUT_ENDED,
            HalfEvent.RESET,
            HalfEvent.WRITE_FAILED,
            HalfEvent.PEER_CUT,
        ):
            self.half.reading, self.half.writing = OPEN
            self.half.change(event)
            self.assertRaises(IllegalTransition, self.half.change, event)


class FreedTests(SynchronousTestCase):
    """With 10,000 connections a second, what only the garbage collector frees is a pause of the whole proxy."""

    def setUp(self):
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.before = self.halves()

    def halves(self):
        return sum(isinstance(each, Half) for each in gc.get_objects())

    def assert_freed(self, world, reason):
        world.settle()
        self.assertEqual(world.outcome, [reason])
        world.relay = None
        self.assertEqual(self.halves(), self.before)

    def linked(self, kind, **nature):
        world = kind(self, **nature)
        world.link()
        world.settle()
        self.assertEqual(self.halves(), self.before + 2)
        return world

    def test_a_relay_that_ended_in_order_is_freed_at_once(self):
        for kind in (CopyWorld, SpliceWorld, TlsRelayWorld):
            world = self.linked(kind)
            world.client.fin()
            world.upstream.fin()
            self.assert_freed(world, CloseReason.NORMAL)

    def test_a_relay_that_was_reset_is_freed_at_once(self):
        for kind in (CopyWorld, SpliceWorld, TlsRelayWorld):
            world = self.linked(kind)
            world.upstream.rst()
            self.assert_freed(world, CloseReason.UPSTREAM_RESET)

    def test_a_relay_that_was_cut_is_freed_at_once(self):
        world = self.linked(TlsRelayWorld)
        world.client.below.fin()
        self.assert_freed(world, CloseReason.CLIENT_RESET)

    def test_a_relay_aborted_during_a_cut_is_freed_at_once(self):
        world = self.linked(TlsRelayWorld, buffers=16 * 1024)
        world.upstream.reading = False
        world.client.write(noise(48 * 1024))
        world.settle()
        world.client.below.fin()
        world.settle()
        self.assertEqual(world.relay.upstream.writing, Writing.CUTTING)
        world.relay.abort(CloseReason.ADMIN)
        self.assert_freed(world, CloseReason.ADMIN)
