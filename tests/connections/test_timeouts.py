"""Timeouts of relayed connections: inactivity, lifetime, half-close, treatments, jitter."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.timeouts import ConnectionTimeouts
from smartproxy.flow.deadline import TICK, Deadlines
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import CloseReason
from smartproxy.model.plan import KeepAlive, MatchPlan, RoutePlan, Timeouts, Treatment
from smartproxy.model.record import ConnectionRecord
from tests.connections.made import StandIn

HOUR = 3600.0
DAY = 24 * HOUR
#: A deadline is late by a tick at most, and one tick of a test's own.
LATE = 2 * TICK
#: No keep-alive: the normal timeouts.
PLAIN = KeepAlive(enabled=False)


def a_route(keep_alive=PLAIN, **timeouts) -> RoutePlan:
    return RoutePlan(
        "web", 0, MatchPlan((range(443, 444),)), timeouts=Timeouts(**timeouts), keep_alive=keep_alive
    )


class Live:
    """A watched connection, and when and why it was closed."""

    def __init__(self, case, route) -> None:
        self.clock = case.clock
        self.record = ConnectionRecord(
            1, Accepted(":443", 443, Endpoint("192.0.2.1", 5), self.clock.seconds())
        )
        self.reason = None
        self.record.owner = StandIn(abort=self.end)
        case.timeouts.watch(self.record, route)

    def end(self, reason):
        self.reason = reason
        self.ended_at = self.clock.seconds()
        self.record.closed()


class TimeoutsTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.randomness = 0.0
        self.timeouts = ConnectionTimeouts(self.deadlines, self.clock.seconds, lambda: self.randomness)

    def live(self, keep_alive=PLAIN, **timeouts):
        return Live(self, a_route(keep_alive, **timeouts))

    def pass_time(self, seconds):
        """Advance the clock in at most 2000 steps, and sweep the deadlines after each."""
        until = self.clock.seconds() + seconds
        while self.clock.seconds() < until:
            self.clock.advance(min(max(seconds / 2000, TICK), until - self.clock.seconds()))
            self.deadlines.sweep()

    def assert_ends(self, live, reason, after, late=LATE):
        """``live`` is closed for ``reason``, ``after`` seconds from now and not earlier."""
        began = self.clock.seconds()
        self.pass_time(after - TICK)
        self.assertIsNone(live.reason)
        self.pass_time(TICK + late)
        self.assertEqual(live.reason, reason)
        self.assertGreaterEqual(live.ended_at, began + after - 1e-6)
        self.assertEqual(len(self.deadlines), 0)

    def test_silent_connection_is_closed_for_inactivity(self):
        self.assert_ends(self.live(inactivity=60), CloseReason.INACTIVITY, 60)

    def test_byte_in_either_direction_restarts_inactivity(self):
        for move in ("moved_in", "moved_out"):
            live = self.live(inactivity=60)
            self.pass_time(50)
            getattr(live.record, move)(1, self.clock.seconds())
            self.assert_ends(live, CloseReason.INACTIVITY, 60)

    def test_bytes_do_not_create_deadlines(self):
        """However many bytes move: the deadline stays the same until it is due."""
        live = self.live(inactivity=60)
        for _ in range(50):
            self.pass_time(1)
            live.record.moved_in(1, self.clock.seconds())
            self.assertEqual(len(self.deadlines), 1)
        self.assertIsNone(live.reason)

    def test_lifetime_closes_an_active_connection(self):
        live = self.live(inactivity=60, max_lifetime=300)
        for _ in range(29):
            self.pass_time(10)
            live.record.moved_out(1, self.clock.seconds())
        self.assertIsNone(live.reason)
        self.pass_time(10 + LATE)
        self.assertEqual(live.reason, CloseReason.LIFETIME)

    def test_lifetime_counts_from_accept(self):
        """Dialling took 40 of its 60 seconds."""
        record = ConnectionRecord(1, Accepted(":443", 443, Endpoint("192.0.2.1", 5), 0.0))
        ends = []
        record.owner = StandIn(abort=ends.append)
        self.clock.advance(40)
        self.timeouts.watch(record, a_route(max_lifetime=60))
        self.pass_time(19)
        self.assertEqual(ends, [])
        self.pass_time(1 + LATE)
        self.assertEqual(ends, [CloseReason.LIFETIME])

    def test_overdue_timeout_fires_in_the_sweep_and_not_in_watch(self):
        """The connection's coroutine is still running when ``watch`` is called."""
        record = ConnectionRecord(1, Accepted(":443", 443, Endpoint("192.0.2.1", 5), 0.0))
        ends = []
        record.owner = StandIn(abort=ends.append)
        self.clock.advance(100)
        self.timeouts.watch(record, a_route(max_lifetime=60))
        record.half_closed()
        self.assertEqual(ends, [])
        self.pass_time(TICK)
        self.assertEqual(ends, [CloseReason.LIFETIME])

    def test_zero_means_no_timeout(self):
        live = self.live(inactivity=0, max_lifetime=0, half_close=0)
        live.record.half_closed()
        self.assertEqual(len(self.deadlines), 0)
        self.pass_time(400 * DAY)
        self.assertIsNone(live.reason)

    def test_half_closed_and_silent_is_closed_after_its_timeout(self):
        """A peer that sent a FIN and stays silent would otherwise be kept until the inactivity timeout, hours later."""
        live = self.live(inactivity=4 * HOUR, half_close=60)
        self.pass_time(30)
        live.record.half_closed()
        self.assert_ends(live, CloseReason.HALF_CLOSE_TIMEOUT, 60)

    # -- what the kernel still delivers --------------------------------------------------------------

    def test_silent_connection_that_still_delivers_is_not_closed(self):
        """Megabytes in the kernel's queue for a slow reader: no byte is handed on, and yet it reads."""
        for timeouts, reason in (
            ({"inactivity": 60}, CloseReason.INACTIVITY),
            ({"inactivity": 4 * HOUR, "half_close": 60}, CloseReason.HALF_CLOSE_TIMEOUT),
        ):
            live = self.live(**timeouts)
            if reason is CloseReason.HALF_CLOSE_TIMEOUT:
                live.record.half_closed()
            read = []
            live.record.owner.acknowledged = lambda read=read: len(read)
            for _ in range(20):
                read.append(1)
                self.pass_time(30)
            self.assertIsNone(live.reason)
            live.record.owner.acknowledged = lambda: None  # all of it was read
            self.pass_time(60 + LATE)
            self.assertEqual(live.reason, reason)

    def test_peer_that_stops_reading_is_closed(self):
        """Bytes that wait and are not acknowledged for a whole timeout are not being delivered."""
        live = self.live(inactivity=60)
        live.record.owner.acknowledged = lambda: 1000
        self.pass_time(119)
        self.assertIsNone(live.reason)
        self.pass_time(1 + 2 * LATE)
        self.assertEqual(live.reason, CloseReason.INACTIVITY)

    def test_lifetime_closes_a_connection_that_still_delivers(self):
        live = self.live(max_lifetime=60, inactivity=0)
        live.record.owner.acknowledged = self.clock.seconds
        self.assert_ends(live, CloseReason.LIFETIME, 60)

    def test_half_close_timeout_counts_from_the_half_close(self):
        live = self.live(inactivity=4 * HOUR, half_close=60)
        self.pass_time(3 * HOUR)
        live.record.half_closed()
        self.assert_ends(live, CloseReason.HALF_CLOSE_TIMEOUT, 60)

    def test_half_closed_with_traffic_stays_open(self):
        """A long answer to a half-closed client must not be cut."""
        live = self.live(half_close=60)
        live.record.half_closed()
        for _ in range(100):
            self.pass_time(50)
            live.record.moved_out(1000, self.clock.seconds())
        self.assertIsNone(live.reason)
        self.assert_ends(live, CloseReason.HALF_CLOSE_TIMEOUT, 60)

    def test_closed_connection_has_no_deadline(self):
        live = self.live(inactivity=60)
        live.record.half_closed()
        live.record.closed()
        self.assertEqual(len(self.deadlines), 0)
        self.pass_time(100)
        self.assertIsNone(live.reason)

    # -- treatments ----------------------------------------------------------------------------------

    def test_standard_has_the_normal_timeouts(self):
        standard = KeepAlive(treatment=Treatment.STANDARD)
        self.assert_ends(self.live(standard, inactivity=60), CloseReason.INACTIVITY, 60)
        self.assert_ends(self.live(standard, inactivity=0, max_lifetime=60), CloseReason.LIFETIME, 60)

    def test_extended_multiplies_inactivity_by_six(self):
        self.assert_ends(self.live(KeepAlive(), inactivity=60), CloseReason.INACTIVITY, 360)

    def test_extended_uses_the_configured_multiplier(self):
        self.assert_ends(
            self.live(KeepAlive(inactivity_multiplier=2.5), inactivity=60), CloseReason.INACTIVITY, 150
        )

    def test_extended_has_a_lifetime_of_seven_days(self):
        live = self.live(KeepAlive(), max_lifetime=60, inactivity=0)
        self.assert_ends(live, CloseReason.LIFETIME, 7 * DAY, late=700)

    def test_extended_does_not_change_the_half_close_timeout(self):
        live = self.live(KeepAlive(), half_close=60)
        live.record.half_closed()
        self.assert_ends(live, CloseReason.HALF_CLOSE_TIMEOUT, 60)

    def test_immortal_has_no_timeout(self):
        live = self.live(KeepAlive(treatment=Treatment.IMMORTAL), inactivity=1, max_lifetime=1, half_close=1)
        live.record.half_closed()
        self.assertEqual(len(self.deadlines), 0)
        self.pass_time(400 * DAY)
        self.assertIsNone(live.reason)

    def test_without_keep_alive_the_treatment_is_ignored(self):
        """Only a connection with TCP keep-alive is a keep-alive connection."""
        for treatment in Treatment:
            live = self.live(KeepAlive(enabled=False, treatment=treatment), inactivity=60)
            self.assert_ends(live, CloseReason.INACTIVITY, 60)

    # -- jitter --------------------------------------------------------------------------------------

    def test_without_jitter_the_timeout_is_exact(self):
        self.randomness = 0.9
        self.assert_ends(self.live(inactivity=60), CloseReason.INACTIVITY, 60)

    def test_jitter_shortens_by_a_random_share(self):
        for drawn, left in ((0.0, 60), (0.5, 54), (0.999, 48.012)):
            self.randomness = drawn
            live = self.live(inactivity=60, jitter=0.2)
            self.assert_ends(live, CloseReason.INACTIVITY, left)

    def test_jitter_applies_to_lifetime_and_half_close(self):
        self.randomness = 0.5
        self.assert_ends(self.live(max_lifetime=60, jitter=1.0), CloseReason.LIFETIME, 30)
        live = self.live(half_close=60, jitter=1.0)
        live.record.half_closed()
        self.assert_ends(live, CloseReason.HALF_CLOSE_TIMEOUT, 30)

    def test_jitter_spreads_connections_opened_together(self):
        numbers = iter(number / 1000 for number in range(1000))
        timeouts = ConnectionTimeouts(self.deadlines, self.clock.seconds, lambda: next(numbers))
        route = a_route(inactivity=100, jitter=0.5)
        self.timeouts = timeouts
        lives = [Live(self, route) for _ in range(1000)]
        self.pass_time(49)
        self.assertEqual(len(self.deadlines), 1000)
        self.pass_time(26)
        self.assertAlmostEqual(len(self.deadlines), 500, delta=10)
        self.pass_time(26)
        self.assertEqual({live.reason for live in lives}, {CloseReason.INACTIVITY})

    def test_each_route_has_its_own_timeouts(self):
        """Two connections of two routes, side by side."""
        short, long = self.live(inactivity=60), self.live(inactivity=120)
        self.pass_time(60 + LATE)
        self.assertEqual((short.reason, long.reason), (CloseReason.INACTIVITY, None))
