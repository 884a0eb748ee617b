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
from smartproxy.model.plan.group import QueuePlan
from smartproxy.upstream.waiting import WaitingClients
from tests.connections.made import RegistryFixture

ROUTE = RoutePlan(
    "web",
    0,
    MatchPlan((range(443, 444),)),
    timeouts=Timeouts(inactivity=1000),
    keep_alive=KeepAlive(enabled=False),
)
HOUR = 3600.0


class WallReactor(Clock):
    """A reactor whose timers use the wall clock, as those of Twisted do."""

    def __init__(self):
        super().__init__()
        self.seconds = time.time

    def run(self):
        """Run the calls that are due by the reactor's clock, once each."""
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
        """Start timeouts and zombie sweeps with one relayed connection that has had no reply."""
        clock = clock_of(self.reactor)
        self.fixture = RegistryFixture(clock)
        self.record = self.fixture.relayed(received=1)
        self.deadlines = Deadlines(clock)
        self.deadlines.start()
        timeouts = ConnectionTimeouts(self.deadlines, clock.seconds, lambda: 0.0)
        timeouts.watch(self.record, ROUTE)
        self.sweep = ZombieSweep(ZombiePlan(), self.fixture.registry, self.fixture.counters, clock)
        self.sweep.start()
        self.addCleanup(self.sweep.stop)
        self.addCleanup(self.deadlines.stop)

    def pass_time(self, seconds):
        for _ in range(round(seconds * 10)):
            self.wall += 0.1
            self.monotonic += 0.1
            self.reactor.run()

    def test_jump_forward_fires_nothing_early(self):
        self.begin()
        self.pass_time(30)
        self.wall += HOUR
        self.pass_time(25)
        self.assertEqual(self.fixture.ends, [])
        self.pass_time(20)
        self.assertEqual(self.fixture.reasons(), [CloseReason.ZOMBIE_STUCK])

    def test_clients_in_a_queue_time_out_while_others_join(self):
        """The time of the timer is one of the reactor's clock: it cannot be compared with that of a client."""
        waiting, refused = WaitingClients(clock_of(self.reactor)), []
        for number in range(6):
            waiting.add(QueuePlan(100, 1.0), "192.0.2.1", "web").addErrback(
                lambda _, at=number: refused.append(at)
            )
            self.pass_time(0.5)
        self.assertEqual(refused[:4], [0, 1, 2, 3])

    def test_repeated_jumps_forward_fire_nothing_early(self):
        self.begin()
        self.record.stuck_detection = False
        for _ in range(9):
            self.pass_time(100)
            self.wall += HOUR
        self.assertEqual(self.fixture.ends, [])
        self.pass_time(101)
        self.assertEqual(self.fixture.reasons(), [CloseReason.INACTIVITY])

    def test_jump_back_delays_nothing_on_a_monotonic_reactor(self):
        """``use_monotonic_time`` moves the reactor of the process to the monotonic clock."""
        use_monotonic_time(self.reactor)
        self.begin()
        self.pass_time(30)
        self.wall -= HOUR
        self.pass_time(45)
        self.assertEqual(self.fixture.reasons(), [CloseReason.ZOMBIE_STUCK])

    def test_jump_back_does_not_delay_the_clean_up(self):
        use_monotonic_time(self.reactor)
        self.begin()
        self.fixture.registry.close(self.record, CloseReason.NORMAL, self.monotonic)
        self.wall -= HOUR
        self.pass_time(0.2)
        self.assertEqual(self.fixture.registry.ended.cleaned, 1)
