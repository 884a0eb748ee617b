"""Rates by route and by client, and the bound on their memory."""

from __future__ import annotations

import sys

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.rates import IDLE, MOST_CLIENTS, OTHER, STAMP_INTERVAL, MeterAssignment, RateMeters
from smartproxy.metrics.throughput import Rate
from smartproxy.model.record import Meter


class RateMetersCase(SynchronousTestCase):
    most = None

    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.rate_meters = RateMeters(self.clock.seconds, self.most)

    def rotate(self, *live, times=1):
        for _ in range(times):
            self.clock.advance(STAMP_INTERVAL)
            self.rate_meters.rotate(set(live))


class RateTests(RateMetersCase):
    def test_same_key_gives_the_same_meter(self):
        self.assertIs(self.rate_meters.of("a"), self.rate_meters.of("a"))
        self.assertIsNot(self.rate_meters.of("a"), self.rate_meters.of("b"))

    def test_rate_covers_the_last_five_to_ten_seconds(self):
        meter = self.rate_meters.of("a")
        for _ in range(60):
            meter.received += 100
            meter.sent += 10
            self.rotate()
        self.assertEqual(self.rate_meters.rates(), {"a": Rate(20.0, 2.0)})
        meter.received += 900
        self.clock.advance(4.0)
        self.assertEqual(self.rate_meters.rates()["a"].in_, (100 + 900) / 9)

    def test_steady_stream_has_a_constant_rate(self):
        meter = self.rate_meters.of("a")
        rates = set()
        for _ in range(100):
            meter.received += 500
            self.rotate()
            rates.add(self.rate_meters.rates()["a"])
        self.assertEqual(rates, {Rate(100.0, 0.0)})

    def test_rate_is_zero_after_ten_silent_seconds(self):
        self.rate_meters.of("a").received += 500
        self.rotate("a", times=3)
        self.assertEqual(self.rate_meters.rates(), {"a": Rate(0.0, 0.0)})

    def test_meters_may_be_created_and_dropped_while_rates_are_read(self):
        self.rate_meters.of("a").received += 1
        self.rate_meters.of("b")
        each = self.rate_meters.each()
        self.assertEqual(next(each), ("a", Rate(1.0, 0.0)))
        self.rate_meters.of("c")
        self.rate_meters.keep({"a"})
        self.assertEqual(list(each), [("b", Rate(0.0, 0.0))])

    def test_first_bytes_are_averaged_over_a_second(self):
        """Else the first packet of a new client would show as a very high rate."""
        self.rate_meters.of("a").received += 500
        self.assertEqual(self.rate_meters.rates()["a"], Rate(500.0, 0.0))
        self.clock.advance(0.001)
        self.assertEqual(self.rate_meters.rates()["a"], Rate(500.0, 0.0))


class ForgettingTests(RateMetersCase):
    def test_idle_meter_without_connection_is_dropped_after_a_minute(self):
        self.rate_meters.of("a").received += 1
        self.rotate(times=int(IDLE / STAMP_INTERVAL))
        self.assertEqual(len(self.rate_meters), 1)
        self.rotate()
        self.assertEqual(len(self.rate_meters), 0)

    def test_idle_meter_with_a_live_connection_is_kept(self):
        meter = self.rate_meters.of("a")
        self.rotate("a", times=1000)
        self.assertIs(self.rate_meters.of("a"), meter)

    def test_active_meter_without_connection_is_kept(self):
        """Its connection has just been closed, but its bytes still count for the last minute."""
        meter = self.rate_meters.of("a")
        for _ in range(100):
            meter.sent += 1
            self.rotate()
        self.assertEqual(len(self.rate_meters), 1)


class BoundTests(RateMetersCase):
    most = 2

    def test_keys_beyond_the_bound_share_one_meter(self):
        self.assertIsNot(self.rate_meters.of("a"), self.rate_meters.of("b"))
        self.assertIs(self.rate_meters.of("c"), self.rate_meters.of("d"))
        self.assertEqual(len(self.rate_meters), 2)

    def test_shared_meter_is_listed_once_it_has_counted_bytes(self):
        for key in "abcd":
            self.rate_meters.of(key)
        self.assertNotIn(OTHER, self.rate_meters.rates())
        self.rate_meters.of("c").received += 10
        self.rate_meters.of("d").received += 20
        self.assertEqual(self.rate_meters.rates()[OTHER], Rate(30.0, 0.0))

    def test_place_of_a_dropped_meter_is_reused(self):
        for key in "abc":
            self.rate_meters.of(key)
        self.rotate("a", times=13)
        self.assertEqual(
            (len(self.rate_meters), self.rate_meters.of("c") is self.rate_meters.of("d")), (1, False)
        )


class MetersTests(SynchronousTestCase):
    def test_record_adds_to_total_client_and_route(self):
        clock, total = Clock(), Meter()
        meters = MeterAssignment(total, clock.seconds)
        fed = meters.of_route(meters.of_client("192.0.2.1"), "web")
        for meter in fed:
            meter.received += 5
        self.assertEqual(total.received, 5)
        self.assertEqual(meters.clients.rates(), {"192.0.2.1": Rate(5.0, 0.0)})
        self.assertEqual(meters.routes.rates(), {"web": Rate(5.0, 0.0)})

    def test_flood_of_clients_uses_bounded_memory(self):
        """Fifty thousand addresses, each seen once within a second, and no meter left a minute later."""
        clock = Clock()
        meters = MeterAssignment(Meter(), clock.seconds)
        sizes = []
        for number in range(50_000):
            for meter in meters.of_client(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"):
                meter.received += 1
            if number % 10_000 == 0:
                sizes.append(sys.getsizeof(meters.clients._meters))
        self.assertEqual(len(meters.clients), MOST_CLIENTS)
        self.assertEqual(meters.clients.rates()[OTHER].in_, 40_000)
        self.assertEqual(len(set(sizes[1:])), 1, "the table kept growing")
        for _ in range(14):
            clock.advance(STAMP_INTERVAL)
            meters.clients.rotate(())
        self.assertEqual(len(meters.clients), 0)
