"""The throughput of several workers: sampled from their totals."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.api import NoThroughput
from smartproxy.metrics.throughput import Rate
from smartproxy.model.plan import MetricsPlan
from smartproxy.workers.merged_throughput import MergedRates, MergedThroughput


class MergedThroughputTests(SynchronousTestCase):
    plan = MetricsPlan(sample_interval=1.0)

    def setUp(self):
        self.clock = Clock()
        self.totals = {1: (0, 0), 2: (0, 0)}
        self.asked = 0
        self.throughput = MergedThroughput(self.plan, self.ask, self.clock)
        self.throughput.start()
        self.addCleanup(self.throughput.stop)

    def ask(self):
        self.asked += 1
        return succeed(dict(self.totals))

    def move(self, worker, received, sent=0):
        before = self.totals.get(worker, (0, 0))
        self.totals[worker] = before[0] + received, before[1] + sent

    def test_rates_are_those_of_all_workers(self):
        for _ in range(10):
            self.move(1, 1000, 100)
            self.move(2, 500, 50)
            self.clock.advance(1)
        total = self.throughput.total
        for rate in (total.instant(), total.recent(), total.average(), total.custom(5)):
            self.assertEqual(rate, Rate(1500.0, 150.0))
        self.assertEqual(len(total.history(60)), 10)

    def test_a_worker_that_ends_takes_nothing_back(self):
        self.move(1, 5000)
        self.clock.advance(1)
        del self.totals[1]
        self.throughput.forget(1)
        self.move(2, 300)
        self.clock.advance(1)
        self.assertEqual(self.throughput.total.instant(), Rate(300.0, 0.0))
        self.assertEqual(self.throughput.total.recent(), Rate(2650.0, 0.0))

    def test_a_worker_that_does_not_answer_is_late(self):
        self.move(1, 1000)
        late = self.totals.pop(1)
        self.clock.advance(1)
        self.assertEqual(self.throughput.total.instant(), Rate(0.0, 0.0))
        self.totals[1] = late
        self.clock.advance(1)
        self.assertEqual(self.throughput.total.recent(), Rate(500.0, 0.0))

    def test_the_next_question_waits_for_the_answer(self):
        waiting = Deferred()
        self.patch(self, "totals", {})
        self.throughput.stop()
        throughput = MergedThroughput(self.plan, lambda: waiting, self.clock)
        throughput.start()
        self.clock.pump([1.0] * 5)
        waiting.callback({1: (5000, 0)})
        self.assertEqual(throughput.total.recent(), Rate(1000.0, 0.0))
        throughput.stop()

    def test_moved_adds_a_sample(self):
        self.clock.advance(0.5)
        self.throughput.moved(100, 50)
        self.assertEqual(self.throughput.total.instant(), Rate(200.0, 100.0))

    def test_nothing_is_asked_where_nothing_is_measured(self):
        throughput = MergedThroughput(None, self.ask, self.clock)
        throughput.start()
        self.throughput.stop()
        self.clock.advance(10)
        self.assertEqual(self.asked, 0)
        self.assertIsInstance(throughput.total, NoThroughput)
        throughput.moved(1, 1)

    def test_samples_survive_another_interval(self):
        self.move(1, 1000)
        self.clock.advance(1)
        self.throughput.configure(MetricsPlan(sample_interval=5.0))
        self.assertEqual(self.throughput.total.recent(), Rate(1000.0, 0.0))
        self.clock.advance(4)
        self.assertEqual(self.asked, 1)
        self.clock.advance(1)
        self.assertEqual(self.asked, 2)

    def test_bytes_moved_while_nothing_was_measured_are_no_burst(self):
        self.throughput.configure(None)
        self.clock.advance(10)
        self.assertEqual(self.asked, 0)
        self.move(1, 1_000_000)
        self.throughput.configure(self.plan)
        self.clock.advance(1)
        self.move(1, 100)
        self.clock.advance(1)
        self.assertEqual(self.throughput.total.recent(), Rate(50.0, 0.0))

    def test_rates_by_route_and_client_are_those_given(self):
        rates = {"web": Rate(1.0, 2.0)}
        measured = self.throughput.with_rates(MergedRates(rates.copy), MergedRates(dict))
        self.assertEqual((measured.by_route(), measured.by_ip()), (rates, {}))
        self.assertEqual(list(measured.each_route()), [("web", Rate(1.0, 2.0))])
