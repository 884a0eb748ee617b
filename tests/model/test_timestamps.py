"""Times of the monotonic clock, formatted as dates."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.timestamps import Moment


class MomentTests(SynchronousTestCase):
    def test_a_date_in_utc_with_milliseconds(self):
        moment = Moment(1767323045.678, 100.0)
        self.assertEqual(moment.iso(100.0), "2026-01-02T03:04:05.678Z")
        self.assertEqual(moment.iso(40.0), "2026-01-02T03:03:05.678Z")

    def test_milliseconds_are_cut_and_never_make_another_second(self):
        moment = Moment(1767323045.0, 0.0)
        self.assertEqual(moment.iso(0.9996), "2026-01-02T03:04:05.999Z")
        self.assertEqual(moment.iso(-0.0004), "2026-01-02T03:04:04.999Z")

    def test_now_is_both_clocks_at_once(self):
        first, second = Moment.now(), Moment.now()
        self.assertApproximates(second.wall - first.wall, second.monotonic - first.monotonic, 1.0)
