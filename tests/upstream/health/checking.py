"""What the tests of checks share: checks whose dialer and targets are the test's."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from twisted.internet.task import Clock

from smartproxy.flow.deadline import Deadlines
from smartproxy.model.plan import GroupPlan
from smartproxy.model.plan.check import CheckKind, CheckPlan
from smartproxy.upstream.groups import Groups
from smartproxy.upstream.health.connections import CheckConnections
from smartproxy.upstream.health.service import HealthChecks
from smartproxy.upstream.member import Members
from smartproxy.upstream.originate_tls import Encrypted
from tests.upstream.connecting import FakeDialer, FakeResolver
from tests.upstream.grouping import GroupCase, target

HOST = "10.0.0.97"
_TERMS = {"hosts", "port", "send_header", "source", "tls"}


class CheckCase(GroupCase):
    """Checks whose dialer is the test's, every second.

    :cvar names: what the names of targets resolve to.
    """

    names: ClassVar = {}

    def setUp(self):
        self.clock = Clock()
        self.originated = []
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()
        self.addCleanup(self.deadlines.stop)
        self.dialer = FakeDialer(self.clock)
        self.groups = Groups(Members(), self.clock, lambda: 0.5)
        self.ended = []
        self.make_checks()

    def make_checks(self):
        self.checks = HealthChecks(
            CheckConnections(
                self.dialer, FakeResolver(**self.names), self.clock, self.deadlines, self.originate
            ),
            self.deadlines,
            self.clock,
            lambda: 0.5,
            lambda: 1e9 + self.clock.seconds(),
            lambda member: self.ended.append(member.name),
        )

    async def originate(self, side, tls, name, seconds, *, resume=True):
        """TLS that is ready at once."""
        self.originated.append((tls, name, resume))
        return Encrypted(side, lambda: None)

    def check(self, kind=CheckKind.CONNECT, *, reset=False, **more):
        """Check the target ``a``: ``more`` are terms of it, or else of the check."""
        terms = {name: more.pop(name) for name in _TERMS & more.keys()}
        more = {name.removeprefix("check_"): value for name, value in more.items()}
        plan = CheckPlan(kind, **({"interval": 1.0, "fast_interval": 0.5, "timeout": 1.0} | more))
        targets = (replace(target("a", check=plan), **terms), target("b"))
        plan = GroupPlan("app", targets, reset_when_down=reset)
        self.groups.apply({"app": plan}, [plan])
        self.group = self.groups.find("app")
        self.checks.apply(self.groups.in_use())

    def advance(self, seconds):
        for _ in range(round(seconds * 20)):
            self.clock.advance(0.05)

    def until_dialed(self):
        while HOST not in self.dialer.pending:
            self.advance(0.1)
        return self.dialer.accept(HOST)

    def until_down(self, most=10):
        while self.member("a").passed and most > 0:
            self.advance(0.1)
            most -= 0.1

    def last(self):
        return self.member("a").last_check
