"""The process's counters: closed sets of labels, and one RouteCounters per route."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics import totals
from smartproxy.metrics.counters import LAST_SCRAPE, MOST_UNUSED, UNROUTED, Counters
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


class SeriesTests(SynchronousTestCase):
    """When the series of a route begin and end."""

    def setUp(self):
        self.counters = Counters()

    def keep(self, *names, now=0.0):
        self.counters.keep(dict.fromkeys(names).keys(), now)

    def use(self, name, now=0.0):
        """One connection from its begin to its end."""
        of_route = self.counters.route(name)
        of_route.opened += 1
        of_route.unsettled += 1
        of_route.close(CloseReason.NORMAL)
        self.counters.settle(name, now)

    def names(self):
        return [name for name, _ in self.counters.series()]

    def test_configured_route_is_there_before_its_first_connection(self):
        """Prometheus's rate() misses a first increment without a 0 before it, and an alert a series that is absent."""
        self.keep("b", "a")
        self.assertEqual([(name, of.opened) for name, of in self.counters.series()], [("b", 0), ("a", 0)])

    def test_removed_route_without_connections_ends_at_once(self):
        self.keep("a", "b")
        self.keep("b")
        self.assertEqual(self.names(), ["b"])

    def test_removed_route_ends_after_a_last_scrape(self):
        """Its last connections may be closed for ``route_removed``, which no scrape would show otherwise."""
        self.keep("a")
        self.use("a")
        self.keep("b", now=100.0)
        self.counters.prune(100.0 + LAST_SCRAPE - 1)
        self.assertEqual(self.names(), ["b", "a"])
        self.counters.prune(100.0 + LAST_SCRAPE)
        self.assertEqual(self.names(), ["b"])

    def test_removed_route_stays_until_its_connections_are_closed(self):
        self.keep("a")
        self.counters.route("a").opened += 1
        self.counters.route("a").unsettled += 1
        self.keep("b", now=0.0)
        self.counters.prune(1000.0)
        self.assertEqual(self.names(), ["b", "a"])
        self.counters.settle("a", 1000.0)
        self.counters.prune(1000.0 + LAST_SCRAPE)
        self.assertEqual(self.names(), ["b"])

    def test_late_connection_of_a_removed_route_does_not_keep_it(self):
        """A connection keeps the configuration that it was accepted with."""
        self.keep("b")
        self.use("a", now=5.0)
        self.use("a", now=10.0)
        self.counters.prune(5.0 + LAST_SCRAPE)
        self.assertEqual(self.names(), ["b", "a"])
        self.counters.prune(10.0 + LAST_SCRAPE)
        self.assertEqual(self.names(), ["b"])

    def test_late_connection_during_the_last_scrape_counts_on(self):
        self.keep("a")
        self.use("a")
        self.keep("b")
        self.counters.route("a").unsettled += 1
        self.counters.prune(LAST_SCRAPE)
        self.assertEqual(self.counters.route("a").opened, 1)
        self.counters.settle("a", 100.0)
        self.counters.prune(100.0 + LAST_SCRAPE)
        self.assertEqual(self.names(), ["b"])

    def test_route_that_is_added_again_counts_on(self):
        self.keep("a")
        self.use("a")
        self.keep("b")
        self.keep("a", "b")
        self.counters.prune(LAST_SCRAPE)
        self.assertEqual((sorted(self.names()), self.counters.route("a").opened), (["a", "b"], 1))

    def test_route_that_is_removed_again_has_a_last_scrape_again(self):
        """The time of its former removal does not count, whether it was used meanwhile or not."""
        for is_used in (True, False):
            self.keep("a")
            self.use("a")
            self.keep("b", now=1.0)
            self.counters.prune(2.0)
            self.keep("a", "b", now=5.0)
            if is_used:
                self.use("a", now=6.0)
            self.keep("b", now=10.0)
            self.counters.prune(10.0 + LAST_SCRAPE - 1)
            self.assertEqual(self.names(), ["b", "a"])
            self.counters.prune(10.0 + LAST_SCRAPE)
            self.assertEqual(self.names(), ["b"])

    def test_connection_of_a_route_that_was_added_again_outlives_its_removal(self):
        self.keep("a")
        self.use("a")
        self.keep("b", now=1.0)
        self.keep("a", now=2.0)
        self.counters.route("a").unsettled += 1
        self.keep("b", now=3.0)
        self.counters.settle("a", 14.0)
        self.counters.prune(14.0 + LAST_SCRAPE - 1)
        self.assertEqual(self.names(), ["b", "a"])

    def test_route_of_many_updates_is_one_of_few(self):
        """Three hundred updates within seconds, each with new names that are used."""
        for number in range(300):
            self.keep(f"route-{number}")
            self.use(f"route-{number}")
        self.assertEqual(len(self.names()), MOST_UNUSED + 1)

    def test_totals_by_reason_never_decrease(self):
        for number in range(300):
            self.keep(f"route-{number}")
            self.use(f"route-{number}")
        self.assertEqual(totals.closed(self.counters)[CloseReason.NORMAL], 300)

    def test_unrouted_connections_keep_their_series(self):
        self.counters.route(UNROUTED).close(CloseReason.CLIENT_RESET)
        self.keep("a")
        self.counters.prune(LAST_SCRAPE)
        self.assertEqual(self.names(), ["a", UNROUTED])
