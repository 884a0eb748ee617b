"""Quantiles within one per cent, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.sketch import ERROR, LARGEST, SMALLEST, Sketch

QUANTILES = (0.0, 0.25, 0.5, 0.95, 0.99, 1.0)


def of(*values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


class SketchTests(SynchronousTestCase):
    def test_empty_sketch_has_no_quantile(self):
        self.assertIsNone(Sketch().quantile(0.5))

    def test_quantile_of_zeros_is_zero(self):
        self.assertEqual(of(0, 0, 0).quantile(0.99), 0.0)

    def test_zeros_count_as_values(self):
        sketch = of(*[0] * 90, *[1000] * 10)
        self.assertEqual((sketch.quantile(0.5), sketch.count), (0.0, 100))
        self.assertApproximates(sketch.quantile(0.95), 1000, 10)

    @given(st.lists(st.floats(SMALLEST, LARGEST), min_size=1, max_size=200))
    def test_quantile_is_within_one_per_cent_of_the_true_value(self, values):
        sketch = of(*values)
        for part in QUANTILES:
            true = sorted(values)[int(part * (len(values) - 1))]
            self.assertLessEqual(abs(sketch.quantile(part) - true), true * ERROR * 1.0001)

    @given(st.integers(0, 2**80))
    def test_any_value_falls_into_a_bounded_set_of_buckets(self, value):
        sketch = of(0.0, SMALLEST, LARGEST)
        low, high = min(sketch._buckets), max(sketch._buckets)
        sketch.add(value)
        self.assertLessEqual(max(sketch._buckets), high)
        self.assertGreaterEqual(min(sketch._buckets), low)
        self.assertLess(high - low, 2900)

    def test_number_of_buckets_depends_on_the_range_of_values(self):
        sketch = of(*range(100_000))
        self.assertLess(len(sketch), 600)
        self.assertEqual(sketch.count, 100_000)


class MergeTests(SynchronousTestCase):
    @given(*[st.lists(st.floats(0, LARGEST), max_size=50)] * 2)
    def test_merged_sketches_are_the_sketch_of_all_values(self, some, others):
        merged = of(*some)
        merged.merge(*of(*others).state())
        whole = of(*some, *others)
        self.assertEqual((merged.state(), merged.count), (whole.state(), whole.count))

    def test_the_state_is_a_copy(self):
        sketch = of(1000)
        buckets, _ = sketch.state()
        buckets.clear()
        self.assertEqual(len(sketch), 1)
