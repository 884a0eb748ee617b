"""Who moves how much: rates by route and by client, and no memory of those who have gone."""

from __future__ import annotations

import sys

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.rates import IDLE, MOST_CLIENTS, OTHER, TURN, MeterAssignment, RateMeters
from smartproxy.metrics.throughput import Rate
from smartproxy.model.record import Meter


class TrackersCase(SynchronousTestCase):
    most = None

    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.rate_meters = RateMeters(self.clock.seconds, self.most)

    def turn(self, *live, times=1):
        for _ in range(times):
            self.clock.advance(TURN)
            self.rate_meters.turn(set(live))


class RateTests(TrackersCase):
    def test_a_key_has_one_tracker(self):
        self.assertIs(self.rate_meters.of("a"), self.rate_meters.of("a"))
        self.assertIsNot(self.rate_meters.of("a"), self.rate_meters.of("b"))

    def test_a_rate_is_of_the_last_five_to_ten_seconds(self):
        tracker = self.rate_meters.of("a")
        for _ in range(60):
            tracker.received += 100
            tracker.sent += 10
            self.turn()
        self.assertEqual(self.rate_meters.rates(), {"a": Rate(20.0, 2.0)})
        tracker.received += 900
        self.clock.advance(4.0)
        self.assertEqual(self.rate_meters.rates()["a"].in_, (100 + 900) / 9)

    def test_a_steady_stream_has_one_rate_whatever_its_age(self):
        tracker = self.rate_meters.of("a")
        rates = set()
        for _ in range(100):
            tracker.received += 500
            self.turn()
            rates.add(self.rate_meters.rates()["a"])
        self.assertEqual(rates, {Rate(100.0, 0.0)})

    def test_it_falls_to_nothing_in_ten_seconds(self):
        self.rate_meters.of("a").received += 500
        self.turn("a", times=3)
        self.assertEqual(self.rate_meters.rates(), {"a": Rate(0.0, 0.0)})

    def test_the_first_bytes_are_no_flood(self):
        self.rate_meters.of("a").received += 500
        self.assertEqual(self.rate_meters.rates()["a"], Rate(500.0, 0.0))
        self.clock.advance(0.001)
        self.assertEqual(self.rate_meters.rates()["a"], Rate(500.0, 0.0))


class ForgettingTests(TrackersCase):
    def test_idle_for_a_minute_without_a_connection_is_forgotten(self):
        self.rate_meters.of("a").received += 1
        self.turn(times=int(IDLE / TURN))
        self.assertEqual(len(self.rate_meters), 1)
        self.turn()
        self.assertEqual(len(self.rate_meters), 0)

    def test_one_with_a_connection_is_kept_however_silent(self):
        tracker = self.rate_meters.of("a")
        self.turn("a", times=1000)
        self.assertIs(self.rate_meters.of("a"), tracker)

    def test_one_that_moves_is_kept(self):
        """Its connection has just been closed; what it moved is still of the last minute."""
        tracker = self.rate_meters.of("a")
        for _ in range(100):
            tracker.sent += 1
            self.turn()
        self.assertEqual(len(self.rate_meters), 1)


class BoundTests(TrackersCase):
    most = 2

    def test_those_for_whom_there_is_no_place_share_one(self):
        self.assertIsNot(self.rate_meters.of("a"), self.rate_meters.of("b"))
        self.assertIs(self.rate_meters.of("c"), self.rate_meters.of("d"))
        self.assertEqual(len(self.rate_meters), 2)

    def test_the_shared_one_shows_when_it_has_moved(self):
        for key in "abcd":
            self.rate_meters.of(key)
        self.assertNotIn(OTHER, self.rate_meters.rates())
        self.rate_meters.of("c").received += 10
        self.rate_meters.of("d").received += 20
        self.assertEqual(self.rate_meters.rates()[OTHER], Rate(30.0, 0.0))

    def test_a_place_that_becomes_free_is_given_away(self):
        for key in "abc":
            self.rate_meters.of(key)
        self.turn("a", times=13)
        self.assertEqual(
            (len(self.rate_meters), self.rate_meters.of("c") is self.rate_meters.of("d")), (1, False)
        )


class MetersTests(SynchronousTestCase):
    def test_a_record_feeds_all_three(self):
        clock, total = Clock(), Meter()
        meters = MeterAssignment(total, clock.seconds)
        fed = meters.of_route(meters.of_client("192.0.2.1"), "web")
        for meter in fed:
            meter.received += 5
        self.assertEqual(total.received, 5)
        self.assertEqual(meters.clients.rates(), {"192.0.2.1": Rate(5.0, 0.0)})
        self.assertEqual(meters.routes.rates(), {"web": Rate(5.0, 0.0)})

    def test_a_flood_of_clients_is_bounded_and_leaves_nothing_behind(self):
        """Fifty thousand addresses, each seen once, within a second; and a minute later."""
        clock = Clock()
        meters = MeterAssignment(Meter(), clock.seconds)
        sizes = []
        for number in range(50_000):
            for meter in meters.of_client(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"):
                meter.received += 1
            if number % 10_000 == 0:
                sizes.append(sys.getsizeof(meters.clients._kept))
        self.assertEqual(len(meters.clients), MOST_CLIENTS)
        self.assertEqual(meters.clients.rates()[OTHER].in_, 40_000)
        self.assertEqual(len(set(sizes[1:])), 1, "the table has grown on")
        for _ in range(14):
            clock.advance(TURN)
            meters.clients.turn(())
        self.assertEqual(len(meters.clients), 0)
