"""Adding snapshots, also those of a worker that runs newer code."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.counters import Counters
from smartproxy.model.outcome import CloseReason
from smartproxy.workers.snapshot import pieces_of, rows_of
from smartproxy.workers.sums import MergedConnections, Names, Sums
from tests.workers.carried import closed, exchange, pickled
from tests.workers.several import Several


class SumsCase(SynchronousTestCase):
    def setUp(self):
        self.workers = Several(self, 1)
        closed(self.workers.first, exchange(self.workers.first))
        self.snapshot = self.workers.snapshot(1)

    def sums(self, *snapshots, configured=None):
        sums = Sums(configured)
        for snapshot in snapshots:
            list(sums.add(snapshot))
        return sums

    def change_route(self, **changes):
        ((name, state),) = rows_of(self.snapshot["routes"])
        self.snapshot["routes"] = list(pieces_of([(name, state | changes)]))


class NewerCodeTests(SumsCase):
    """During a replacement of workers by those of newer code, the supervisor still runs the older."""

    def test_an_unknown_close_reason_is_an_error(self):
        self.change_route(closed={"normal": 1, "eclipse": 2})
        self.assertEqual(
            self.sums(self.snapshot).counters.routes["web"].closed,
            {CloseReason.NORMAL: 1, CloseReason.ERROR: 2},
        )

    def test_histograms_with_other_buckets_are_left_out(self):
        self.change_route(dial_seconds=([1, 2, 3], 4.0), opened=7)
        web = self.sums(self.snapshot).counters.routes["web"]
        self.assertEqual((web.opened, sum(web.dial_seconds.counts), web.dial_seconds.total), (7, 0, 0.0))

    def test_unknown_counters_are_left_out_and_missing_ones_are_zero(self):
        process = self.snapshot["process"]
        process["by_label"]["eclipses"] = {"total": 1}
        del process["by_label"]["zombies"], process["plain"]["resumed"]
        sums = self.sums(self.snapshot)
        self.assertEqual((sums.counters.zombies, sums.counters.resumed), (Counters().zombies, 0))
        self.assertEqual(sums.opened, 1)


class SumsTests(SumsCase):
    def test_a_snapshot_of_sums_has_the_same_sums(self):
        exchange(self.workers.first)
        sums = self.sums(self.workers.snapshot(1), self.snapshot)
        again = self.sums(pickled(sums.snapshot()))
        self.assertEqual(again.snapshot(), sums.snapshot())
        self.assertEqual((again.opened, again.active, again.received), (3, 1, 9))

    def test_adding_changes_no_snapshot(self):
        before = pickled(self.snapshot)
        sums = self.sums(self.snapshot, self.snapshot)
        sums.end(killed=True)
        self.assertEqual(self.snapshot, before)

    def test_every_configured_route_has_a_series(self):
        sums = self.sums(self.snapshot, configured=Names(dict.fromkeys(["idle", "web", "other"]).keys()))
        self.assertEqual(
            [(name, of.opened) for name, of in sums.counters.series()],
            [("idle", 0), ("web", 1), ("other", 0)],
        )

    def test_connections_have_no_records_and_all_bytes(self):
        exchange(self.workers.first)
        connections = MergedConnections(self.sums(self.workers.snapshot(1)))
        self.assertEqual((connections.active, connections.opened), (1, 2))
        self.assertEqual((connections.closed_received, connections.closed_sent), (6, 12))
        self.assertEqual(list(connections.unsettled()), [])
        self.assertEqual((connections.by_route, connections.by_ip), ({"web": 1}, {"192.0.2.1": 1}))
        connections.measure(None)
