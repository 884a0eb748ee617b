"""Which targets are checked, through reloads."""

from __future__ import annotations

from dataclasses import replace

from smartproxy.model.plan import GroupPlan, OriginationPlan, SendHeader
from smartproxy.model.plan.check import CheckKind, CheckPlan
from tests.upstream.grouping import target
from tests.upstream.health.checking import HOST, CheckCase

PLAN = CheckPlan(interval=1.0, fast_interval=0.5, timeout=1.0)
TLS = CheckPlan(CheckKind.TLS, interval=1.0, timeout=1.0, tls=OriginationPlan(verify=False))


class ReloadTests(CheckCase):
    def apply(self, *targets, **more):
        plan = GroupPlan("app", targets, **more)
        self.groups.apply({"app": plan}, [plan])
        self.checks.apply(self.groups.in_use())

    def test_what_changes_how_a_target_is_reached_begins_a_new_check(self):
        before = target("a", check=PLAN)
        for change in (
            {"hosts": ("10.0.0.98",)},
            {"port": 81},
            {"source": "10.9.9.9"},
            {"send_header": SendHeader(1)},
            {"check": replace(PLAN, port=82)},
            {"check": replace(PLAN, timeout=2.0)},
            {"check": TLS},
            {"check": replace(TLS, tls=OriginationPlan(verify=False, server_name="other.test"))},
        ):
            self.setUp()
            self.apply(before)
            self.until_dialed()
            self.advance(0.9)
            self.apply(replace(before, **change))
            self.advance(1.2)
            (_, *later) = self.dialer.dialled
            wanted = (
                change.get("hosts", (HOST,))[0],
                change.get("check", PLAN).port or change.get("port", 80),
            )
            self.assertEqual({(to.host, to.port) for to, _ in later}, {wanted}, change)
            self.assertEqual(self.dialer.sources[-1], change.get("source", ""))

    def test_what_does_not_leaves_it_alone(self):
        before = target("a", check=PLAN)
        for change in ({}, {"weight": 5}, {"backup": True}, {"max_connections": 7}, {"check": replace(PLAN)}):
            self.setUp()
            self.apply(before)
            self.advance(0.3)
            self.apply(replace(before, **change))
            self.advance(0.3)
            self.assertEqual(len(self.dialer.dialled), 1, change)

    def test_a_check_in_progress_survives_a_reload(self):
        self.apply(target("a", check=PLAN))
        self.until_dialed_only()
        self.apply(target("a", check=PLAN, weight=2), target("b"))
        self.dialer.accept(HOST)
        self.advance(0.1)
        self.assertTrue(self.last().ok)

    def until_dialed_only(self):
        while HOST not in self.dialer.pending:
            self.advance(0.1)

    def test_a_check_in_progress_of_a_changed_target_is_dropped(self):
        self.apply(target("a", check=PLAN))
        self.until_dialed_only()
        self.apply(target("a", check=replace(PLAN, port=82)))
        self.assertEqual(self.dialer.cancelled, [HOST])
        self.assertIsNone(self.last())

    def test_thousands_of_targets_are_begun_in_parts(self):
        """Reading the clock takes time here, as everything does: 100 targets per iteration."""
        real = self.clock.seconds
        self.clock.seconds = lambda: real() + self.later()
        self.passed = 0.0
        targets = [replace(target("a", check=PLAN), name=f"t{number}") for number in range(1000)]
        self.apply(*targets)
        self.assertLess(len(self.checks._checkers), 500)
        while len(self.checks._checkers) < len(targets):
            self.clock.advance(0)
        # A reload in between begins again, and nothing is begun twice or kept.
        self.apply(*targets[:300])
        self.apply(*targets[:20])
        for _ in range(1000):
            self.clock.advance(0)
        self.assertEqual({member.name for member in self.checks._checkers}, {f"t{n}" for n in range(20)})
        self.checks.stop()
        self.assertEqual(len(self.checks._around.schedule), 0)

    def later(self):
        self.passed += 0.000005
        return self.passed

    def test_a_change_that_stops_the_checks_is_no_error(self):
        """What follows the change may reload: this checker has ended then, and sets no further time."""
        self.apply(target("a", check=replace(PLAN, fall=1)))
        self.groups.find("app").notify = lambda *_: self.checks.stop()
        self.dialer.refusing = {HOST}
        self.advance(5)
        self.assertEqual(len(self.dialer.dialled), 1)

    def test_an_error_of_what_follows_changes_does_not_end_the_checks(self):
        def broken(*_):
            raise ZeroDivisionError

        self.apply(target("a", check=replace(PLAN, fall=1)))
        self.groups.find("app").notify = broken
        self.dialer.refusing = {HOST}
        self.advance(3)
        self.assertGreater(len(self.dialer.dialled), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class IntervalTests(CheckCase):
    def test_interval_is_from_beginning_to_beginning(self):
        """A check that takes its whole timeout does not make the interval longer."""
        self.check(interval=2.0, fast_interval=2.0, timeout=1.5, fall=9)
        self.advance(10.9)
        self.assertEqual(len(self.dialer.dialled), 5)

    def test_a_check_that_takes_longer_is_followed_at_once(self):
        self.check(interval=1.0, fast_interval=1.0, timeout=2.0, fall=9)
        self.advance(0.5 + 2.1 * 4)
        self.assertEqual(len(self.dialer.dialled), 4)
