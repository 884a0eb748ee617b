"""The snapshot of one worker: complete, plain, consistent, and made in slices."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.slices import Slices
from smartproxy.metrics.counters import UNROUTED, Counters, RouteCounters
from smartproxy.metrics.requests import RequestCounters
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.workers import snapshot as module
from smartproxy.workers.snapshot import BY_LABEL, PLAIN, TIMES, RequestsState, RouteState, rows_of
from tests.admin.doubles import FakeControl
from tests.sessions.memory_proxy import MemoryProxy, route
from tests.workers.carried import closed, exchange, pickled

PLAIN_TYPES = {int, float, str, bool, bytes, type(None), list, tuple, dict}


def types_in(value):
    yield type(value)
    if isinstance(value, dict):
        for pair in value.items():
            yield from types_in(pair)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from types_in(item)


class SnapshotCase(SynchronousTestCase):
    def snapshot(self, proxy, clock):
        return self.successResultOf(Deferred.fromCoroutine(module.take_snapshot(proxy, clock)))

    def routes(self, snapshot):
        return dict(rows_of(snapshot["routes"]))


class ContentTests(SnapshotCase):
    def test_routes_never_used_are_left_out(self):
        proxy = MemoryProxy(self, routes=[route("web"), route("mail", port=2525)])
        exchange(proxy)
        self.assertEqual(list(self.routes(self.snapshot(proxy.service, proxy.network))), ["web"])

    def test_numbers_are_those_of_the_proxy(self):
        proxy = MemoryProxy(self)
        closed(proxy, exchange(proxy, received=b"1234", sent=b"123"))
        exchange(proxy, received=b"12", sent=b"1")
        snapshot = self.snapshot(proxy.service, proxy.network)
        web = self.routes(snapshot)["web"]
        self.assertEqual((web["opened"], web["active"], web["received"], web["sent"]), (2, 1, 6, 4))
        self.assertEqual(web["closed"], {"normal": 1})
        self.assertEqual(sum(web["dial_seconds"][0]), 2)
        self.assertEqual(sum(web["duration_seconds"][0]), 1)
        process = snapshot["process"]
        self.assertEqual(
            [process[name] for name in ("opened", "active", "received", "sent", "cleaned")], [2, 1, 6, 4, 1]
        )
        self.assertEqual(list(rows_of(snapshot["clients"])), [("192.0.2.1", 1)])
        (target,) = rows_of(snapshot["targets"])
        self.assertEqual(
            (target["group"], target["up"], target["active"], target["received"]), ("web", True, 1, 6)
        )
        self.assertEqual(list(rows_of(snapshot["queues"])), [("web", 0)])

    def test_values_are_plain(self):
        """The supervisor may run older code than a worker: it must not need a class to read its numbers."""
        proxy = MemoryProxy(self)
        closed(proxy, exchange(proxy))
        proxy.service.counters.reject(RejectReason.NO_ROUTE)
        proxy.service.counters.route("web").of_requests().count("GET", 200, 0.1)
        snapshot = self.snapshot(proxy.service, proxy.network)
        pieces = {name: list(rows_of(pieces)) for name, pieces in snapshot.items() if name != "process"}
        self.assertEqual({*types_in(snapshot), *types_in(pieces)} - PLAIN_TYPES, set())

    def test_every_counter_is_in_a_snapshot(self):
        """A counter that is added to the classes must be added here, too, or it would be lost with several processes."""
        elsewhere = {
            "_configured", "_unused", "config_reload_at", "config_reload_ok", "config_reloads", "handshake_seconds", "routes",
            "targets",
        }  # fmt: skip
        self.assertEqual({*BY_LABEL, *PLAIN, *TIMES}, {*Counters.__slots__} - elsewhere)
        self.assertEqual({*RouteState.__annotations__}, {*RouteCounters.__slots__})
        self.assertEqual({*RequestsState.__annotations__}, {*RequestCounters.__slots__})

    def test_a_proxy_without_metrics_has_counts_only(self):
        proxy = MemoryProxy(self, metrics=False)
        exchange(proxy)
        snapshot = self.snapshot(proxy.service, proxy.network)
        self.assertEqual((snapshot["client_rates"], snapshot["process"]["durations"]), ([], ({}, 0)))
        self.assertEqual(snapshot["process"]["opened"], 1)


class SliceTests(SnapshotCase):
    """The event loop gets a turn after every piece, and connections close meanwhile."""

    def setUp(self):
        self.patch(module, "Slices", partial(Slices, seconds=0.0))
        self.patch(module, "PIECE", 1)
        self.control = FakeControl()
        self.control.counters.keep({"first", "web"}, 0.0)

    def begin(self):
        taking = Deferred.fromCoroutine(module.take_snapshot(self.control, self.control.clock))
        self.assertNoResult(taking)
        return taking

    def finish(self, taking):
        while not taking.called:
            self.control.clock.advance(0)
        return self.successResultOf(taking)

    def test_bytes_of_a_connection_that_closes_meanwhile_count_once(self):
        record = self.control.connect(received=100, sent=10)
        taking = self.begin()
        record.moved_in(1, 0.0)
        self.control.registry.close(record, CloseReason.NORMAL, 101.0)
        self.control.settle()
        self.assertEqual(self.control.counters.routes["web"].received, 101)
        snapshot = self.finish(taking)
        web = self.routes(snapshot)["web"]
        self.assertEqual((web["received"], web["sent"]), (100, 10))
        self.assertEqual((snapshot["process"]["received"], snapshot["process"]["sent"]), (100, 10))

    def test_close_reasons_of_a_route_dropped_meanwhile_count_once(self):
        record = self.control.connect()
        self.control.registry.close(record, CloseReason.NORMAL, 101.0)
        self.control.settle()
        taking = self.begin()
        self.control.counters.keep({"first"}, 200.0)
        self.control.counters.prune(300.0)
        self.assertNotIn("web", self.control.counters.routes)
        snapshot = self.finish(taking)
        self.assertEqual(snapshot["process"]["by_label"]["closed_before"], {})
        self.assertEqual(self.routes(snapshot)["web"]["closed"], {"normal": 1})

    def test_routes_and_clients_may_come_and_go_meanwhile(self):
        first = self.control.connect("192.0.2.1")
        self.control.connect("192.0.2.2", "first")
        taking = self.begin()
        self.control.connect("192.0.2.3", "later")
        self.control.registry.close(first, CloseReason.NORMAL, 101.0)
        self.control.settle()
        self.control.counters.keep({"later"}, 200.0)
        self.assertEqual({*self.routes(self.finish(taking))}, {"first", "web"})

    def test_the_event_loop_gets_a_turn_after_each_piece(self):
        for number in range(50):
            self.control.connect(route=f"route-{number}")
        turns = []
        self.patch(self.control.clock, "callLater", self._counting(turns))
        self.finish(self.begin())
        self.assertGreater(len(turns), 100)  # a piece for each route, and for its rate

    def _counting(self, turns):
        call_later = self.control.clock.callLater

        def counted(*arguments, **more):
            turns.append(arguments)
            return call_later(*arguments, **more)

        return counted


class PieceTests(SynchronousTestCase):
    def test_rows_are_read_as_they_were_written(self):
        rows = [(f"route-{number}", number) for number in range(2 * module.PIECE + 1)]
        pieces = list(module.pieces_of(iter(rows)))
        self.assertEqual((len(pieces), list(rows_of(pieces))), (3, rows))

    def test_connections_without_a_route_are_a_route_of_their_own(self):
        control = FakeControl()
        control.registry.close(control.connect(route=None), CloseReason.ERROR, 101.0)
        taking = module.take_snapshot(control, control.clock)
        snapshot = self.successResultOf(Deferred.fromCoroutine(taking))
        self.assertEqual(dict(rows_of(snapshot["routes"]))[UNROUTED]["closed"], {"error": 1})
        self.assertEqual(pickled(snapshot), snapshot)
