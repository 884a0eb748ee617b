"""What tests of discovery share: records that the test decides about, and a clock."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from smartproxy.errors import LookupFailed, Refused
from smartproxy.flow.deadline import TICK, Deadlines
from smartproxy.model.plan import GroupPlan, TargetPlan
from smartproxy.model.plan.target import Discover
from smartproxy.upstream.discovery.file import TargetFileWatch
from smartproxy.upstream.discovery.interfaces import Answer, IRecords, Service
from smartproxy.upstream.discovery.service import Discovery
from smartproxy.upstream.discovery.watched import WatchedNames
from smartproxy.upstream.groups import Groups
from smartproxy.upstream.member import Members
from smartproxy.upstream.steering import TargetGroups

CLIENT = "192.0.2.100"


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


def by_name(*names, port=80, **more):
    return TargetPlan(names, port, discover=Discover.ADDRESSES, **more)


def by_service(name, **more):
    return TargetPlan((name,), None, discover=Discover.SERVICES, **more)


def fixed(host, port=80, **more):
    return TargetPlan((host,), port, **more)


class ServiceCase(DiscoveryCase):
    """A group called ``app``."""

    def setUp(self):
        super().setUp()
        self.groups = Groups(Members(), self.clock, Random(1).random)
        self.configured = 0
        self.discovery = Discovery(
            self.names, TargetFileWatch(self.clock), self.deadlines, self.clock, self.configure
        )
        self.steering = TargetGroups(self.groups, {}, self.clock.seconds, dict)

    def configure(self, plans):
        self.configured += 1
        self.groups.configure(plans)

    def use(self, *targets, **more):
        """Put a configuration in force, without time for an answer."""
        plan = GroupPlan("app", targets, **more)
        self.groups.apply({plan.name: plan}, self.discovery.apply([plan]))
        self.group = self.groups.of(plan)

    def find(self, *targets, **more):
        """Put a configuration in force, with time for its answers."""
        self.use(*targets, **more)
        self.pass_time(0.5)

    def targets(self):
        return [candidate.name for candidate in self.group.candidates]

    def connect(self):
        candidate = self.group.take(CLIENT)
        if candidate is not None:
            self.group.succeeded(candidate)
        return candidate

    def shown(self):
        return {target.name: target.state for target in self.steering.targets("app")}

    def no_target(self):
        return self.assertRaises(Refused, self.group.take, CLIENT)
