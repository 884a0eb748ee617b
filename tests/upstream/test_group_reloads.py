"""Groups over reloads: what stays, what ends, and groups that were removed."""

from __future__ import annotations

import gc
from weakref import ref

from twisted.logger import globalLogPublisher

from smartproxy.model.plan import Algorithm, BalancingPlan, GroupPlan, ProxyPlan, QueuePlan
from smartproxy.model.plan.check import CheckPlan
from tests.upstream.grouping import CLIENT, GroupCase, target


class ReloadTests(GroupCase):
    def test_connections_count_over_a_reload(self):
        self.configure([target("a", max_connections=2)])
        held = self.hold(2)
        self.configure([target("a", max_connections=2)])
        self.assertIsNone(self.group.take(CLIENT))
        self.group.release(held[0])
        self.assertEqual(self.group.take(CLIENT).name, "a")

    def test_a_removed_member_ends_with_its_last_connection(self):
        self.configure("ab")
        held = self.hold(2)
        self.configure("b")
        members = self.groups.members
        self.clock.advance(60)
        members.prune(self.clock.seconds())
        self.assertEqual(self.member("a").active, 1)
        self.group.release(held[0])
        self.clock.advance(20)
        members.prune(self.clock.seconds())
        self.assertEqual([member.name for member in members], ["b"])

    def removed(self, *targets, **more):
        """The plan of a group that a reload has removed, for a connection that was accepted before."""
        self.configure(targets, **more)
        plan = GroupPlan("app", targets, **more)
        self.groups.apply({})
        return plan

    def test_a_connection_of_a_removed_group_is_carried_and_leaves_nothing(self):
        former = self.removed(target("a"))
        del self.group
        group = self.groups.of(former)
        candidate = group.take(CLIENT)
        self.assertEqual(candidate.name, "a")
        self.clock.advance(60)
        self.groups.members.prune(self.clock.seconds())
        self.assertEqual([member.active for member in self.groups.members], [1])
        group.release(candidate)
        self.clock.advance(60)
        self.groups.members.prune(self.clock.seconds())
        del group, candidate
        gc.collect()
        self.assertEqual((list(self.groups), list(self.groups.members)), ([], []))
        self.assertEqual(len(self.groups._removed), 0)

    def test_connections_of_a_removed_group_share_limits_and_turns(self):
        """Those that were accepted before and are on their way: for each its own group would exceed the limit."""
        former = self.removed(target("a", max_connections=1), target("b", max_connections=1))
        taken = [self.groups.of(former).take(CLIENT) for _ in range(3)]
        self.assertEqual([one and one.name for one in taken], ["a", "b", None])

    def test_limits_of_a_removed_group_count_its_established_connections(self):
        self.configure([target("a", max_connections=1)])
        (held,) = self.hold()
        self.groups.apply({})
        late = self.groups.of(GroupPlan("app", (target("a", max_connections=1),)))
        self.assertIsNone(late.take(CLIENT))
        late.release(held)
        self.assertEqual(late.take(CLIENT).name, "a")

    def test_backup_of_a_removed_group_is_used_when_the_others_fail(self):
        former = self.removed(target("a"), target("b", backup=True))
        group = self.groups.of(former)
        first = group.take(CLIENT)
        group.failed(first, "refused", "")
        self.assertEqual(group.take(CLIENT, [first]).name, "b")

    def test_group_that_comes_back_serves_those_that_wait(self):
        """A connection of before the removal ends: its target has room again."""
        self.configure([target("a", max_connections=1)], queue=QueuePlan(1))
        before = self.group
        (held,) = self.hold()
        self.groups.apply({})
        self.configure([target("a", max_connections=1)], queue=QueuePlan(1))
        self.assertIsNone(self.group.take(CLIENT))
        waiting = self.group.wait_for_room(CLIENT)
        before.release(held)
        self.assertEqual(self.successResultOf(waiting).name, "a")

    def test_changes_of_a_removed_group_are_not_reported(self):
        seen = []
        self.groups.notify = lambda *event: seen.append(event)
        former = self.removed(target("a"), target("b"))
        group = self.groups.of(former)
        group.failed(group.take(CLIENT), "refused", "")
        self.assertEqual(seen, [])

    def test_ends_of_connections_make_room_in_a_group_that_was_removed_and_added(self):
        for algorithm in Algorithm:
            with self.subTest(algorithm):
                self.setUp()
                limited = [target("a", max_connections=1)]
                former = self.configure(limited, algorithm)
                (held,) = self.hold()
                self.groups.apply({})
                late = self.groups.of(GroupPlan("app", tuple(limited)))
                self.assertIsNone(late.take(CLIENT))
                self.configure(limited, algorithm)
                self.assertIsNone(self.group.take(CLIENT))
                former.release(held)
                self.assertEqual(self.group.take(CLIENT).name, "a")

    def test_a_removed_group_counts_a_member_again_that_was_dropped(self):
        """One with connections holds the group; the other was dropped, and may still get a late connection."""
        self.configure("ab")
        (held,) = self.hold()
        former = GroupPlan("app", (target("a"), target("b")))
        self.groups.apply({})
        self.clock.advance(20)
        self.groups.members.prune(self.clock.seconds())
        self.assertEqual([one.name for one in self.groups.members], ["a"])
        self.assertIs(self.groups.of(former).take(CLIENT).member, self.member("b"))
        self.assertEqual(held.name, "a")

    def test_a_removed_group_still_ejects(self):
        self.configure("ab")
        self.groups.apply({})
        self.group = self.groups.of(GroupPlan("app", (target("a"), target("b"))))
        self.fail_dial("a")
        self.assertEqual(self.use(4), "bbbb")

    def test_a_removed_group_is_freed_with_its_last_connection(self):
        group = ref(self.configure("ab"))
        (held,) = self.hold()
        self.group = None
        self.groups.apply({})
        gc.disable()
        self.addCleanup(gc.enable)
        group().release(held)
        del held
        self.clock.advance(20)
        self.groups.members.prune(self.clock.seconds())
        self.assertIsNone(group(), "without the garbage collector")


class UnusedTests(GroupCase):
    """Of ten thousand groups most may have no connection for a long time. Workers share what has not been made."""

    def apply(self, *plans, eager=()):
        self.groups.apply({plan.name: plan for plan in plans}, eager)

    def names(self):
        return [group.name for group in self.groups.in_use()], [plan.name for plan in self.groups.unused()]

    def test_a_group_is_made_when_it_is_wanted(self):
        app, other = GroupPlan("app", (target("a"),)), GroupPlan("other", (target("b"),))
        self.apply(app, other)
        self.assertEqual((self.names(), list(self.groups.members)), (([], ["app", "other"]), []))
        self.assertIs(self.groups.of(app), self.groups.find("app"))
        self.assertEqual(self.names(), (["app"], ["other"]))
        self.assertEqual([group.name for group in self.groups], ["app", "other"])
        self.assertEqual(self.names(), (["app", "other"], []))
        self.assertIsNone(self.groups.find("third"))

    def test_an_eager_one_is_made_at_once_with_the_targets_that_were_found(self):
        plan = GroupPlan("app", (target("a"),))
        self.apply(GroupPlan("app"), eager=[plan])
        self.assertEqual(self.names(), (["app"], []))
        self.assertEqual([one.name for one in self.groups.find("app").candidates], ["a"])

    def test_what_is_done_before_the_first_connection_makes_a_group_eager(self):
        checked = GroupPlan("checked", (target("a", check=CheckPlan()),))
        balanced = GroupPlan("balanced", (target("a"),), BalancingPlan(lambda _: None))
        plan = ProxyPlan((), (checked, GroupPlan("plain", (target("a"),)), balanced))
        self.assertEqual(plan.eager_groups, (checked, balanced))

    def test_a_removed_one_that_is_configured_again_goes_on_at_once(self):
        """Its targets would be forgotten with what was set by hand, though they are configured."""
        plan = GroupPlan("app", (target("a"),))
        self.apply(plan)
        self.group = self.groups.of(plan)
        (held,) = self.hold()
        member = self.member("a")
        self.apply()
        self.apply(plan)
        self.group.release(held)
        self.clock.advance(60)
        self.groups.members.prune(self.clock.seconds())
        self.assertIs(self.member("a"), member)

    def test_other_targets_of_an_unused_one_are_logged(self):
        lines = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)
        self.apply(GroupPlan("app", (target("a"),)), GroupPlan("other", (target("b"),)))
        self.apply(GroupPlan("app", (target("a", weight=2), target("c"))), GroupPlan("other", (target("b"),)))
        self.assertEqual([line["changes"] for line in lines], ["c joined; weight of a 1 to 2"])
        self.assertEqual(self.names(), ([], ["app", "other"]))
