"""Histograms of durations: buckets and bounds."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.histogram import DIAL_BOUNDS, DURATION_BOUNDS, Histogram


class HistogramTests(SynchronousTestCase):
    def test_new_histogram_is_empty(self):
        histogram = Histogram((1.0, 2.0))
        self.assertEqual(histogram.cumulative(), [(1.0, 0), (2.0, 0), (inf, 0)])
        self.assertEqual(histogram.total, 0.0)

    def test_value_equal_to_a_bound_counts_in_its_bucket(self):
        histogram = Histogram((1.0, 2.0))
        for seconds in (0.0, 1.0, 1.5, 2.0, 99.0):
            histogram.observe(seconds)
        self.assertEqual(histogram.cumulative(), [(1.0, 2), (2.0, 4), (inf, 5)])
        self.assertEqual(histogram.total, 103.5)

    def test_bounds_in_use_are_ascending(self):
        for bounds in (DIAL_BOUNDS, DURATION_BOUNDS):
            self.assertEqual(list(bounds), sorted(set(bounds)))

    @given(st.lists(st.floats(0, 1e6)))
    def test_bucket_counts_values_at_or_below_its_bound(self, seen):
        histogram = Histogram(DURATION_BOUNDS)
        for seconds in seen:
            histogram.observe(seconds)
        for bound, count in histogram.cumulative():
            self.assertEqual(count, sum(seconds <= bound for seconds in seen))

    def test_merged_histograms_have_the_sums_of_their_buckets(self):
        one, other = Histogram((1.0, 2.0)), Histogram((1.0, 2.0))
        for seconds in (0.5, 1.5):
            one.observe(seconds)
        for seconds in (1.5, 9.0):
            other.observe(seconds)
        one.merge(other.counts, other.total)
        self.assertEqual((one.counts, one.total), ([1, 2, 1], 12.5))
        self.assertEqual((other.counts, other.total), ([0, 1, 1], 10.5))

    def test_histograms_with_other_buckets_cannot_be_merged(self):
        one = Histogram((1.0, 2.0))
        self.assertRaises(ValueError, one.merge, [1, 2], 3.0)
        self.assertEqual((one.counts, one.total), ([0, 0, 0], 0.0))
