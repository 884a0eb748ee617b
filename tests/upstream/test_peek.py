"""Asking who would get the next connection: it is that one, and nothing changes by asking."""

from __future__ import annotations

from random import Random

from smartproxy.errors import Refused
from smartproxy.model.plan import Algorithm, QueuePlan
from tests.upstream.grouping import GroupCase, target

CLIENTS = [f"192.0.2.{number}" for number in range(40)]


class PeekTests(GroupCase):
    def peek(self, client=CLIENTS[0]):
        return self.group.peek(client)

    def test_the_one_that_is_named_gets_the_next_connection(self):
        """Through anything that happens to a group: failures, ejections, full targets, slow starts, reloads, time."""
        for algorithm in Algorithm:
            for seed in range(15):
                with self.subTest(algorithm, seed=seed):
                    self.setUp()
                    self.follow(algorithm, Random(seed))

    def test_it_is_known_after_a_connection_that_has_tried_several(self):
        """Without ``passiveHealth`` they stay in turn, and are due before those that were tried after them."""
        for seed in range(40):
            random = Random(seed)
            self.setUp()
            self.configure([target(name, weight=random.randint(1, 4)) for name in "abcde"], passive=None)
            for _ in range(20):
                expected, tried = self.peek().targets, []
                for _ in range(random.randint(1, 4)):
                    tried.append(self.group.take(CLIENTS[0], tried))
                    self.group.failed(tried[-1], "refused", "it is closed")
                self.assertEqual([tried[0].name], expected)

    def follow(self, algorithm, random):
        targets = [
            target(
                name,
                weight=random.randint(0, 4),
                max_connections=random.choice([0, 0, 3]),
                backup=name == "e",
            )
            for name in "abcde"
        ]
        self.configure(targets, algorithm, slow_start=random.choice([0.0, 5.0]))
        held = []
        for _ in range(60):
            client = random.choice(CLIENTS)
            first, second = self.peek(client), self.peek(client)
            self.assertEqual(first, second)
            if first.outcome != "target":
                self.assert_gets_none(client, first)
                self.configure(targets, algorithm, slow_start=5.0)
                while held:
                    self.group.release(held.pop())
                continue
            taken = self.group.take(client)
            if algorithm is Algorithm.RANDOM:
                self.assertIn(taken.name, first.targets)
            else:
                self.assertEqual([taken.name], first.targets)
            self.happens(taken, held, random)

    def assert_gets_none(self, client, upcoming):
        if upcoming.outcome == "no_target":
            self.assertRaises(Refused, self.group.take, client)
        else:
            self.assertIsNone(self.group.take(client))
        self.assertEqual(upcoming.targets, [])

    def happens(self, taken, held, random):
        if random.random() < 0.2:
            self.group.failed(taken, "refused", "it is closed")
        else:
            self.group.succeeded(taken)
            held.append(taken)
        if random.random() < 0.4 and held:
            self.group.release(held.pop(random.randrange(len(held))))
        if random.random() < 0.2:
            self.clock.advance(random.choice([0.5, 3.0, 11.0]))
        if random.random() < 0.1:
            member = random.choice(self.group.candidates).member
            member.set_by_hand(None, random.randint(0, 3), self.clock.seconds())

    def test_asking_takes_no_turn(self):
        self.configure([target("a", weight=5), target("b"), target("c")])
        self.assertEqual(self.use(7), "aabaaca")
        asked = "".join(self.peek().targets[0] + self.use(1) for _ in range(7))
        self.assertEqual(asked, "aaaabbaaaaccaa")

    def test_source_depends_on_the_client(self):
        self.configure("abc", Algorithm.SOURCE)
        self.assertEqual({self.peek(client).targets[0] for client in CLIENTS}, set("abc"))
        self.assertEqual(self.peek(None).targets, ["a", "b", "c"])

    def test_random_may_be_any_that_is_up(self):
        self.configure("abc", Algorithm.RANDOM)
        self.fail_dial("b")
        self.assertEqual(self.peek().targets, ["a", "c"])

    def test_a_target_whose_ejection_is_over_is_next(self):
        self.configure("ab")
        self.fail_dial("a")
        self.assertEqual(self.peek().targets, ["b"])
        self.clock.advance(10)
        for _ in range(2):
            self.assertEqual(self.peek().targets, ["a"])
        self.assertEqual(self.member("a").state, "ejected")

    def test_a_probe_of_source_needs_the_client(self):
        self.configure("ab", Algorithm.SOURCE)
        self.fail_dial("a")
        self.clock.advance(10)
        self.assertEqual(self.peek(None).targets, ["b"])

    def test_without_room_it_is_the_queue_or_a_refusal(self):
        full = [target("a", max_connections=1)]
        self.configure(full)
        self.hold()
        self.assertEqual(self.peek(), ("target_limit", []))
        self.configure(full, queue=QueuePlan(1))
        self.assertEqual(self.peek(), ("queue", []))
        waiting = self.group.wait_for_room("x")
        self.assertEqual(self.peek(), ("queue_full", []))
        waiting.addErrback(lambda _: None)
        waiting.cancel()

    def test_without_a_usable_target_it_is_refused(self):
        self.configure([target("a", weight=0)])
        self.assertEqual(self.peek(), ("no_target", []))

    def test_the_members_of_the_group_are_not_touched(self):
        self.configure("abc", Algorithm.LEAST_CONNECTIONS, slow_start=5.0)
        members = [(one.member.turn, one.member.due, one._credit, one.stamp) for one in self.group.candidates]
        self.peek()
        self.assertEqual(
            members,
            [(one.member.turn, one.member.due, one._credit, one.stamp) for one in self.group.candidates],
        )
