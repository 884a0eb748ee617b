"""Monotonic time, whatever the reactor's own clock is: a jump of the wall clock must not fire a timeout."""

from __future__ import annotations

import time

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.flow.clock import Monotonic, clock_of, use_monotonic_time


class WallClock(Clock):
    """A reactor that reads the wall clock, as Twisted's reactors do."""

    def __init__(self):
        super().__init__()
        self.seconds = time.time


class ClockTests(SynchronousTestCase):
    def test_wall_clock_is_replaced_and_test_clock_is_kept(self):
        self.assertIsInstance(clock_of(WallClock()), Monotonic)
        clock = Clock()
        self.assertIs(clock_of(clock), clock)

    def test_jump_of_the_wall_clock_does_not_change_the_time(self):
        reactor = WallClock()
        clock = clock_of(reactor)
        before = clock.seconds()
        self.patch(time, "time", lambda: 1e12)
        self.assertLess(clock.seconds() - before, 3600)
        self.assertGreaterEqual(clock.seconds(), before)

    def test_delayed_calls_are_made_by_the_reactor(self):
        reactor = Clock()
        clock = Monotonic(reactor)
        verifyObject(IReactorTime, clock)
        called = []
        call = clock.callLater(2, called.append, 1)
        self.assertEqual(list(clock.getDelayedCalls()), [call])
        reactor.advance(2)
        self.assertEqual(called, [1])

    def test_reactor_without_delayed_calls_becomes_monotonic(self):
        reactor = WallClock()
        use_monotonic_time(reactor)
        self.assertIs(reactor.seconds, time.monotonic)

    def test_reactor_with_delayed_calls_is_unchanged(self):
        reactor = WallClock()
        reactor.callLater(1, int)
        use_monotonic_time(reactor)
        self.assertIs(reactor.seconds, time.time)

    def test_clock_other_than_the_wall_clock_is_unchanged(self):
        clock = Clock()
        before = clock.seconds
        use_monotonic_time(clock)
        self.assertEqual(clock.seconds, before)
