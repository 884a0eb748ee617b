"""Several proxies in memory as the workers of one supervisor: asked as over the control channel, with pickled values."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from smartproxy.metrics.counters import Counters
from smartproxy.metrics.families import families
from smartproxy.metrics.family import HistogramFamily, MetricFamily
from smartproxy.workers.all_workers import AllWorkers
from smartproxy.workers.answers import answer
from tests.sessions.memory_proxy import MemoryProxy
from tests.workers.carried import pickled


class Several:
    """Workers, and a supervisor that asks them.

    :ivar proxies: the workers that answer, by generation.
    :ivar asked: the questions so far, with the generations that were asked.
    :ivar draining: the generations of workers that drain.
    :ivar held: where it is a list, answers wait there until the test fires them.
    """

    def __init__(self, case, count=2, **configuration):
        self.case = case
        self.configuration = configuration
        self.proxies = {}
        self.asked = []
        self.draining = set()
        self.held = None
        for generation in range(1, count + 1):
            self.begin(generation)
        self.clock = Clock()
        self.own = Counters()
        self.all = AllWorkers(
            self.ask,
            self.ask_one,
            self.own,
            lambda: self.first.service.plan,
            self.clock,
            self.more,
            lambda: self.draining,
        )

    def begin(self, generation):
        """A worker begins."""
        proxy = self.proxies[generation] = MemoryProxy(self.case, **self.configuration)
        proxy.service.registry._before_first = generation * 10**11 - 1
        return proxy

    def more(self):
        number = [((), len(self.proxies))]
        return [MetricFamily("smartproxy_workers", "gauge", "Worker processes.", (), number)]

    @property
    def first(self):
        return next(iter(self.proxies.values()))

    def ask(self, question, arguments):
        return self._ask(question, arguments, list(self.proxies))

    def ask_one(self, question, arguments):
        return self._ask(question, arguments, list(self.proxies)[:1])

    def _ask(self, question, arguments, generations):
        self.asked.append((question, generations))
        answers = {generation: self.answer(generation, question, arguments) for generation in generations}
        if self.held is None:
            return succeed(answers)
        waiting = Deferred()
        self.held.append((waiting, answers))
        return waiting

    def answer(self, generation, question, arguments):
        proxy = self.proxies[generation]
        answering = answer(proxy.service, proxy.network, question, pickled(arguments))
        return pickled(self.case.successResultOf(Deferred.fromCoroutine(answering)))

    def snapshot(self, generation):
        return self.answer(generation, "snapshot", {})[1]

    def reading(self):
        return self.case.successResultOf(self.all.reading())

    def kill(self, generation):
        """A worker is lost with all that it has counted since its last snapshot."""
        del self.proxies[generation]
        self.all.retire(generation, killed=True)


def values(registry, counters):
    """The value of every sample of a page of metrics, by name and labels; of a histogram, buckets and sum."""
    found = {}
    for family in families(registry, counters):
        for key, value in family.rows:
            if isinstance(family, HistogramFamily):
                for bound, count in value.cumulative():
                    found[family.name, key, bound] = count
                found[family.name, key, "sum"] = round(value.total, 6)
            else:
                found[family.name, key] = value
    return found
