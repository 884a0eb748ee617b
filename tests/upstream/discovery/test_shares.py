"""Weights of SRV records as weights of targets."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.upstream.discovery.shares import target_weights


class TargetWeightsTests(SynchronousTestCase):
    def test_weights_stay_where_they_fit(self):
        self.assertEqual(target_weights([(10, 1), (20, 1), (1000, 1)]), [10, 20, 1000])

    def test_records_without_weights_share_evenly(self):
        self.assertEqual(target_weights([(0, 1), (0, 1)]), [1, 1])

    def test_weight_0_beside_others_is_a_small_share(self):
        """RFC 2782: "a very small chance of being selected". A target with the weight 0 would get none."""
        self.assertEqual(target_weights([(0, 1), (1, 1), (3, 1)]), [1, 333, 1000])

    def test_high_weights_are_scaled(self):
        self.assertEqual(target_weights([(65535, 1), (32768, 1), (1, 1)]), [1000, 500, 1])

    def test_several_addresses_of_a_host_share_its_weight(self):
        self.assertEqual(target_weights([(10, 2), (10, 1)]), [5, 10])
        self.assertEqual(target_weights([(1, 2), (1, 1)]), [1, 2])
        self.assertEqual(target_weights([(0, 3), (0, 1)]), [1, 3])

    def test_many_odd_shares_stay_in_range(self):
        weights = target_weights([(65535, 97), (65521, 89), (1, 1000)])
        self.assertTrue(all(1 <= weight <= 1000 for weight in weights), weights)

    def test_no_records(self):
        self.assertEqual(target_weights([]), [])
