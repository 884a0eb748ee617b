"""A balancer of an embedding program: whatever it does, the group and the other connections go on."""

from __future__ import annotations

from typing import ClassVar

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from smartproxy.errors import Refused
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import QueuePlan
from smartproxy.upstream.balancing.embedded import EmbeddedBalancer
from smartproxy.upstream.balancing.round_robin import RoundRobin
from tests.upstream.grouping import GroupCase, target


class Last:
    """Chooses the last candidate that may be chosen, or what the test sets."""

    made: ClassVar = []

    def __init__(self, group):
        self.group = group
        self.calls = []
        self.answer = lambda candidates: candidates[-1] if candidates else None
        Last.made.append(self)

    def begin(self, candidates):
        self.candidates = candidates
        self.calls.append("begin")

    def enter(self, candidate):
        self.calls.append(f"enter {candidate.name}")

    def leave(self, candidate):
        self.calls.append(f"leave {candidate.name}")

    def changed(self, candidate):
        self.calls.append(f"changed {candidate.name} {candidate.connections}")

    def choose(self, client, tried):
        self.calls.append(f"choose {client}")
        return self.answer([one for one in self.candidates if one.inside and one not in tried])


class EmbeddedBalancerTests(GroupCase):
    def setUp(self):
        super().setUp()
        Last.made = []

    def test_factory_is_called_with_the_name_of_the_group(self):
        self.configure("ab", Last)
        (made,) = Last.made
        self.assertEqual(made.group, self.group.name)
        self.assertEqual(made.calls, ["begin", "enter a", "enter b"])

    def test_it_chooses_and_is_told_of_every_change(self):
        self.configure("ab", Last)
        (made,) = Last.made
        del made.calls[:]
        (held,) = self.hold(client="192.0.2.7")
        self.group.release(held)
        self.assertEqual(made.calls, ["choose 192.0.2.7", "changed b 1", "changed b 0"])
        self.assertEqual(self.group.take("x", [held]).name, "a")

    def test_targets_that_are_ejected_or_full_are_outside(self):
        self.configure([target("a"), target("b", max_connections=1)], Last)
        self.hold()
        self.assertEqual(self.use(2), "aa")
        (made,) = Last.made
        self.assertIn("leave b", made.calls)
        self.fail_dial("a")
        self.assertIn("leave a", made.calls)

    def test_reload_keeps_it_and_another_callable_replaces_it(self):
        self.configure("ab", Last)
        self.configure("abc", Last)
        (made,) = Last.made
        self.assertEqual(self.use(1), "c")

        def other(group):
            return Last(group)

        self.configure("abc", other)
        self.assertEqual(len(Last.made), 2)
        self.assertEqual(made.calls.count("begin"), 2)

    def test_exception_ends_one_connection_and_names_the_group(self):
        self.configure("ab", Last)
        (made,) = Last.made
        made.answer = lambda _: 1 / 0
        failed = self.assertRaises(ZeroDivisionError, self.group.take, "x")
        self.assertEqual(failed.__notes__, [f"the balancer Last of group {self.group.name}"])
        self.assertEqual([candidate.connections for candidate in self.group.candidates], [0, 0])
        made.answer = lambda candidates: candidates[0]
        self.assertEqual(self.use(1), "a")

    def test_refusal_has_its_reason(self):
        self.configure("ab", Last)

        def refuse(_):
            raise Refused(RejectReason.ROUTE_LIMIT, "not now")

        Last.made[0].answer = refuse
        failed = self.assertRaises(Refused, self.group.take, "x")
        self.assertEqual((failed.reason, hasattr(failed, "__notes__")), (RejectReason.ROUTE_LIMIT, False))

    def test_other_answers_are_errors(self):
        self.configure("ab", Last)
        former = list(self.group.candidates)
        self.configure([target("a"), target("b", weight=0), target("c")], Last)
        (made,) = Last.made
        present = {one.name: one for one in self.group.candidates}
        for wrong in ("a", former[0], present["b"], object(), Deferred(), True):
            made.answer = lambda _, wrong=wrong: wrong
            failed = self.assertRaises(ValueError, self.group.take, "x")
            self.assertIn("must be a candidate that is inside and was not tried, or None", str(failed))
        made.answer = lambda _: present["c"]
        tried = [self.group.take("x")]
        self.assertRaises(ValueError, self.group.take, "x", tried)

    def test_none_is_a_group_without_room(self):
        self.configure("ab", Last)
        Last.made[0].answer = lambda _: None
        self.assertIsNone(self.group.take("x"))

    def test_waiting_client_ends_and_the_next_is_served(self):
        self.configure([target("a", max_connections=1)], Last, queue=QueuePlan(9))
        (made,) = Last.made
        (held,) = self.hold()
        first, second = self.group.wait_for_room("first"), self.group.wait_for_room("second")
        answers = iter([ZeroDivisionError, None])

        def answer(candidates):
            failure = next(answers)
            if failure is not None:
                raise failure
            return candidates[0]

        made.answer = answer
        self.group.release(held)
        self.failureResultOf(first, ZeroDivisionError)
        self.assertEqual(self.successResultOf(second).name, "a")
        self.assertEqual(self.group.waiting, 0)

    def test_failures_of_notifications_are_logged_once(self):
        class Fails(Last):
            def enter(self, candidate):
                raise KeyError(candidate.name)

            def changed(self, candidate):
                raise KeyError(candidate.name)

        with capturedLogs() as logged:
            self.configure("ab", Fails)
            self.assertEqual(self.use(3), "bbb")
        self.assertEqual(
            [formatEvent(event) for event in logged],
            [
                f"the balancer EmbeddedBalancerTests.test_failures_of_notifications_are_logged_once.<locals>.Fails of group "
                f"{self.group.name} failed in {method}; further failures of it are not logged"
                for method in ("enter", "changed")
            ],
        )
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_factory_that_fails_leaves_round_robin(self):
        for make in (lambda _: 1 / 0, lambda _: None, lambda _: object(), lambda: None):
            self.setUp()
            self.configure("ab", make)
            self.assertIsInstance(self.group._balancer, RoundRobin)
            self.assertEqual(self.use(2), "ab")
        self.assertEqual(len(self.flushLoggedErrors()), 4)

    def test_it_is_wrapped(self):
        self.configure("ab", Last)
        self.assertIsInstance(self.group._balancer, EmbeddedBalancer)
