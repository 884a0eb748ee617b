"""Throughput: rates over windows, from samples of one meter."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.throughput import Rate, Ring, ThroughputTracker
from smartproxy.model.plan import MetricsPlan
from smartproxy.model.record import Meter


class ThroughputCase(SynchronousTestCase):
    plan = MetricsPlan()

    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.tracker = ThroughputTracker(self.plan, self.clock)
        self.tracker.start()
        self.addCleanup(self.tracker.stop)

    def carry(self, *counts):
        """In each of the next seconds, receive ``count`` bytes and send twice as many."""
        for count in counts:
            self.tracker.meter.received += count
            self.tracker.meter.sent += 2 * count
            self.clock.advance(1.0)


class WindowTests(ThroughputCase):
    def test_rates_are_zero_before_the_first_sample(self):
        for rate in (self.tracker.instant(), self.tracker.recent(), self.tracker.average()):
            self.assertEqual(rate, Rate(0.0, 0.0))
        self.assertEqual(self.tracker.history(3600), [])

    def test_named_windows_are_1_10_and_60_seconds(self):
        self.carry(*[600] * 50, *[100] * 9, 40)
        self.assertEqual(self.tracker.instant(), Rate(40.0, 80.0))
        self.assertEqual(self.tracker.recent(), Rate(94.0, 188.0))
        self.assertEqual(self.tracker.average().in_, (600 * 50 + 100 * 9 + 40) / 60)

    def test_window_of_any_length(self):
        self.carry(1, 2, 3, 4, 5)
        self.assertEqual(self.tracker.custom(3).in_, 4.0)
        self.assertEqual(self.tracker.custom(2.4).in_, 4.5)

    def test_window_before_the_start_is_the_mean_since_then(self):
        self.carry(10, 20)
        self.assertEqual(self.tracker.average().in_, 15.0)
        self.assertEqual(self.tracker.custom(1e9).in_, 15.0)

    def test_steady_stream_has_a_constant_rate(self):
        rates = []
        for _ in range(200):
            self.carry(500)
            rates.append((self.tracker.instant(), self.tracker.recent(), self.tracker.average()))
        self.assertEqual(set(rates), {(Rate(500.0, 1000.0),) * 3})

    def test_rate_is_zero_after_a_silent_window(self):
        self.carry(1000, *[0] * 10)
        self.assertEqual(self.tracker.recent(), Rate(0.0, 0.0))

    def test_late_sample_does_not_distort_a_rate(self):
        """The reactor was blocked for four seconds: the bytes of that time are divided by four, not by one."""
        self.carry(100)
        self.tracker.meter.received += 4000
        self.clock.advance(4.0)
        self.assertEqual(self.tracker.instant().in_, 1000.0)
        self.assertEqual(self.tracker.custom(5).in_, 820.0)

    def test_jitter_of_samples_does_not_change_the_window(self):
        ring_times = self.tracker._ring._at
        self.carry(*range(1, 21))
        for index in range(len(ring_times)):
            ring_times[index] += 0.01 * (-1) ** index
        self.assertApproximates(self.tracker.instant().in_, 20, 1)
        self.assertApproximates(self.tracker.recent().in_, 15.5, 0.1)


class CoarseTests(ThroughputCase):
    plan = MetricsPlan(sample_interval=10.0)

    def test_window_shorter_than_an_interval_is_the_last_interval(self):
        self.carry(*[600] * 10, *[100] * 10)
        self.assertEqual(self.tracker.instant().in_, 100.0)
        self.assertEqual(self.tracker.custom(0.1).in_, 100.0)
        self.assertEqual(self.tracker.custom(20).in_, 350.0)


class HistoryTests(ThroughputCase):
    plan = MetricsPlan(sample_interval=1.0, retention=5.0)

    def test_history_has_time_and_rate_of_each_sample(self):
        self.carry(7, 8, 9)
        samples = self.tracker.history(2)
        self.assertEqual([sample.at for sample in samples], [1002.0, 1003.0])
        self.assertEqual([sample.rate for sample in samples], [Rate(8.0, 16.0), Rate(9.0, 18.0)])

    def test_ring_keeps_the_retention_and_no_more(self):
        self.carry(*range(1, 101))
        self.assertEqual([sample.rate.in_ for sample in self.tracker.history(3600)], [96, 97, 98, 99, 100])
        self.assertEqual(len(self.tracker._ring), 6)
        self.assertEqual(self.tracker.average().in_, 98.0)

    def test_rates_can_be_read_after_stop(self):
        self.carry(5)
        self.tracker.stop()
        self.tracker.stop()
        self.assertEqual(self.tracker.instant().in_, 5.0)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RingTests(SynchronousTestCase):
    def test_nearest_state_is_found_wherever_the_ring_begins(self):
        for written in range(1, 12):
            ring, meter = Ring(4), Meter()
            for at in range(written):
                ring.add(float(at), meter)
            kept = range(max(0, written - 4), written)
            for moment in range(-1, 13):
                wanted = max([at for at in kept if at <= moment], default=kept[0])
                self.assertEqual(ring.at(ring.last_by(moment)), wanted)

    def test_hour_of_samples_takes_84_kib(self):
        ring, meter = Ring(3601), Meter()
        for at in range(10_000):
            ring.add(float(at), meter)
        size = sum(part.itemsize * len(part) for part in (ring._at, ring._received, ring._sent))
        self.assertEqual(size, 3601 * 24)
