"""What is logged of changes of state: each once, with its reason, and only a few of a target that flaps."""

from __future__ import annotations

from twisted.logger import capturedLogs, formatEvent

from smartproxy.model.plan import QueuePlan
from smartproxy.upstream.state_log import MOST, WINDOW
from smartproxy.upstream.steering import TargetGroups
from tests.upstream.grouping import CLIENT, GroupCase, target


class StateLogTests(GroupCase):
    def logged(self, act):
        """The level and the text of each line of ``act``."""
        with capturedLogs() as events:
            act()
        return [f"{event['log_level'].name} {formatEvent(event)}" for event in events]

    def steer(self):
        return TargetGroups(self.groups, {}, self.clock.seconds, dict)

    def test_an_ejection_and_its_end_are_one_line_each(self):
        self.configure("abc")
        self.assertEqual(
            self.logged(lambda: self.fail_dial("a")), ["warn target app/a is ejected for 10 s: it is closed"]
        )
        self.clock.advance(10)
        self.assertEqual(
            self.logged(lambda: self.use(1)), ["info target app/a is up again: a connection has succeeded"]
        )
        self.assertEqual(self.logged(lambda: self.use(5)), [])

    def test_an_ejection_that_a_reload_ends_says_so(self):
        self.configure("ab")
        self.fail_dial("a")
        self.assertEqual(
            self.logged(lambda: self.configure("ab", passive=None)),
            ["info target app/a is up again: passiveHealth is off"],
        )

    def test_what_is_set_by_hand_names_who_did_it(self):
        self.configure("ab")
        steering = self.steer()
        for act, line in (
            (lambda: steering.set_state("app", "a", "drain", by="the admin API"),
             ["info target app/a is set to drain by the admin API"]),
            (lambda: steering.set_state("app", "a", "drain"), []),
            (lambda: steering.set_state("app", "a", "down"), ["info target app/a is set to down by the program"]),
            (lambda: steering.set_state("app", "a", "up"), ["info target app/a is set to up by the program"]),
            (lambda: steering.set_state("app", "a", "up"), []),
            (lambda: steering.set_weight("app", "a", 7, by="the admin API"),
             ["info target app/a is set to weight 7 by the admin API"]),
            (lambda: steering.set_weight("app", "a", 7), []),
            (lambda: steering.set_weight("app", "a", None),
             ["info target app/a is set to the weight of the configuration by the program"]),
        ):  # fmt: skip
            self.assertEqual(self.logged(act), line)

    def test_up_by_hand_ends_an_ejection_in_one_line(self):
        self.configure("ab")
        self.fail_dial("a")
        self.assertEqual(
            self.logged(lambda: self.steer().set_state("app", "a", "up")),
            ["info target app/a is set to up by the program"],
        )

    def test_targets_that_join_or_leave_and_new_weights_are_one_line(self):
        self.assertEqual(self.logged(lambda: self.configure("abc")), [], "the start is no change")
        self.assertEqual(self.logged(lambda: self.configure("abc")), [])
        changed = ["c", "d", "e", target("b", weight=3)]
        self.assertEqual(
            self.logged(lambda: self.configure(changed)),
            ["info group app has other targets: d, e joined; a left; weight of b 1 to 3"],
        )
        many = [target(f"{letter}{number}") for letter in "pq" for number in range(8)]
        (line,) = self.logged(lambda: self.configure(["c", "d", "e", "b", *many]))
        self.assertIn("p0, p1, p2, p3, p4, p5, p6, p7, q0, q1 and 6 more joined; weight of b 3 to 1", line)

    def test_another_tier_is_one_line_beside_that_of_its_target(self):
        self.configure(["a", target("b", backup=True)])
        steering = self.steer()
        tiers = []
        for name, state in (("a", "down"), ("b", "down"), ("b", "up"), ("a", "up")):
            _, tier = self.logged(lambda name=name, state=state: steering.set_state("app", name, state))
            tiers.append(tier)
        self.assertEqual(
            tiers,
            [
                "warn group app: no primary target is up, backups are used",
                "warn group app: no target may be used, clients are refused",
                "warn group app: no primary target is up, backups are used",
                "info group app: a primary target is up again",
            ],
        )

    def test_all_down_is_one_line(self):
        self.configure("ab")
        self.fail_dial("a")
        self.assertEqual(
            self.logged(lambda: self.fail_dial("b")),
            [
                "warn group app: no target is up, all are tried",
                "warn target app/b is ejected for 10 s: it is closed",
            ],
        )

    def flap(self, times):
        for _ in range(times):
            self.fail_dial("a")
            candidate = next(one for one in self.group.candidates if one.name == "a")
            self.group._count(candidate)
            self.group.succeeded(candidate)
            self.group.release(candidate)

    def test_a_target_that_flaps_has_a_few_lines_and_a_number(self):
        self.configure("ab")
        self.assertEqual(len(self.logged(lambda: self.flap(1000))), MOST)
        self.clock.advance(WINDOW)
        self.assertEqual(
            self.logged(lambda: self.groups.members.prune(self.clock.seconds())),
            [f"warn target app/a changes too often: {2000 - MOST} more times in 10 s; now: up"],
        )
        self.assertEqual(len(self.logged(lambda: self.flap(1))), 2, "and then it is logged again")

    def test_a_group_that_flaps_has_a_few_lines_and_a_number(self):
        self.configure("ab")
        self.steer().set_state("app", "b", "drain")
        self.assertEqual(len(self.logged(lambda: self.flap(1000))), 2 * MOST)
        self.clock.advance(WINDOW)
        self.assertEqual(
            sorted(self.logged(lambda: self.groups.members.prune(self.clock.seconds()))),
            [
                f"warn group app changes too often: {2000 - MOST} more times in 10 s; now: primary",
                f"warn target app/a changes too often: {2000 - MOST} more times in 10 s; now: up",
            ],
        )

    def test_a_group_of_one_target_has_the_lines_of_that_target_only(self):
        self.configure("a")
        self.assertEqual(len(self.logged(lambda: self.flap(1))), 2)

    def test_a_dead_target_is_ejected_once_however_often_it_is_tried(self):
        self.configure("ab")
        self.fail_dial("a")
        lines = []
        for _ in range(20):
            self.clock.advance(10)
            probe = self.group.take(CLIENT)
            self.assertEqual(probe.name, "a")
            lines += self.logged(lambda probe=probe: self.group.failed(probe, "refused", "it is closed"))
        self.assertEqual((lines, self.member("a").ejections), ([], 21))

    def test_a_few_changes_have_no_summary(self):
        self.configure("ab")
        self.flap(1)
        self.clock.advance(WINDOW)
        self.assertEqual(self.logged(lambda: self.groups.members.prune(self.clock.seconds())), [])

    def test_connections_and_full_targets_are_no_changes_of_state(self):
        self.configure([target("a", max_connections=1)], queue=QueuePlan(5))
        held = self.hold()
        self.assertEqual(self.logged(lambda: self.group.release(held[0]) or self.group.take(CLIENT)), [])
