"""The wall clock jumps by an hour in either direction, and no connection times out because of it."""

from __future__ import annotations

import time

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.timeouts import ConnectionTimeouts
from smartproxy.connections.zombies import ZombieSweep
from smartproxy.flow.clock import clock_of, use_monotonic_time
from smartproxy.flow.deadline import Deadlines
from smartproxy.model.outcome import CloseReason
from smartproxy.model.plan import KeepAlive, MatchPlan, RoutePlan, Timeouts, ZombiePlan
from tests.connections.made import House

ROUTE = RoutePlan(
    "web",
    0,
    MatchPlan((range(443, 444),)),
    timeouts=Timeouts(inactivity=1000),
    keep_alive=KeepAlive(enabled=False),
)
HOUR = 3600.0


class WallReactor(Clock):
    """A reactor that is woken up by the wall clock, as Twisted's own are."""

    def __init__(self):
        super().__init__()
        self.seconds = time.time

    def run(self):
        """Call what the reactor's clock says is due, once each."""
        due = [call for call in self.calls if call.getTime() <= self.seconds()]
        for call in due:
            self.calls.remove(call)
            call.called = True
            call.func(*call.args, **call.kw)


class WallClockTests(SynchronousTestCase):
    def setUp(self):
        self.wall, self.monotonic = 1e9, 500.0
        self.patch(time, "time", lambda: self.wall)
        self.patch(time, "monotonic", lambda: self.monotonic)
        self.reactor = WallReactor()

    def begin(self):
        """One connection, about to be asked whether it is stuck, silent or at the end of its first data."""
        clock = clock_of(self.reactor)
        self.house = House(clock)
        self.record = self.house.linked(received=1)
        self.deadlines = Deadlines(clock)
        self.deadlines.start()
        timeouts = ConnectionTimeouts(self.deadlines, clock.seconds, lambda: 0.0)
        timeouts.watch(self.record, ROUTE)
        self.sweep = ZombieSweep(ZombiePlan(), self.house.registry, self.house.counters, clock)
        self.sweep.start()
        self.addCleanup(self.sweep.stop)
        self.addCleanup(self.deadlines.stop)

    def pass_time(self, seconds):
        for _ in range(round(seconds * 10)):
            self.wall += 0.1
            self.monotonic += 0.1
            self.reactor.run()

    def test_forward(self):
        self.begin()
        self.pass_time(30)
        self.wall += HOUR
        self.pass_time(25)
        self.assertEqual(self.house.ends, [])
        self.pass_time(20)
        self.assertEqual(self.house.reasons(), [CloseReason.ZOMBIE_STUCK])

    def test_forward_again_and_again(self):
        self.begin()
        self.record.stuck_detection = False
        for _ in range(9):
            self.pass_time(100)
            self.wall += HOUR
        self.assertEqual(self.house.ends, [])
        self.pass_time(101)
        self.assertEqual(self.house.reasons(), [CloseReason.INACTIVITY])

    def test_back_where_the_process_is_ours(self):
        """A reactor that has been moved to the monotonic clock wakes up as if nothing had happened."""
        use_monotonic_time(self.reactor)
        self.begin()
        self.pass_time(30)
        self.wall -= HOUR
        self.pass_time(45)
        self.assertEqual(self.house.reasons(), [CloseReason.ZOMBIE_STUCK])

    def test_what_has_ended_is_put_away_all_the_same(self):
        use_monotonic_time(self.reactor)
        self.begin()
        self.house.registry.close(self.record, CloseReason.NORMAL, self.monotonic)
        self.wall -= HOUR
        self.pass_time(0.2)
        self.assertEqual(self.house.registry.ended.cleaned, 1)
