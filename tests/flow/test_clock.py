"""Monotonic time, whatever the reactor's own clock is (F39)."""

from __future__ import annotations

import time

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.flow.clock import Monotonic, clock_of, use_monotonic_time


class WallClock(Clock):
    """A reactor that reads the wall clock, as Twisted's own do."""

    def __init__(self):
        super().__init__()
        self.seconds = time.time


class ClockTests(SynchronousTestCase):
    def test_a_wall_clock_is_replaced_and_a_test_clock_is_not(self):
        self.assertIsInstance(clock_of(WallClock()), Monotonic)
        clock = Clock()
        self.assertIs(clock_of(clock), clock)

    def test_the_wall_clock_may_jump(self):
        reactor = WallClock()
        clock = clock_of(reactor)
        before = clock.seconds()
        self.patch(time, "time", lambda: 1e12)
        self.assertLess(clock.seconds() - before, 3600)
        self.assertGreaterEqual(clock.seconds(), before)

    def test_waking_up_is_the_reactors(self):
        reactor = Clock()
        clock = Monotonic(reactor)
        verifyObject(IReactorTime, clock)
        called = []
        call = clock.callLater(2, called.append, 1)
        self.assertEqual(list(clock.getDelayedCalls()), [call])
        reactor.advance(2)
        self.assertEqual(called, [1])

    def test_a_reactor_that_has_timed_nothing_yet_can_be_moved_as_a_whole(self):
        reactor = WallClock()
        use_monotonic_time(reactor)
        self.assertIs(reactor.seconds, time.monotonic)

    def test_a_reactor_that_has_timed_something_is_left_alone(self):
        reactor = WallClock()
        reactor.callLater(1, int)
        use_monotonic_time(reactor)
        self.assertIs(reactor.seconds, time.time)

    def test_a_clock_that_is_none_of_the_wall_is_left_alone(self):
        clock = Clock()
        before = clock.seconds
        use_monotonic_time(clock)
        self.assertEqual(clock.seconds, before)
