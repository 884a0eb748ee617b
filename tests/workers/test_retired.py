"""What workers that have ended had counted: it stays in the totals, in bounded memory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.counters import UNROUTED
from smartproxy.model.outcome import CloseReason
from smartproxy.workers.retired import Retired
from smartproxy.workers.snapshot import rows_of
from smartproxy.workers.sums import Names, Sums
from tests.sessions.memory_proxy import route
from tests.workers.carried import closed, exchange
from tests.workers.several import Several, values

ROUTES = [route("web"), route("mail", port=2525, hosts="10.0.0.2")]
GAUGES = {
    "smartproxy_connections_active", "smartproxy_target_connections_active", "smartproxy_cleanup_queue_length",
    "smartproxy_http_requests_active", "smartproxy_http_upgrades_active", "smartproxy_http_pool_connections",
}  # fmt: skip
#: Not totals either: these may change in any direction.
FACTS = {
    "smartproxy_build", "smartproxy_target_up", "smartproxy_config_last_reload_timestamp_seconds",
    "smartproxy_config_last_reload_successful", "smartproxy_target_queue_length",
}  # fmt: skip


class RetiringTests(SynchronousTestCase):
    def setUp(self):
        self.workers = Several(self, 2, routes=ROUTES)
        self.one, self.two = self.workers.proxies.values()
        for proxy in (self.one, self.two):
            closed(proxy, exchange(proxy, "192.0.2.1", b"12345", b"1"))
            exchange(proxy, "192.0.2.1", b"123", b"12")
            exchange(proxy, "192.0.2.2", b"1", b"1", port=2525)

    def values(self):
        reading = self.workers.reading()
        return values(reading.registry, reading.counters)

    def test_no_total_decreases_when_a_worker_is_killed(self):
        before = self.values()
        self.workers.kill(1)
        after = self.values()
        totals = {key: value for key, value in before.items() if key[0] not in GAUGES | FACTS}
        self.assertGreater(len(totals), 100)
        self.assertEqual({key: value for key, value in totals.items() if after[key] < value}, {})

    def test_connections_of_a_killed_worker_count_as_errors(self):
        self.values()
        self.workers.kill(1)
        after = self.values()
        self.assertEqual(after["smartproxy_connections_closed", ("web", "error")], 1)
        self.assertEqual(after["smartproxy_connections_closed", ("mail", "error")], 1)
        self.assertEqual(after["smartproxy_connections_closed", ("web", "normal")], 2)
        self.assertEqual(after["smartproxy_received_bytes", ("web",)], 16)

    def test_opened_connections_are_active_or_closed(self):
        """A dashboard computes one of the three from the others; a killed worker must not break that."""
        self.values()
        self.workers.kill(1)
        counters = self.workers.reading().counters
        for counted in (counters.routes["web"], counters.routes["mail"]):
            self.assertEqual(counted.opened, counted.active + sum(counted.closed.values()))

    def test_a_connection_without_a_route_is_an_error_without_a_route(self):
        snapshot = self.workers.snapshot(1)
        snapshot["process"]["active"] += 1
        self.workers.all.retire(1, snapshot, killed=True)
        sums = Sums()
        list(sums.add(self.workers.all._retired.snapshot))
        self.assertEqual(sums.counters.routes[UNROUTED].closed, {CloseReason.ERROR: 1})

    def test_gauges_of_one_that_ended_are_zero(self):
        before = self.values()
        self.workers.kill(1)
        after = self.values()
        shown = [key for key in before if key[0] in GAUGES]
        self.assertEqual([after[key] * 2 for key in shown], [before[key] for key in shown])
        reading = self.workers.reading()
        self.assertEqual(reading.registry.by_ip, {"192.0.2.1": 1, "192.0.2.2": 1})
        self.assertEqual(reading.metrics.connections.by_route(), {"web": 1, "mail": 1})

    def test_one_that_drained_leaves_no_errors(self):
        stopped = self.one.service.stopService()
        self.one.pass_time(40)
        self.successResultOf(stopped)
        last = self.workers.snapshot(1)
        del self.workers.proxies[1]
        self.workers.all.retire(1, last, killed=False)
        after = self.values()
        self.assertNotIn(("smartproxy_connections_closed", ("web", "error")), after)
        self.assertEqual(after["smartproxy_connections_closed", ("web", "shutdown")], 1)
        self.assertEqual(after["smartproxy_connections", ("web",)], 4)

    def test_the_last_snapshot_replaces_the_latest(self):
        self.values()
        exchange(self.one, "192.0.2.1", b"1" * 100, b"1")
        last = self.workers.snapshot(1)
        del self.workers.proxies[1]
        self.workers.all.retire(1, last, killed=True)
        self.assertEqual(self.values()["smartproxy_received_bytes", ("web",)], 116)

    def test_any_number_of_workers_leaves_one_sum(self):
        retired = Retired()
        snapshot = self.workers.snapshot(1)
        sizes = set()
        for _ in range(20):
            retired.retire(snapshot, killed=True)
            sizes.add(sum(map(len, retired.snapshot["routes"])) // 100)
        self.assertEqual(len(sizes), 1)
        ((_, mail),) = [row for row in rows_of(retired.snapshot["routes"]) if row[0] == "mail"]
        self.assertEqual((mail["opened"], mail["closed"]), (20, {"error": 20}))

    def test_a_snapshot_in_use_does_not_change(self):
        retired = Retired()
        before = retired.snapshot
        retired.retire(self.workers.snapshot(1), killed=True)
        self.assertEqual((before["routes"], before["process"]["opened"]), ([], 0))
        self.assertIsNot(retired.snapshot, before)


class DroppingTests(SynchronousTestCase):
    def setUp(self):
        self.retired = Retired()
        self.workers = Several(self, 1, routes=ROUTES)
        exchange(self.workers.first)
        exchange(self.workers.first, port=2525)
        self.retired.retire(self.workers.snapshot(1), killed=True)

    def keep(self, *names):
        self.retired.keep(Names(set(names), {(name, name) for name in names}, set(names)))

    def sums(self):
        sums = Sums()
        list(sums.add(self.retired.snapshot))
        return sums

    def test_close_reasons_of_a_dropped_route_are_kept(self):
        self.keep("web")
        sums = self.sums()
        self.assertEqual(list(sums.counters.routes), ["web"])
        self.assertEqual(sums.counters.closed_before, {CloseReason.ERROR: 1})
        self.assertEqual(sums.opened, 2)

    def test_targets_that_no_worker_has_any_more_are_dropped(self):
        (web, mail) = rows_of(self.retired.snapshot["targets"])
        self.assertEqual((web["group"], mail["group"]), ("web", "mail"))
        self.retired.keep(Names({"web", "mail"}, {("web", web["name"])}, {"web"}))
        self.assertEqual([row["group"] for row in rows_of(self.retired.snapshot["targets"])], ["web"])
        self.assertEqual(self.retired.moved("web", web["name"]), (3, 6))
        self.assertEqual(self.retired.moved("mail", mail["name"]), (0, 0))

    def test_nothing_is_written_where_nothing_is_dropped(self):
        before = self.retired.snapshot
        targets = {(row["group"], row["name"]) for row in rows_of(before["targets"])}
        self.retired.keep(Names({"web", "mail"}, targets, {"web", "mail"}))
        self.assertIs(self.retired.snapshot, before)


class RemovedRouteTests(SynchronousTestCase):
    def remove_mail(self, proxy):
        changed = proxy.service.update_routes(ROUTES[:1])
        proxy.settle()
        self.successResultOf(changed)

    def test_a_removed_route_is_shown_once_more_and_its_reasons_for_ever(self):
        workers = Several(self, 2, routes=ROUTES)
        one, two = workers.proxies.values()
        exchange(one, port=2525)
        exchange(two)
        workers.reading()
        workers.kill(1)
        self.assertEqual(workers.reading().metrics.closed()[CloseReason.ERROR], 1)
        self.remove_mail(two)
        self.assertIn("mail", workers.reading().counters.routes)
        reading = workers.reading()
        self.assertNotIn("mail", reading.counters.routes)
        self.assertEqual(reading.metrics.closed()[CloseReason.ERROR], 1)
        self.assertEqual(reading.metrics.totals().connections, 2)

    def test_a_removed_route_with_connections_elsewhere_is_kept(self):
        """Else its counters would decrease while they are still shown."""
        workers = Several(self, 2, routes=ROUTES)
        one, two = workers.proxies.values()
        for proxy in (one, two):
            exchange(proxy, port=2525)
        workers.reading()
        workers.kill(1)
        self.remove_mail(two)
        for _ in range(3):
            self.assertEqual(workers.reading().counters.routes["mail"].opened, 2)
