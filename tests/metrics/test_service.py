"""``proxy.metrics``: its counts, rates, totals and percentiles."""

from __future__ import annotations

from twisted.application.service import IService
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.connections.registry import Registry
from smartproxy.metrics.counters import LAST_SCRAPE, Counters
from smartproxy.metrics.interfaces import IMetrics
from smartproxy.metrics.service import Metrics, NoMetrics, make_metrics
from smartproxy.metrics.throughput import Rate
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.model.plan import CleanupPlan, MetricsPlan


class MetricsCase(SynchronousTestCase):
    plan: MetricsPlan | None = MetricsPlan()

    def setUp(self):
        self.clock = Clock()
        self.counters = Counters()
        self.registry = Registry(self.counters, CleanupPlan(), self.clock)
        self.metrics = make_metrics(self.plan, self.registry, self.counters, self.clock)
        self.metrics.startService()

    def connect(self, client="192.0.2.1", route="web"):
        record = self.registry.open(
            Accepted(":443", 443, Endpoint("198.51.100.9", 5000), self.clock.seconds())
        )
        self.registry.identify(record, Endpoint(client, 4000))
        self.registry.assign(record, route)
        return record

    def close(self, record, reason=CloseReason.NORMAL):
        self.registry.close(record, reason, self.clock.seconds())
        self.registry.ended.empty()


class BothTests(MetricsCase):
    def test_both_implement_imetrics_and_iservice(self):
        for metrics in (self.metrics, make_metrics(None, self.registry, self.counters, self.clock)):
            verifyObject(IMetrics, metrics)
            verifyObject(IService, metrics)

    def test_no_plan_gives_no_metrics(self):
        self.assertIsInstance(self.metrics, Metrics)
        self.assertIsInstance(make_metrics(None, self.registry, self.counters, self.clock), NoMetrics)


class RemovedRouteTests(MetricsCase):
    def test_rate_of_a_removed_route_ends_with_its_series(self):
        """Else 300 updates within a minute, each with new names, would be 300 entries in JSON."""
        self.counters.keep({"web", "new"}, 0.0)
        for route in ("web", "new"):
            self.close(self.connect(route=route))
        self.counters.keep({"new"}, 0.0)
        self.clock.advance(5)
        self.assertEqual(list(self.metrics.throughput.by_route()), ["web", "new"])
        self.counters.prune(LAST_SCRAPE)
        self.clock.advance(5)
        self.assertEqual(list(self.metrics.throughput.by_route()), ["new"])


class CountedTests(MetricsCase):
    def test_connections_are_counted_by_route_and_by_client(self):
        self.connect("192.0.2.1", "web")
        self.connect("192.0.2.2", "web")
        self.connect("192.0.2.2", "mail")
        self.close(self.connect("192.0.2.3"))
        connections = self.metrics.connections
        self.assertEqual((connections.active(), connections.total()), (3, 4))
        self.assertEqual(connections.by_route(), {"web": 2, "mail": 1})
        self.assertEqual(connections.by_ip(), {"192.0.2.1": 1, "192.0.2.2": 2})
        self.assertEqual(connections.top_ips(1), [("192.0.2.2", 2)])

    def test_results_are_copies(self):
        self.connect()
        self.metrics.connections.by_ip().clear()
        self.metrics.connections.by_route().clear()
        self.metrics.rejected().clear()
        self.metrics.zombies().clear()
        self.assertEqual(self.metrics.connections.by_ip(), {"192.0.2.1": 1})
        self.assertEqual(self.metrics.connections.by_route(), {"web": 1})
        self.assertEqual(len(self.metrics.rejected()), len(RejectReason))
        self.assertEqual(len(self.metrics.zombies()), 3)

    def test_totals_include_live_waiting_and_cleaned_up_records(self):
        cleaned, waiting, live = (self.connect() for _ in range(3))
        for record, count in ((cleaned, 1), (waiting, 10), (live, 100)):
            record.moved_in(count, 0.0)
            record.moved_out(2 * count, 0.0)
        self.close(cleaned)
        self.registry.close(waiting, CloseReason.NORMAL, 1.0)
        self.assertEqual(self.metrics.totals(), (111, 222, 3))

    def test_closed_connection_is_counted_at_once_and_only_once(self):
        record = self.connect()
        self.registry.close(record, CloseReason.ADMIN, 1.0)
        self.assertEqual(self.metrics.connections.active(), 0)
        self.assertEqual(self.metrics.closed()[CloseReason.ADMIN], 1)
        self.registry.ended.empty()
        self.assertEqual(self.metrics.closed()[CloseReason.ADMIN], 1)

    def test_closed_rejected_zombies_and_cleanup_are_counted(self):
        self.close(self.connect(), CloseReason.CLIENT_RESET)
        self.counters.reject(RejectReason.NO_ROUTE)
        self.counters.zombie("half")
        self.registry.close(self.connect(), CloseReason.NORMAL, 1.0)
        self.assertEqual(self.metrics.closed()[CloseReason.CLIENT_RESET], 1)
        self.assertEqual(self.metrics.rejected()[RejectReason.NO_ROUTE], 1)
        self.assertEqual(self.metrics.zombies(), {"full": 0, "half": 1, "stuck": 0})
        self.assertEqual(self.metrics.cleanup(), (1, 1, 1))


class MeasuredTests(MetricsCase):
    def test_one_call_counts_for_record_total_route_and_client(self):
        record = self.connect()
        record.moved_in(1000, 0.0)
        record.moved_out(10, 0.0)
        self.clock.advance(1.0)
        throughput, rate = self.metrics.throughput, Rate(1000.0, 10.0)
        self.assertEqual((record.bytes_received, record.bytes_sent), (1000, 10))
        self.assertEqual(throughput.instant(), rate)
        self.assertEqual(throughput.by_route(), {"web": rate})
        self.assertEqual(throughput.by_ip(), {"192.0.2.1": rate})

    def test_rates_of_connections_of_one_client_add_up(self):
        self.connect(route="web").moved_in(100, 0.0)
        self.connect(route="mail").moved_in(50, 0.0)
        self.clock.advance(1.0)
        self.assertEqual(self.metrics.throughput.by_ip()["192.0.2.1"].in_, 150.0)
        self.assertEqual(self.metrics.throughput.by_route()["mail"].in_, 50.0)

    def test_closing_a_connection_does_not_change_a_rate(self):
        """Its bytes were counted while it ran; adding them to the totals must not count them again."""
        record = self.connect()
        record.moved_in(1000, 0.0)
        self.clock.pump([1.0] * 10)
        self.close(record)
        self.clock.advance(1.0)
        self.assertEqual(self.metrics.throughput.instant(), Rate(0.0, 0.0))
        self.assertEqual(self.metrics.totals().bytes_received, 1000)

    def test_idle_client_and_route_are_dropped(self):
        self.close(self.connect("192.0.2.1", "web"))
        self.connect("192.0.2.2", "mail")
        self.clock.pump([1.0] * 70)
        self.assertEqual(list(self.metrics.throughput.by_ip()), ["192.0.2.2"])
        self.assertEqual(list(self.metrics.throughput.by_route()), ["mail"])

    def test_percentiles_leave_refused_connections_out(self):
        for seconds in range(1, 101):
            record = self.connect()
            record.moved_in(seconds * 600, 0.0)
            record.moved_out(seconds * 400, 0.0)
            self.registry.close(record, CloseReason.NORMAL, record.opened_at + seconds)
        self.registry.close(self.connect(), RejectReason.UPSTREAM_TIMEOUT, 1e6)
        self.registry.ended.empty()
        found = self.metrics.percentiles()
        for quantile, wanted in zip(found.duration_seconds, (50, 95, 99), strict=True):
            self.assertApproximates(quantile, wanted, wanted * 0.011)
        for quantile, wanted in zip(found.bytes, (50_000, 95_000, 99_000), strict=True):
            self.assertApproximates(quantile, wanted, wanted * 0.011)

    def test_stopped_service_leaves_no_timer_and_restarts(self):
        self.metrics.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.metrics.startService()
        self.connect().moved_in(7, 0.0)
        self.clock.advance(1.0)
        self.assertEqual(self.metrics.throughput.instant().in_, 7.0)


class UnmeasuredTests(MetricsCase):
    plan = None

    def test_without_metrics_no_meter_and_no_timer(self):
        self.assertEqual(self.connect().meters, ())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_metrics_counts_are_kept(self):
        self.connect().moved_in(7, 0.0)
        self.assertEqual(self.metrics.totals(), (7, 0, 1))
        self.assertEqual(self.metrics.connections.active(), 1)

    def test_without_metrics_rates_are_zero(self):
        self.close(self.connect())
        throughput, zero = self.metrics.throughput, Rate(0.0, 0.0)
        self.assertEqual((throughput.instant(), throughput.recent(), throughput.average()), (zero,) * 3)
        self.assertEqual((throughput.custom(5), throughput.history(5)), (zero, []))
        self.assertEqual((throughput.by_route(), throughput.by_ip()), ({}, {}))
        self.assertEqual(self.metrics.percentiles(), ((None,) * 3,) * 2)
