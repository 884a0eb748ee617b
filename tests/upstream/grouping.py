"""What tests of groups share: a group on a clock, whose targets are named by letters."""

from __future__ import annotations

from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.plan import Algorithm, BalancingPlan, GroupPlan, TargetPlan
from smartproxy.upstream.groups import Groups
from smartproxy.upstream.member import Members

CLIENT = "192.0.2.1"


def target(name, **more):
    return TargetPlan((f"10.0.0.{ord(name[0]) % 256}",), 80, name=name, **more)


def weighted(**weights):
    return tuple(target(name, weight=weight) for name, weight in weights.items())


class GroupCase(SynchronousTestCase):
    """One group called ``app``."""

    def setUp(self):
        self.clock = Clock()
        self.groups = Groups(Members(), self.clock, Random(1).random)

    def configure(self, targets, algorithm=Algorithm.ROUND_ROBIN, slow_start=0.0, **more):
        targets = tuple(target(one) if isinstance(one, str) else one for one in targets)
        plan = GroupPlan("app", targets, BalancingPlan(algorithm, slow_start), **more)
        self.groups.apply({plan.name: plan})
        self.group = self.groups.of(plan)
        return self.group

    def member(self, name):
        return self.groups.members.find("app", name)

    def use(self, times, client=CLIENT):
        """The names of the targets of so many connections, each ended before the next."""
        names = []
        for _ in range(times):
            candidate = self.group.take(client)
            self.group.succeeded(candidate)
            self.group.release(candidate)
            names.append(candidate.name)
        return "".join(names)

    def hold(self, times=1, client=CLIENT):
        """As many connections that stay open; ``None`` in place of one that has no room."""
        taken = [self.group.take(client) for _ in range(times)]
        for candidate in taken:
            if candidate is not None:
                self.group.succeeded(candidate)
        return taken

    def fail_dial(self, name, result="refused"):
        """Dial ``name`` without success, as if its turn had come."""
        candidate = next(one for one in self.group.candidates if one.name == name)
        self.group._count(candidate)
        self.group.failed(candidate, result, "it is closed")
