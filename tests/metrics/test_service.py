"""``proxy.metrics``: counted by the records alone, measured by the meters that they feed."""

from __future__ import annotations

from twisted.application.service import IService
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.connections.registry import Registry
from smartproxy.metrics.counters import Counters
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
    def test_both_keep_the_interfaces(self):
        for metrics in (self.metrics, make_metrics(None, self.registry, self.counters, self.clock)):
            verifyObject(IMetrics, metrics)
            verifyObject(IService, metrics)

    def test_the_configuration_chooses(self):
        self.assertIsInstance(self.metrics, Metrics)
        self.assertIsInstance(make_metrics(None, self.registry, self.counters, self.clock), NoMetrics)


class CountedTests(MetricsCase):
    def test_connections_by_route_by_client_and_in_all(self):
        self.connect("192.0.2.1", "web")
        self.connect("192.0.2.2", "web")
        self.connect("192.0.2.2", "mail")
        self.close(self.connect("192.0.2.3"))
        connections = self.metrics.connections
        self.assertEqual((connections.active(), connections.total()), (3, 4))
        self.assertEqual(connections.by_route(), {"web": 2, "mail": 1})
        self.assertEqual(connections.by_ip(), {"192.0.2.1": 1, "192.0.2.2": 2})
        self.assertEqual(connections.top_ips(1), [("192.0.2.2", 2)])

    def test_what_is_told_is_a_copy(self):
        self.connect()
        self.metrics.connections.by_ip().clear()
        self.metrics.connections.by_route().clear()
        self.metrics.rejected().clear()
        self.metrics.zombies().clear()
        self.assertEqual(self.metrics.connections.by_ip(), {"192.0.2.1": 1})
        self.assertEqual(self.metrics.connections.by_route(), {"web": 1})
        self.assertEqual(len(self.metrics.rejected()), len(RejectReason))
        self.assertEqual(len(self.metrics.zombies()), 3)

    def test_totals_are_of_the_records_live_waiting_and_put_away(self):
        put_away, waiting, live = (self.connect() for _ in range(3))
        for record, count in ((put_away, 1), (waiting, 10), (live, 100)):
            record.moved_in(count, 0.0)
            record.moved_out(2 * count, 0.0)
        self.close(put_away)
        self.registry.close(waiting, CloseReason.NORMAL, 1.0)
        self.assertEqual(self.metrics.totals(), (111, 222, 3))

    def test_what_is_no_longer_active_is_closed_at_once_and_once(self):
        record = self.connect()
        self.registry.close(record, CloseReason.ADMIN, 1.0)
        self.assertEqual(self.metrics.connections.active(), 0)
        self.assertEqual(self.metrics.closed()[CloseReason.ADMIN], 1)
        self.registry.ended.empty()
        self.assertEqual(self.metrics.closed()[CloseReason.ADMIN], 1)

    def test_ends_refusals_zombies_and_the_clean_up(self):
        self.close(self.connect(), CloseReason.CLIENT_RESET)
        self.counters.reject(RejectReason.NO_ROUTE)
        self.counters.zombie("half")
        self.registry.close(self.connect(), CloseReason.NORMAL, 1.0)
        self.assertEqual(self.metrics.closed()[CloseReason.CLIENT_RESET], 1)
        self.assertEqual(self.metrics.rejected()[RejectReason.NO_ROUTE], 1)
        self.assertEqual(self.metrics.zombies(), {"full": 0, "half": 1, "stuck": 0})
        self.assertEqual(self.metrics.cleanup(), (1, 1, 1))


class MeasuredTests(MetricsCase):
    def test_one_call_feeds_record_total_route_and_client_once_a_byte(self):
        record = self.connect()
        record.moved_in(1000, 0.0)
        record.moved_out(10, 0.0)
        self.clock.advance(1.0)
        throughput, rate = self.metrics.throughput, Rate(1000.0, 10.0)
        self.assertEqual((record.bytes_received, record.bytes_sent), (1000, 10))
        self.assertEqual(throughput.instant(), rate)
        self.assertEqual(throughput.by_route(), {"web": rate})
        self.assertEqual(throughput.by_ip(), {"192.0.2.1": rate})

    def test_two_connections_of_one_client_add_up(self):
        self.connect(route="web").moved_in(100, 0.0)
        self.connect(route="mail").moved_in(50, 0.0)
        self.clock.advance(1.0)
        self.assertEqual(self.metrics.throughput.by_ip()["192.0.2.1"].in_, 150.0)
        self.assertEqual(self.metrics.throughput.by_route()["mail"].in_, 50.0)

    def test_the_end_of_a_connection_moves_nothing(self):
        """What it has carried was told while it ran: a rate does not jump when its books are closed."""
        record = self.connect()
        record.moved_in(1000, 0.0)
        self.clock.pump([1.0] * 10)
        self.close(record)
        self.clock.advance(1.0)
        self.assertEqual(self.metrics.throughput.instant(), Rate(0.0, 0.0))
        self.assertEqual(self.metrics.totals().bytes_received, 1000)

    def test_who_has_gone_is_forgotten(self):
        self.close(self.connect("192.0.2.1", "web"))
        self.connect("192.0.2.2", "mail")
        self.clock.pump([1.0] * 70)
        self.assertEqual(list(self.metrics.throughput.by_ip()), ["192.0.2.2"])
        self.assertEqual(list(self.metrics.throughput.by_route()), ["mail"])

    def test_percentiles_are_of_ended_connections_and_not_of_refused_ones(self):
        for seconds in range(1, 101):
            record = self.connect()
            record.moved_in(seconds * 600, 0.0)
            record.moved_out(seconds * 400, 0.0)
            self.registry.close(record, CloseReason.NORMAL, record.opened_at + seconds)
        self.registry.close(self.connect(), RejectReason.UPSTREAM_TIMEOUT, 1e6)
        self.registry.ended.empty()
        told = self.metrics.percentiles()
        for quantile, wanted in zip(told.duration_seconds, (50, 95, 99), strict=True):
            self.assertApproximates(quantile, wanted, wanted * 0.011)
        for quantile, wanted in zip(told.bytes, (50_000, 95_000, 99_000), strict=True):
            self.assertApproximates(quantile, wanted, wanted * 0.011)

    def test_it_starts_and_stops_and_leaves_no_timer(self):
        self.metrics.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.metrics.startService()
        self.connect().moved_in(7, 0.0)
        self.clock.advance(1.0)
        self.assertEqual(self.metrics.throughput.instant().in_, 7.0)


class UnmeasuredTests(MetricsCase):
    plan = None

    def test_records_feed_nothing_and_no_timer_runs(self):
        self.assertEqual(self.connect().meters, ())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_counted_is_counted_all_the_same(self):
        self.connect().moved_in(7, 0.0)
        self.assertEqual(self.metrics.totals(), (7, 0, 1))
        self.assertEqual(self.metrics.connections.active(), 1)

    def test_nothing_is_measured(self):
        self.close(self.connect())
        throughput, still = self.metrics.throughput, Rate(0.0, 0.0)
        self.assertEqual((throughput.instant(), throughput.recent(), throughput.average()), (still,) * 3)
        self.assertEqual((throughput.custom(5), throughput.history(5)), (still, []))
        self.assertEqual((throughput.by_route(), throughput.by_ip()), ({}, {}))
        self.assertEqual(self.metrics.percentiles(), ((None,) * 3,) * 2)
