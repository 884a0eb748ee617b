"""The process's counters: closed sets of labels, and one RouteCounters per route."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.counters import Counters
from smartproxy.model.outcome import CloseReason, RejectReason


class CountersTests(SynchronousTestCase):
    def test_same_route_gives_the_same_counters(self):
        counters = Counters()
        self.assertIs(counters.route("web"), counters.route("web"))
        self.assertIsNot(counters.route("web"), counters.route("mail"))

    def test_every_reject_reason_starts_at_zero(self):
        self.assertEqual(Counters().rejected, dict.fromkeys(RejectReason, 0))

    def test_rejections_are_counted_by_reason(self):
        counters = Counters()
        counters.reject(RejectReason.IP_LIMIT)
        counters.reject(RejectReason.IP_LIMIT)
        self.assertEqual(counters.rejected[RejectReason.IP_LIMIT], 2)
        self.assertEqual(sum(counters.rejected.values()), 2)

    def test_proxy_headers_are_counted_by_version_and_result(self):
        counters = Counters()
        counters.proxy_header("1", "ok")
        counters.proxy_header("none", "timeout")
        self.assertEqual(counters.proxy_headers["1", "ok"], 1)
        self.assertEqual(counters.proxy_headers["none", "timeout"], 1)
        self.assertEqual(sum(counters.proxy_headers.values()), 2)

    def test_label_outside_of_the_closed_sets_raises_key_error(self):
        counters = Counters()
        for labels in (("3", "ok"), ("1", "whatever a client sent")):
            with self.assertRaises(KeyError):
                counters.proxy_header(*labels)
        with self.assertRaises(KeyError):
            counters.zombie("undead")
        self.assertEqual(len(counters.proxy_headers), 12)

    def test_zombies_are_counted_by_kind(self):
        counters = Counters()
        counters.zombie("half")
        self.assertEqual(counters.zombies, {"full": 0, "half": 1, "stuck": 0})


class RouteCountersTests(SynchronousTestCase):
    def test_close_reason_appears_when_it_first_occurs(self):
        of_route = Counters().route("web")
        self.assertEqual(of_route.closed, {})
        of_route.close(CloseReason.NORMAL)
        of_route.close(CloseReason.NORMAL)
        of_route.close(CloseReason.ERROR)
        self.assertEqual(of_route.closed, {CloseReason.NORMAL: 2, CloseReason.ERROR: 1})

    def test_counters_of_two_routes_are_independent(self):
        counters = Counters()
        counters.route("a").close(CloseReason.NORMAL)
        counters.route("a").dial_seconds.observe(1)
        self.assertEqual(counters.route("b").closed, {})
        self.assertEqual(sum(counters.route("b").dial_seconds.counts), 0)
