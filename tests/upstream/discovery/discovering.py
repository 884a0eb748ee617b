"""What tests of discovery share: records that the test decides about, and a clock."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from smartproxy.errors import LookupFailed
from smartproxy.flow.deadline import TICK, Deadlines
from smartproxy.upstream.discovery.interfaces import Answer, IRecords, Service
from smartproxy.upstream.discovery.watched import WatchedNames


@implementer(IRecords)
class FakeRecords:
    """Answers from ``zone``: a name has an :class:`Answer`; one that is missing fails; ``None`` is not answered."""

    def __init__(self):
        self.zone = {}
        self.asked = []
        self.waiting = {}

    def addresses(self, name, known):
        return self._ask(name, known)

    def services(self, name, known):
        return self._ask(name, known)

    def stop(self):
        """Nothing is in progress."""

    def _ask(self, name, known):
        self.asked.append((name, known))
        answer = self.zone.get(name, LookupFailed("there is no such name"))
        if answer is None:
            return self.waiting.setdefault(name, Deferred())
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)


class DiscoveryCase(SynchronousTestCase):
    """Watched names on a clock. Chance is 0: nothing is lengthened by it."""

    def setUp(self):
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()
        self.addCleanup(self.deadlines.stop)
        self.records = FakeRecords()
        self.names = WatchedNames(self.records, self.deadlines, self.clock.seconds, lambda: 0.0)

    def has(self, name, *records, ttl=10.0):
        """From now on ``name`` has these records."""
        self.records.zone[name] = Answer(tuple(records), ttl)

    def pass_time(self, seconds=TICK):
        """Time passes in ticks, or in larger steps where it is long."""
        step = TICK if seconds <= 5 else 0.5
        self.clock.pump([step] * max(1, round(seconds / step)))


def service(host, priority=0, weight=0, port=80):
    return Service(priority, weight, port, host)
