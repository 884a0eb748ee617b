"""The merged reading of several workers: what one proxy would show that had carried all of the connections."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.admin import route_view, views
from smartproxy.flow.slices import Slices
from smartproxy.metrics import totals
from smartproxy.metrics.families import families
from smartproxy.metrics.interfaces import IMetrics
from smartproxy.metrics.prometheus import exposition
from smartproxy.model.outcome import RejectReason
from smartproxy.workers.merged import merged_reading
from smartproxy.workers.retired import Retired
from smartproxy.workers.sums import Names
from tests.sessions.memory_proxy import route
from tests.workers.carried import closed, exchange
from tests.workers.several import Several, values

ROUTES = [route("web"), route("mail", port=2525, hosts="10.0.0.2"), route("idle", port=143)]
#: Families that are not sums: the version, whether targets are up, and what only the supervisor knows.
NO_SUMS = ("smartproxy_build", "smartproxy_target_up", "smartproxy_config")


class MergedCase(SynchronousTestCase):
    def setUp(self):
        self.workers = Several(self, 3, routes=ROUTES)
        self.one, self.two, self.three = self.workers.proxies.values()

    def carry(self):
        """Live, closed and refused connections of two routes in two workers, and none in the third."""
        closed(self.one, exchange(self.one, "192.0.2.1", b"12345", b"1"))
        exchange(self.one, "192.0.2.1", b"123", b"12")
        exchange(self.two, "192.0.2.1", b"1234", b"123")
        exchange(self.two, "192.0.2.2", b"1", b"1", port=2525)
        closed(self.two, exchange(self.two, "192.0.2.3", b"1" * 1000, b"1" * 2000))
        for proxy in (self.one, self.two):
            proxy.service.counters.reject(RejectReason.NO_ROUTE)
            requests = proxy.service.counters.route("web").of_requests()
            requests.count("GET", 200, 0.1)
            requests.active += 2
            requests.upgrades += 3
            proxy.service.counters.handshake(0.2, "TLSv1.3", resumed=True)


class SumTests(MergedCase):
    def test_every_sample_is_the_sum_of_those_of_the_workers(self):
        self.carry()
        reading = self.workers.reading()
        merged = values(reading.registry, reading.counters)
        each = [
            values(proxy.service.registry, proxy.service.counters) for proxy in self.workers.proxies.values()
        ]
        sums = {}
        for sample in each:
            for key, value in sample.items():
                sums[key] = sums.get(key, 0) + value
        wanted = {key: round(value, 6) for key, value in sums.items() if not key[0].startswith(NO_SUMS)}
        shown = {key: value for key, value in merged.items() if not key[0].startswith(NO_SUMS)}
        self.assertEqual(shown, wanted)
        self.assertEqual(shown["smartproxy_received_bytes", ("web",)], 1012)
        self.assertEqual(shown["smartproxy_connections_active", ("web",)], 2)
        self.assertEqual(shown["smartproxy_http_upgrades_active", ("web",)], 6)

    def test_samples_are_in_the_order_of_one_proxy(self):
        """Prometheus compresses a page better, and people read it more easily, where the order is the same each time."""
        self.carry()
        reading = self.workers.reading()
        own = self.two.service
        self.assertEqual(
            list(values(reading.registry, reading.counters)), list(values(own.registry, own.counters))
        )

    def test_a_page_can_be_written(self):
        self.carry()
        reading = self.workers.reading()
        page = b"".join(exposition(families(reading.registry, reading.counters))[0])
        self.assertIn(b'smartproxy_connections_total{route="web"} 4\n', page)
        self.assertIn(b'smartproxy_connections_total{route="idle"} 0\n', page)

    def test_the_json_metrics_are_sums(self):
        self.carry()
        reading = self.workers.reading()
        shown = views.metrics(reading.metrics, reading.counters)
        self.assertEqual(
            shown["connections"],
            {
                "active": 3,
                "total": 5,
                "byRoute": {"web": 2, "mail": 1},
                "byIP": {"192.0.2.1": 2, "192.0.2.2": 1},
                "topIPs": [{"ip": "192.0.2.1", "connections": 2}, {"ip": "192.0.2.2", "connections": 1}],
            },
        )
        self.assertEqual(shown["totals"], {"bytesReceived": 1013, "bytesSent": 2007, "connections": 5})
        self.assertEqual((shown["closed"]["normal"], shown["rejected"]["no_route"]), (2, 2))
        self.assertEqual(shown["cleanup"], {"queued": 0, "batches": 2, "cleaned": 2})
        self.assertEqual(
            shown["percentiles"]["bytes"]["p50"], self.one.service.metrics.percentiles().bytes.p50
        )
        self.assertApproximates(shown["percentiles"]["bytes"]["p99"], 6, 0.1)  # of two: the lower one
        verifyObject(IMetrics, reading.metrics)

    def test_rates_by_route_and_client_are_sums(self):
        for proxy in (self.one, self.two):
            exchange(proxy, "192.0.2.1", b"1" * 1000, b"1" * 500)
            proxy.pass_time(2)
        rates = self.workers.reading().metrics.throughput
        each = [proxy.service.metrics.throughput for proxy in (self.one, self.two)]
        for name in ("by_route", "by_ip"):
            ((key, rate),) = getattr(rates, name)().items()
            parts = [getattr(one, name)()[key] for one in each]
            self.assertEqual(rate, (sum(part.in_ for part in parts), sum(part.out for part in parts)))
            self.assertGreater(rate.in_, 300)

    def test_a_route_is_shown_as_one_proxy_shows_it(self):
        self.carry()
        reading = self.workers.reading()
        moved = totals.by_route(reading.registry, reading.counters)
        plan = self.one.service.plan.routes[0]
        shown = route_view.route(plan, reading.counters.routes["web"], moved["web"])
        self.assertEqual(shown["connections"], {"active": 2, "total": 4})
        self.assertEqual((shown["bytesReceived"], shown["bytesSent"]), (1012, 2006))

    def test_reading_twice_adds_nothing_twice(self):
        self.carry()
        first, second = self.workers.reading(), self.workers.reading()
        self.assertEqual(values(first.registry, first.counters), values(second.registry, second.counters))


class OwnTests(MergedCase):
    def test_changes_of_the_configuration_are_those_of_the_supervisor(self):
        """Each change is put in force in every worker, and is one change all the same."""
        self.one.service.counters.config_reload(5.0, ok=True)
        self.workers.own.config_reload(7.0, ok=False)
        counters = self.workers.reading().counters
        self.assertEqual(
            (counters.config_reloads, counters.config_reload_ok, counters.config_reload_at),
            ({"ok": 0, "failed": 1}, False, 7.0),
        )

    def test_what_the_supervisor_counts_is_added(self):
        self.one.service.counters.acme_orders["ok"] += 1
        self.workers.own.acme_orders["ok"] += 2
        self.assertEqual(self.workers.reading().counters.acme_orders["ok"], 3)
        self.assertEqual(self.workers.own.acme_orders["ok"], 2)

    def test_earliest_time_of_a_certificate_counts(self):
        """A worker whose renewals fail is not hidden by the others."""
        for number, proxy in enumerate(self.workers.proxies.values()):
            proxy.service.counters.certificate_expiry = {"a.test": 200.0 - number}.copy
            proxy.service.counters.acme_next_renewal = {"a.test": 100.0 - number}.copy
        counters = self.workers.reading().counters
        self.assertEqual(dict(counters.certificate_expiry()), {"a.test": 200.0 - number})
        self.assertEqual(dict(counters.acme_next_renewal()), {"a.test": 100.0 - number})

    def test_times_of_a_worker_that_drains_do_not_count(self):
        """It may drain for days: it renews nothing, and no new client gets its certificates."""
        for number, proxy in enumerate(self.workers.proxies.values()):
            proxy.service.counters.certificate_expiry = {"a.test": 100.0 + number}.copy
        self.workers.first.service.drain()
        self.assertEqual(dict(self.workers.reading().counters.certificate_expiry()), {"a.test": 101.0})

    def test_merging_returns_to_the_event_loop(self):
        self.carry()
        live = [self.workers.snapshot(generation) for generation in self.workers.proxies]
        clock = self.workers.clock
        slices = Slices(clock, 0.0)
        merging = Deferred.fromCoroutine(
            merged_reading(
                live,
                Retired().snapshot,
                self.workers.own,
                Names({"web"}, groups={"idle"}),
                self.workers.all._merged_throughput,
                slices,
            )
        )
        self.assertNoResult(merging)
        while not merging.called:
            clock.advance(0)
        reading, names = self.successResultOf(merging)
        self.assertEqual((reading.registry.opened, names.groups), (5, {"web", "mail", "idle"}))
