"""The process's counters: closed sets, and one tally a route."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.model.tallies import Tallies


class TalliesTests(SynchronousTestCase):
    def test_a_route_has_one_tally_for_ever(self):
        tallies = Tallies()
        self.assertIs(tallies.route("web"), tallies.route("web"))
        self.assertIsNot(tallies.route("web"), tallies.route("mail"))

    def test_every_reason_to_reject_stands_at_zero_from_the_start(self):
        self.assertEqual(Tallies().rejected, dict.fromkeys(RejectReason, 0))

    def test_rejections_are_counted_by_reason(self):
        tallies = Tallies()
        tallies.reject(RejectReason.IP_LIMIT)
        tallies.reject(RejectReason.IP_LIMIT)
        self.assertEqual(tallies.rejected[RejectReason.IP_LIMIT], 2)
        self.assertEqual(sum(tallies.rejected.values()), 2)

    def test_proxy_headers_are_counted_by_version_and_result(self):
        tallies = Tallies()
        tallies.proxy_header("1", "ok")
        tallies.proxy_header("none", "timeout")
        self.assertEqual(tallies.proxy_headers["1", "ok"], 1)
        self.assertEqual(tallies.proxy_headers["none", "timeout"], 1)
        self.assertEqual(sum(tallies.proxy_headers.values()), 2)

    def test_a_label_outside_the_closed_sets_is_refused(self):
        tallies = Tallies()
        for labels in (("3", "ok"), ("1", "whatever a client sent")):
            with self.assertRaises(KeyError):
                tallies.proxy_header(*labels)
        with self.assertRaises(KeyError):
            tallies.zombie("undead")
        self.assertEqual(len(tallies.proxy_headers), 12)

    def test_zombies_are_counted_by_kind(self):
        tallies = Tallies()
        tallies.zombie("half")
        self.assertEqual(tallies.zombies, {"full": 0, "half": 1, "stuck": 0})


class RouteTallyTests(SynchronousTestCase):
    def test_a_close_reason_appears_with_its_first_time(self):
        tally = Tallies().route("web")
        self.assertEqual(tally.closed, {})
        tally.close(CloseReason.NORMAL)
        tally.close(CloseReason.NORMAL)
        tally.close(CloseReason.ERROR)
        self.assertEqual(tally.closed, {CloseReason.NORMAL: 2, CloseReason.ERROR: 1})

    def test_two_tallies_share_nothing(self):
        tallies = Tallies()
        tallies.route("a").close(CloseReason.NORMAL)
        tallies.route("a").dial_seconds.observe(1)
        self.assertEqual(tallies.route("b").closed, {})
        self.assertEqual(sum(tallies.route("b").dial_seconds.counts), 0)
