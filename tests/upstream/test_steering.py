"""The counts of targets, read one by one."""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import CloseReason
from smartproxy.model.plan import GroupPlan, MatchPlan, RoutePlan, TargetPlan
from tests.admin.doubles import FakeControl

TARGETS = (TargetPlan(("10.0.0.1",), 80, name="one"), TargetPlan(("10.0.0.2",), 80, name="two"))


class OneByOneTests(SynchronousTestCase):
    def setUp(self):
        self.proxy = FakeControl(
            RoutePlan("web", 0, MatchPlan((range(80, 81),)), group=GroupPlan("web", TARGETS))
        )
        _, self.member = (candidate.member for candidate in self.proxy.groups._groups.find("web").candidates)
        self.record = self.proxy.connect(received=100, sent=10)
        self.record.member = self.member

    def close(self):
        """As the relay and the registry do at the end of a connection."""
        self.member.received += self.record.bytes_received
        self.member.sent += self.record.bytes_sent
        self.proxy.registry.close(self.record, CloseReason.NORMAL, 101.0)

    def test_bytes_of_a_connection_that_closes_meanwhile_count_once(self):
        each = self.proxy.groups.each_target_count()
        next(each)
        self.close()
        two = next(each)
        self.assertEqual((two.name, two.received, two.sent), ("two", 100, 10))
        self.assertEqual(self.proxy.groups.target_counts()[1], two)

    def test_targets_may_be_removed_meanwhile(self):
        each = self.proxy.groups.each_target_count()
        next(each)
        self.proxy.groups._groups.apply({})
        self.proxy.groups._groups.members.prune(0.0)
        self.close()
        self.proxy.groups._groups.members.prune(1000.0)
        self.assertEqual([one.name for one in each], ["two"])

    def test_groups_may_be_removed_meanwhile(self):
        each = self.proxy.groups.each_queue_length()
        self.assertEqual(next(each), ("web", 0))
        self.proxy.groups._groups.apply({})
        self.assertEqual((list(each), self.proxy.groups.queue_lengths()), ([], []))


class UnusedTests(SynchronousTestCase):
    def setUp(self):
        self.proxy = FakeControl()
        self.steering = self.proxy.groups
        self.groups = self.steering._groups
        self.groups.apply({name: GroupPlan(name, TARGETS) for name in ("idle", "mail")})

    def counts(self):
        return [one for one in self.steering.target_counts() if one.group in {"idle", "mail"}]

    def test_targets_have_counts_before_their_first_connection(self):
        """Prometheus's rate() misses a first increment without a 0 before it."""
        unused = self.counts()
        self.assertEqual([(one.group, one.name) for one in unused][:2], [("idle", "one"), ("idle", "two")])
        self.assertEqual(list(self.groups.in_use()), [])
        self.assertEqual(len(list(self.groups)), 2)
        self.assertEqual(self.counts(), unused)

    def test_groups_have_a_queue_before_their_first_connection(self):
        self.groups.find("mail")
        self.assertEqual(sorted(self.steering.queue_lengths()), [("idle", 0), ("mail", 0)])
        self.assertEqual(list(self.steering.each_queue_length()), [("mail", 0)])

    def test_one_group_is_shown_without_making_the_others(self):
        self.assertEqual([one.name for one in self.steering.targets("mail")], ["one", "two"])
        self.assertEqual([plan.name for plan in self.groups.unused()], ["idle"])
        self.assertEqual(self.steering.names(), ["idle", "mail"])

    def test_what_was_set_by_hand_counts_before_a_connection_after_an_absence(self):
        self.steering.set_state("mail", "one", "drain")
        plans = {name: self.groups._plans[name] for name in ("idle", "mail")}
        self.groups.apply({"idle": plans["idle"]})
        self.groups.members.prune(self.proxy.clock.seconds() + 60)
        gc.collect()
        self.assertEqual(list(self.groups._removed), [])
        self.groups.apply(plans)
        up = {(one.group, one.name): one.up for one in self.counts()}
        self.assertEqual([name for name, is_up in up.items() if not is_up], [("mail", "one")])
        self.assertEqual([group.name for group in self.groups.in_use()], ["mail"])
