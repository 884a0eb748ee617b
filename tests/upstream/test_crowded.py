"""Targets whose ``maxConnections`` several processes share: never exceeded, and room made elsewhere is found."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from smartproxy.errors import Refused
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import Algorithm, GroupPlan, PassiveHealthPlan, QueuePlan
from smartproxy.upstream.groups import Groups
from smartproxy.upstream.member import Members
from tests.upstream.grouping import CLIENT, GroupCase, target


class Number:
    """The number of one process, and the numbers of all, by process.

    :ivar meanwhile: called once between counting and checking.
    """

    def __init__(self, numbers, process):
        self.numbers = numbers
        self.process = process
        self.meanwhile = None

    def set(self, number):
        self.numbers[self.process] = number

    def claim(self, number, limit):
        self.set(number)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        if not limit or self.total() <= limit:
            return True
        self.set(number - 1)
        return False

    def total(self):
        return sum(self.numbers.values())


class Shared:
    """The numbers of targets, as one process has them."""

    def __init__(self, process, numbers):
        self.process = process
        self.numbers = numbers
        self.used = {}

    def of_target(self, group, name):
        numbers = self.numbers.setdefault((group, name), {})
        return self.used.setdefault(name, Number(numbers, self.process))

    def drop_target(self, _group, name):
        del self.used[name]


class SharedGroupCase(GroupCase):
    """The group ``app`` of two processes: ours, and another."""

    def setUp(self):
        super().setUp()
        self.numbers = {}
        self.shared, self.elsewhere = Shared("a", self.numbers), Shared("b", self.numbers)
        self.groups = Groups(Members(self.shared), self.clock, Random(1).random)
        self.others = Groups(Members(self.elsewhere), Clock(), Random(1).random)

    def configure(self, targets, algorithm=Algorithm.ROUND_ROBIN, **more):
        group = super().configure(targets, algorithm, **more)
        self.others.apply({group.name: group._plan})
        self.other = self.others.of(group._plan)
        return group

    def total(self, name="a"):
        return sum(self.numbers["app", name].values())


class CrowdedTargetsTests(SharedGroupCase):
    def test_connections_of_all_processes_count(self):
        for algorithm in Algorithm:
            self.setUp()
            self.configure([target("a", max_connections=2), target("b", max_connections=1)], algorithm)
            taken = [group.take(f"192.0.2.{n}") for n, group in enumerate((self.group, self.other) * 3)]
            names = sorted(one.name for one in taken if one is not None)
            self.assertEqual((names, self.total("a"), self.total("b")), (["a", "a", "b"], 2, 1), algorithm)

    def test_room_made_elsewhere_is_used_by_the_next_connection(self):
        self.configure([target("a", max_connections=1), target("b")], Algorithm.FIRST)
        held = self.other.take(CLIENT)
        self.assertEqual(self.use(3), "bbb")
        self.other.release(held)
        self.assertEqual(self.use(3), "aaa")

    def test_target_that_is_filled_at_this_moment_is_passed_over(self):
        """The balancer has chosen it, and the other process has counted a connection before ours is checked."""
        self.configure([target("a", max_connections=1), target("b")], Algorithm.FIRST)
        number = self.shared.used["a"]
        number.meanwhile = lambda: self.numbers["app", "a"].update(b=1)
        self.assertEqual(self.group.take(CLIENT).name, "b")
        self.assertEqual((self.member("a").active, self.numbers["app", "a"]), (0, {"a": 0, "b": 1}))

    def test_connections_are_given_back_once_whatever_ends_them(self):
        self.configure([target("a", max_connections=3)])
        for end in (
            self.group.release,
            self.group.withdrawn,
            lambda candidate: self.group.failed(candidate, "refused", "it is closed"),
        ):
            candidate = self.group.take(CLIENT)
            self.assertEqual(self.total(), 1)
            end(candidate)
            self.assertEqual(self.total(), 0)

    def test_without_a_queue_a_client_is_refused(self):
        self.configure([target("a", max_connections=1)])
        self.other.take(CLIENT)
        self.assertIsNone(self.group.take(CLIENT))
        refused = self.assertRaises(Refused, self.group.wait_for_room, CLIENT)
        self.assertIs(refused.reason, RejectReason.TARGET_LIMIT)

    def test_probe_that_finds_its_target_filled_is_followed_by_another(self):
        self.configure([target("a", max_connections=1), "b"], passive=PassiveHealthPlan(1))
        self.fail_dial("a")
        self.clock.advance(60)
        number = self.shared.used["a"]
        number.meanwhile = lambda: self.numbers["app", "a"].update(b=1)
        self.assertEqual((self.group.take(CLIENT).name, self.member("a").state), ("b", "ejected"))
        self.numbers["app", "a"]["b"] = 0
        self.assertEqual(self.group.take(CLIENT).name, "a")

    def test_of_a_thousand_full_targets_few_are_looked_at_for_a_connection(self):
        """Each of them in its turn: a flood of refused clients must not look at all of them each."""
        names = [f"{chr(97 + n % 26)}{n}" for n in range(1000)]
        self.configure([target(name, max_connections=1) for name in names])
        held = [self.other.take(CLIENT) for _ in names]
        self.assertIsNone(self.group.take(CLIENT))
        self.other.release(held[0])
        looks = 1
        while self.group.take(CLIENT) is None:
            looks += 1
        self.assertLessEqual(looks, 33)


class QueueTests(SharedGroupCase):
    def setUp(self):
        super().setUp()
        self.configure([target("a", max_connections=1)], queue=QueuePlan(2, 5.0))
        self.held = self.other.take(CLIENT)

    def test_client_that_waits_gets_room_made_elsewhere_within_20_ms(self):
        self.assertIsNone(self.group.take(CLIENT))
        waiting = self.group.wait_for_room(CLIENT)
        self.clock.pump([0.02] * 10)
        self.assertNoResult(waiting)
        self.other.release(self.held)
        self.clock.advance(0.02)
        self.assertEqual(self.successResultOf(waiting).name, "a")
        self.assertEqual((self.total(), self.group.waiting), (1, 0))
        self.clock.advance(0.02)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_client_that_disconnects_while_it_waits_holds_nothing(self):
        waiting = self.group.wait_for_room(CLIENT)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.other.release(self.held)
        self.clock.advance(1)
        self.assertEqual((self.total(), self.clock.getDelayedCalls()), (0, []))

    def test_room_made_here_is_used_at_once(self):
        self.other.release(self.held)
        held = self.group.take(CLIENT)
        waiting = self.group.wait_for_room(CLIENT)
        self.group.release(held)
        self.assertEqual(self.successResultOf(waiting).name, "a")

    def test_room_that_another_process_takes_first_is_waited_for_again(self):
        waiting = self.group.wait_for_room(CLIENT)
        self.other.release(self.held)
        held = self.other.take(CLIENT)
        self.clock.advance(0.02)
        self.assertNoResult(waiting)
        self.other.release(held)
        self.clock.advance(0.02)
        self.successResultOf(waiting)


class ReloadTests(SharedGroupCase):
    def test_new_limit_counts_live_connections(self):
        self.configure("a")
        self.hold(2)
        self.configure([target("a", max_connections=2)])
        self.assertEqual((self.total(), self.other.take(CLIENT)), (2, None))

    def test_target_without_a_limit_is_not_shared(self):
        self.configure("a")
        self.hold(2)
        self.assertEqual((self.numbers, self.member("a").shared), ({}, None))

    def test_removed_limit_admits_any_number(self):
        self.configure([target("a", max_connections=1)])
        self.hold()
        self.configure("a")
        self.assertEqual([one.name for one in self.hold(3)], ["a"] * 3)
        self.assertEqual(self.total(), 4)

    def test_removed_target_is_counted_until_it_is_dropped(self):
        self.configure([target("a", max_connections=1), "b"], Algorithm.FIRST)
        (held,) = self.hold()
        self.configure("b")
        self.clock.advance(60)
        self.groups.members.prune(self.clock.seconds())
        self.assertEqual((held.name, self.total(), set(self.shared.used)), ("a", 1, {"a"}))
        self.group.release(held)
        self.clock.advance(60)
        self.groups.members.prune(self.clock.seconds())
        self.assertEqual((self.total(), set(self.shared.used)), (0, set()))

    def test_late_connection_to_a_dropped_target_is_counted(self):
        """It was accepted before the reload that has removed its group, and held up since."""
        self.configure([target("a", max_connections=1)])
        plan = GroupPlan("app", (target("a", max_connections=1),))
        self.groups.apply({})
        late = self.groups.of(plan)
        self.clock.advance(60)
        self.groups.members.prune(self.clock.seconds())
        late = self.groups.of(plan)
        self.assertEqual((late.take(CLIENT).name, self.total()), ("a", 1))
