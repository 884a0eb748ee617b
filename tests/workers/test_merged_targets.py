"""Targets of several workers as one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.metrics.targets import RequestsOfGroup, TargetCounts
from smartproxy.model.plan import GroupPlan, ProxyPlan, TargetPlan
from smartproxy.model.plan.check import CheckPlan
from smartproxy.model.target_status import ShownCheck, ShownTarget
from smartproxy.workers.merged_targets import MergedTargets, configured_targets, merged_shown

COUNTS = TargetCounts("web", "one", True, 1, {"ok": 2}, {"passed": 3}, 4, 5, 6)
SHOWN = ShownTarget("web", "one", "10.0.0.1:80", "up", None, False, 3, 3, False, 1, 2, 10, 20, None)


def nothing(_group, _name):
    return 0, 0


class CountsTests(SynchronousTestCase):
    def merged(self, *counts):
        targets = MergedTargets()
        for one in counts:
            targets.add_target(one._asdict())
        return list(targets.target_counts())

    def test_numbers_and_results_are_added(self):
        other = TargetCounts("web", "one", True, 10, {"ok": 20, "failed": 1}, {}, 40, 50, 60)
        self.assertEqual(
            self.merged(COUNTS, other),
            [TargetCounts("web", "one", True, 11, {"ok": 22, "failed": 1}, {"passed": 3}, 44, 55, 66)],
        )

    def test_a_target_is_up_where_any_worker_uses_it(self):
        down = COUNTS._replace(up=False)
        for counts, up in ((COUNTS, down), True), ((down, COUNTS), True), ((down, down), False):
            self.assertEqual(self.merged(*counts)[0].up, up)

    def test_the_same_name_in_another_group_is_another_target(self):
        self.assertEqual(len(self.merged(COUNTS, COUNTS._replace(group="mail"))), 2)

    def test_what_was_added_is_not_changed(self):
        self.merged(COUNTS, COUNTS)
        self.assertEqual((COUNTS.results, COUNTS.checks), ({"ok": 2}, {"passed": 3}))

    def test_groups_are_added(self):
        targets = MergedTargets()
        for _ in range(2):
            targets.add_queue("web", 3)
            targets.add_requests(RequestsOfGroup("web", 1, 2, 3)._asdict())
        self.assertEqual(targets.queue_lengths(), [("web", 6)])
        self.assertEqual(targets.request_counts(), [RequestsOfGroup("web", 2, 4, 6)])

    def test_an_ended_worker_adds_no_target_that_is_gone(self):
        targets = MergedTargets()
        targets.add_target(COUNTS._asdict(), ended=True)
        targets.add_requests(RequestsOfGroup("web", 1, 2, 3)._asdict(), ended=True)
        self.assertEqual((list(targets.target_counts()), targets.request_counts()), ([], []))
        targets.add_queue("web", 0)
        targets.add_requests(RequestsOfGroup("web", 1, 0, 0)._asdict(), ended=True)
        self.assertEqual(targets.request_counts(), [RequestsOfGroup("web", 1, 0, 0)])


class ConfiguredTests(SynchronousTestCase):
    """Workers tell of targets that they have used only."""

    def test_a_configured_target_is_shown_at_0_and_up(self):
        targets = MergedTargets([("web", "one")], ["web"])
        (counted,) = targets.target_counts()
        self.assertEqual((counted.group, counted.name, counted.up, counted.active), ("web", "one", True, 0))
        self.assertEqual((counted.results["refused"], counted.checks), (0, {"ok": 0, "failed": 0}))
        self.assertEqual(targets.queue_lengths(), [("web", 0)])

    def test_what_an_ended_worker_has_counted_is_added_to_it_and_its_state_is_not(self):
        targets = MergedTargets([(COUNTS.group, COUNTS.name)])
        targets.add_target(COUNTS._asdict() | {"up": False}, ended=True)
        (counted,) = targets.target_counts()
        self.assertEqual((counted.received, counted.up), (COUNTS.received, True))
        targets.add_target(COUNTS._asdict() | {"up": False})
        (counted,) = targets.target_counts()
        self.assertEqual((counted.received, counted.up), (2 * COUNTS.received, False))

    def test_targets_of_groups_that_every_worker_makes_are_left_to_the_workers(self):
        checked = GroupPlan("checked", (TargetPlan(("10.0.0.1",), 80, check=CheckPlan()),))
        plain = GroupPlan("plain", (TargetPlan(("10.0.0.2", "10.0.0.3"), 80),))
        found = list(configured_targets(ProxyPlan((), (checked, plain))))
        self.assertEqual(found, [("plain", "10.0.0.2:80"), ("plain", "10.0.0.3:80")])


class ShownTests(SynchronousTestCase):
    def merged(self, *shown, before=nothing):
        (one,) = merged_shown([[each] for each in shown], before)
        return one

    def test_numbers_are_added(self):
        other = SHOWN._replace(connections=10, queued=20, received=100, sent=200)
        merged = self.merged(SHOWN, other, before=lambda *_target: (1000, 2000))
        self.assertEqual(
            (merged.connections, merged.queued, merged.received, merged.sent), (11, 22, 1110, 2220)
        )

    def test_the_best_state_is_shown_with_its_reason(self):
        ejected = SHOWN._replace(state="ejected", why="refused", effective_weight=0)
        down = SHOWN._replace(state="down", why="no answer", effective_weight=0)
        for shown, state, why in (
            ((ejected, SHOWN), "up", None),
            ((down, ejected), "ejected", "refused"),
            ((ejected, SHOWN._replace(state="drain", why="set by hand")), "drain", "set by hand"),
            ((down, down._replace(why="timeout")), "down", "no answer"),
        ):
            merged = self.merged(*shown)
            self.assertEqual((merged.state, merged.why), (state, why))

    def test_the_effective_weight_is_the_mean(self):
        """One worker of three has ejected it, so it gets two thirds of its connections."""
        ejected = SHOWN._replace(state="ejected", why="refused", effective_weight=0)
        self.assertEqual(self.merged(SHOWN, ejected, SHOWN).effective_weight, 2)

    def test_the_last_check_is_the_latest(self):
        early, late = ShownCheck(1.0, True, "connected"), ShownCheck(2.0, False, "refused")
        shown = [SHOWN._replace(last_check=check) for check in (None, late, early)]
        self.assertEqual(self.merged(*shown).last_check, late)
        self.assertIsNone(self.merged(SHOWN, SHOWN).last_check)

    def test_set_by_hand_in_any_worker_is_set_by_hand(self):
        self.assertTrue(self.merged(SHOWN, SHOWN._replace(set_by_hand=True)).set_by_hand)

    def test_targets_stay_with_their_group_in_the_order_of_the_first(self):
        two, mail = SHOWN._replace(name="two"), SHOWN._replace(group="mail")
        merged = merged_shown([[SHOWN, mail], [SHOWN, two, mail]], nothing)
        self.assertEqual(
            [(one.group, one.name) for one in merged], [("web", "one"), ("web", "two"), ("mail", "one")]
        )
