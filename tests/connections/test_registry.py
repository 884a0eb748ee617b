"""The registry: opening, closing and counting connections."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.registry import Registry
from smartproxy.metrics import totals
from smartproxy.metrics.counters import UNROUTED, Counters
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import CloseReason, ConnectionState, RejectReason
from smartproxy.model.plan import CleanupPlan

PEER = Endpoint("198.51.100.9", 5000)
CLIENT = Endpoint("192.0.2.1", 4000)


class RegistryTests(SynchronousTestCase):
    def setUp(self):
        self.counters = Counters()
        self.clock = Clock()
        self.registry = Registry(self.counters, CleanupPlan(), self.clock)

    def open(self):
        return self.registry.open(Accepted(":443", 443, PEER, 10.0))

    def assert_empty(self):
        registry = self.registry
        self.assertEqual((registry.live, registry.by_ip, registry.by_route, registry.active), ({}, {}, {}, 0))
        self.assertEqual({of_route.active for of_route in self.counters.routes.values()} | {0}, {0})

    def test_new_record_gets_the_next_number(self):
        records = [self.open() for _ in range(3)]
        self.assertEqual([record.id for record in records], [1, 2, 3])
        self.assertEqual((self.registry.active, self.registry.opened), (3, 3))
        self.assertEqual(
            (records[0].state, records[0].client, records[0].peer), (ConnectionState.ACCEPTED, PEER, PEER)
        )

    def test_number_is_not_reused(self):
        self.registry.close(self.open(), CloseReason.NORMAL, 11.0)
        self.assertEqual(self.open().id, 2)

    def test_identify_counts_the_announced_client(self):
        record = self.open()
        self.registry.identify(record, CLIENT)
        self.assertEqual(self.registry.by_ip, {CLIENT.host: 1})
        self.assertEqual((record.client, record.peer, record.identified), (CLIENT, PEER, True))

    def test_close_undoes_the_steps_that_were_done(self):
        for steps in range(3):
            record = self.open()
            if steps > 0:
                self.registry.identify(record, CLIENT)
            if steps > 1:
                self.registry.assign(record, "web")
            self.assertTrue(self.registry.close(record, CloseReason.NORMAL, 11.0))
            self.assert_empty()

    def test_each_number_is_published_after_it_has_changed(self):
        """Limits that several processes share are compared with what is published."""

        class Published:
            def __init__(self):
                self.told = []

            def live(self, number):
                self.told.append(number)

            def client(self, ip, number):
                self.told.append((ip, number))

            def route(self, name, number):
                self.told.append((name, number))

        published = Published()
        self.registry = Registry(self.counters, CleanupPlan(), self.clock, published=published)
        records = [self.open(), self.open(), self.open()]
        for record, counts in zip(records, (True, True, False), strict=True):
            self.registry.identify(record, CLIENT, counts=counts)
        for record in records[1:]:
            self.registry.assign(record, "web")
        client = CLIENT.host
        opened = [1, 2, 3, (client, 1), (client, 2), ("web", 1), ("web", 2)]
        self.assertEqual(published.told, opened)
        published.told.clear()
        for record in (*records, *records):
            self.registry.close(record, CloseReason.NORMAL, 11.0)
        closed = [2, (client, 1), 1, (client, 0), ("web", 1), 0, ("web", 0)]
        self.assertEqual(published.told, closed)

    def test_second_close_does_nothing(self):
        record, other = self.open(), self.open()
        for each in (record, other):
            self.registry.identify(each, CLIENT)
            self.registry.assign(each, "web")
            each.moved_in(10, 10.5)
        self.assertTrue(self.registry.close(record, CloseReason.NORMAL, 11.0))
        self.assertFalse(self.registry.close(record, CloseReason.ERROR, 12.0))
        self.registry.ended.empty()
        self.assertEqual((self.registry.by_ip, self.registry.by_route), ({CLIENT.host: 1}, {"web": 1}))
        self.assertEqual(self.counters.route("web").closed, {CloseReason.NORMAL: 1})
        self.assertEqual(self.registry.closed_received, 10)

    def test_closed_bytes_go_to_the_route_and_the_totals(self):
        record = self.open()
        self.registry.assign(record, "web")
        record.moved_in(10, 10.5)
        record.moved_out(20, 11.5)
        self.registry.close(record, CloseReason.INACTIVITY, 14.0)
        self.registry.ended.empty()
        of_route = self.counters.route("web")
        self.assertEqual((of_route.received, of_route.sent, of_route.opened, of_route.active), (10, 20, 1, 0))
        self.assertEqual((self.registry.closed_received, self.registry.closed_sent), (10, 20))
        self.assertEqual(of_route.closed, {CloseReason.INACTIVITY: 1})
        self.assertEqual(of_route.duration_seconds.total, 4.0)
        self.assertEqual(record.state, ConnectionState.CLOSING)

    def test_limits_are_released_at_once_and_bytes_with_the_batch(self):
        """Until then its bytes are in no total, so the record is still listed as unsettled."""
        record = self.open()
        self.registry.identify(record, CLIENT)
        self.registry.assign(record, "web")
        record.moved_in(10, 10.5)
        self.registry.close(record, CloseReason.NORMAL, 11.0)
        self.assert_empty()
        self.assertEqual((self.registry.closed_received, list(self.registry.unsettled())), (0, [record]))
        self.clock.advance(0.1)
        self.assertEqual((self.registry.closed_received, list(self.registry.unsettled())), (10, []))
        self.assertEqual(self.counters.route("web").closed, {CloseReason.NORMAL: 1})

    def test_total_is_constant_while_a_batch_runs(self):
        """A byte is in the record or in the totals, never in both."""
        seen = []

        def add_up(_):
            unsettled = sum(record.bytes_received for record in self.registry.unsettled())
            seen.append(self.registry.closed_received + unsettled)

        self.registry.on_closed.append(add_up)
        for _ in range(100):
            record = self.open()
            record.moved_in(1, 10.5)
            self.registry.close(record, CloseReason.NORMAL, 11.0)
        self.assertEqual(seen, [100] * 100)

    def test_bytes_of_a_connection_that_is_refused_late_stay_with_its_route(self):
        """A target's TLS may fail after bytes were handed to it; a counter must not decrease then."""
        record = self.open()
        self.registry.assign(record, "web")
        record.moved_in(10, 10.5)
        record.moved_out(3, 10.5)
        before = totals.by_route(self.registry, self.counters)
        self.registry.close(record, RejectReason.TLS_ERROR, 11.0)
        self.registry.ended.empty()
        self.assertEqual(before, {"web": (10, 3)})
        self.assertEqual(totals.by_route(self.registry, self.counters), before)
        self.assertEqual(sum(self.counters.route("web").duration_seconds.counts), 0)

    def test_refused_connection_has_no_close_reason_or_duration(self):
        record = self.open()
        self.registry.assign(record, "web")
        self.registry.close(record, RejectReason.ROUTE_LIMIT, 11.0)
        self.assertEqual(self.counters.route("web").closed, {})
        self.assertEqual(sum(self.counters.route("web").duration_seconds.counts), 0)

    def test_connection_without_a_route_is_counted_as_unrouted(self):
        self.registry.close(self.open(), CloseReason.CLIENT_RESET, 11.0)
        self.registry.ended.empty()
        self.assertEqual(self.counters.route(UNROUTED).closed, {CloseReason.CLIENT_RESET: 1})

    def test_emptied_fires_with_the_last_close(self):
        records = [self.open(), self.open()]
        waiting = [self.registry.emptied(), self.registry.emptied()]
        self.registry.close(records[0], CloseReason.NORMAL, 11.0)
        self.assertNoResult(waiting[0])
        self.registry.close(records[1], CloseReason.NORMAL, 11.0)
        for each in waiting:
            self.successResultOf(each)

    def test_emptied_fires_at_once_without_connections(self):
        self.successResultOf(self.registry.emptied())

    def test_cancelled_waiter_does_not_block_the_others(self):
        record = self.open()
        impatient, patient = self.registry.emptied(), self.registry.emptied()
        impatient.addErrback(lambda _: None)
        impatient.cancel()
        self.registry.close(record, CloseReason.NORMAL, 11.0)
        self.successResultOf(patient)
