"""Targets that hesitate, and targets and groups that were removed while connections of theirs were on their way."""

from __future__ import annotations

from smartproxy.model.plan import BalancingPlan, GroupPlan, PassiveHealthPlan
from smartproxy.model.plan.group import QueuePlan
from smartproxy.model.target_status import Upcoming
from smartproxy.upstream.member import Dials
from tests.upstream.grouping import CLIENT, GroupCase, target


class RemovedGroupTests(GroupCase):
    """A group that a reload has removed, while connections of it live."""

    def remove(self):
        self.groups.apply({})

    def test_dial_fails_after_the_group_came_back_without_its_target(self):
        group = self.configure("a")
        dialed = group.take(CLIENT)
        self.remove()
        self.assertIs(self.configure("b"), group)
        group.failed(dialed, "refused", "it is closed")
        self.assertEqual(dialed.member.active, 0)

    def test_targets_are_ejected_after_they_were_dropped_and_restored(self):
        group = self.configure("ab")
        kept = group.take(CLIENT)
        plan = group._plan
        self.remove()
        for _ in range(2):
            self.groups.members.prune(self.clock.seconds())
            self.clock.advance(20)
        self.groups.members.prune(self.clock.seconds())
        self.assertIs(self.groups.of(plan), group)
        other = next(one for one in group.candidates if one is not kept)
        self.group = group
        self.fail_dial(other.name)
        self.assertEqual(set(self.use(4)), {kept.name})

    def test_target_that_was_dropped_counts_when_it_is_tried_next(self):
        group = self.configure([target("a"), target("b", max_connections=1)])
        first = group.take(CLIENT)
        self.remove()
        for _ in range(2):  # dialing the first takes 30 s
            self.groups.members.prune(self.clock.seconds())
            self.clock.advance(20)
        self.groups.members.prune(self.clock.seconds())
        group.failed(first, "timeout", "it does not answer")
        second = group.take(CLIENT, [first])
        self.configure([target("a"), target("b", max_connections=1)])
        self.assertIs(self.member("b"), second.member)
        self.assertEqual(self.member("b").active, 1)


class RemovedTargetTests(GroupCase):
    def test_probe_fails_while_passive_health_is_off(self):
        self.configure("ab")
        kept = next(one for one in self.hold(2) if one.name == "a")  # so that its state is kept
        self.fail_dial("a")
        self.clock.advance(10)
        probe = self.group.take(CLIENT)
        self.assertIs(probe, kept)
        self.configure("b", passive=None)
        self.group.failed(probe, "refused", "it is closed")
        self.configure("ab", passive=PassiveHealthPlan())
        self.clock.advance(10)
        self.assertIn("a", self.use(4))
        self.assertIs(self.member("a").dials, Dials.HEALTHY)


class HesitantTests(GroupCase):
    def test_dial_that_was_not_answered_ends_without_a_descriptor(self):
        """What this process lacks says nothing of a target.

        The first address of a name does not answer for a second, and dialing its next one fails with EMFILE.
        """
        self.configure("ab")
        dialed = self.group.take(CLIENT)
        self.assertTrue(self.group.hesitates(dialed))
        self.group.failed(dialed, "unreachable", "no descriptor", blameless=True)
        self.clock.advance(60)
        self.assertEqual(set(self.use(4)), {"a", "b"})

    def test_target_that_failed_while_a_client_waited_comes_back(self):
        """The end of the first dial gives the client that waits the same target, whose dial succeeds at once (a unix socket, or
        another address of its name), and only then the first dial's failure ejects it.
        """
        self.configure([target("a", max_connections=2), target("b", max_connections=1)], queue=QueuePlan(1))
        first, _ = self.group.take(CLIENT), self.group.take(CLIENT)
        self.assertEqual(first.name, "a")
        self.assertTrue(self.group.hesitates(first))
        waiting = self.group.wait_for_room(CLIENT).addCallback(self.group.succeeded)
        waiting.addErrback(lambda _: None)
        self.group.failed(first, "refused", "it is closed")
        self.clock.advance(10)
        if self.member("a").state == "ejected":
            self.group.succeeded(self.group.take(CLIENT))
        self.assertIs(self.member("a").dials, Dials.HEALTHY)

    def test_target_whose_dial_fails_gets_no_client_that_waits(self):
        """The failure that ejects it is known then."""
        self.configure([target("a", max_connections=2), target("b", max_connections=1)], queue=QueuePlan(1))
        first, _ = self.group.take(CLIENT), self.group.take(CLIENT)
        self.group.hesitates(first)
        waiting = self.group.wait_for_room(CLIENT)
        self.group.failed(first, "refused", "it is closed")
        self.assertNoResult(waiting)
        waiting.addErrback(lambda _: None).cancel()


class PeekTests(GroupCase):
    def test_client_would_wait_for_the_first_targets_as_others_do(self):
        for queue in (None, QueuePlan(1)):
            with self.subTest(queue=queue):
                plan = GroupPlan("app", (), BalancingPlan(), queue=queue, is_searching=True)
                self.groups.apply({"app": plan})
                group = self.groups.of(plan)
                waiting = group.wait_for_room(CLIENT)
                self.addCleanup(waiting.cancel)
                self.assertEqual(group.peek(CLIENT), Upcoming("queue", []))
                group.wait_for_room(CLIENT).addErrback(lambda _: None).cancel()
                waiting.addErrback(lambda _: None)
