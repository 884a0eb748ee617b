"""Checks of one target, and what their results do to it."""

from __future__ import annotations

import re

from twisted.internet.task import Clock

from smartproxy.flow.deadline import Deadlines
from smartproxy.model.plan import GroupPlan, SendHeader
from smartproxy.model.plan.check import CheckKind, CheckPlan, StepPlan
from smartproxy.upstream.groups import Groups
from smartproxy.upstream.health.checks import Checks
from smartproxy.upstream.health.service import HealthChecks
from smartproxy.upstream.member import Members
from tests.upstream.connecting import FakeDialer, FakeResolver
from tests.upstream.grouping import GroupCase, target

HOST = "10.0.0.97"


class CheckCase(GroupCase):
    """Checks whose dialer is the test's, every second, at once."""

    def setUp(self):
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()
        self.addCleanup(self.deadlines.stop)
        self.dialer = FakeDialer(self.clock)
        self.groups = Groups(Members(), self.clock, lambda: 0.5)
        self.ended = []
        self.checks = HealthChecks(
            Checks(self.dialer, FakeResolver(), self.deadlines, None),
            self.deadlines,
            self.clock,
            lambda: 0.5,
            lambda: 1e9 + self.clock.seconds(),
            lambda member: self.ended.append(member.name),
        )

    def check(self, kind=CheckKind.CONNECT, *, reset=False, header=None, **more):
        plan = CheckPlan(kind, interval=1.0, fast_interval=0.5, timeout=1.0, **more)
        targets = (target("a", check=plan, send_header=header), target("b"))
        self.groups.apply([GroupPlan("app", targets, reset_when_down=reset)])
        self.group = self.groups.find("app")
        self.checks.apply(self.groups)

    def advance(self, seconds):
        for _ in range(round(seconds * 20)):
            self.clock.advance(0.05)

    def until_dialed(self):
        while HOST not in self.dialer.pending:
            self.advance(0.1)
        return self.dialer.accept(HOST)

    def last(self):
        return self.member("a").last_check


class ConnectTests(CheckCase):
    def test_a_target_that_accepts_stays_up(self):
        self.check()
        far = self.until_dialed()
        self.advance(0.1)
        self.assertEqual((self.last().ok, self.last().detail), (True, "connected"))
        self.assertTrue(far.ended)
        self.assertEqual(self.member("a").checks, {"ok": 1, "failed": 0})

    def test_it_is_down_after_fall_and_up_after_rise(self):
        self.check(rise=2, fall=3)
        self.dialer.refusing = {HOST}
        self.advance(0.6)
        self.assertEqual((self.member("a").state, self.last().ok), ("up", False))
        self.assertIn("Connection refused", self.last().detail)
        self.advance(1.5)
        self.assertEqual((self.member("a").state, self.use(3)), ("down", "bbb"))
        self.dialer.refusing = set()
        self.until_dialed()
        self.advance(0.1)
        self.assertEqual(self.member("a").state, "down")
        self.until_dialed()
        self.advance(0.1)
        self.assertEqual(self.member("a").state, "up")

    def test_between_states_the_fast_interval_holds(self):
        self.check()
        self.dialer.refusing = {HOST}
        self.advance(4.1)
        # 0.5, then 0.5 + tick, 0.5 + tick until down, then every second.
        self.assertIn(self.member("a").checks["failed"], (5, 6))

    def test_no_answer_in_time_fails_and_is_cancelled(self):
        self.check()
        self.advance(0.7)
        self.assertIn(HOST, self.dialer.pending)
        self.advance(1.1)
        self.assertEqual((self.last().ok, self.last().detail), (False, "no answer in 1 s"))
        self.assertEqual(self.dialer.cancelled, [HOST])

    def test_a_removed_check_leaves_the_target_up(self):
        self.check(fall=1)
        self.dialer.refusing = {HOST}
        self.advance(1)
        self.assertEqual(self.member("a").state, "down")
        self.groups.apply([GroupPlan("app", (target("a"), target("b")))])
        self.checks.apply(self.groups)
        self.assertEqual((self.member("a").state, self.last()), ("up", None))
        dialed = len(self.dialer.dialled)
        self.advance(5)
        self.assertEqual(len(self.dialer.dialled), dialed)

    def test_a_reload_of_the_same_check_goes_on(self):
        self.check(fall=1)
        self.dialer.refusing = {HOST}
        self.advance(1)
        dialed = len(self.dialer.dialled)
        for _ in range(20):
            self.check(fall=1)
            self.advance(0.1)
        self.assertEqual(self.member("a").state, "down")
        self.assertIn(len(self.dialer.dialled) - dialed, (1, 2, 3))

    def test_sessions_are_ended_where_configured(self):
        for reset in (False, True):
            self.setUp()
            self.check(fall=1, reset=reset)
            self.dialer.refusing = {HOST}
            self.advance(1)
            self.assertEqual(self.ended, ["a"] if reset else [])

    def test_stop_cancels_the_check_in_progress(self):
        self.check()
        self.advance(0.7)
        self.checks.stop()
        self.assertEqual(self.dialer.cancelled, [HOST])
        self.advance(5)
        self.assertEqual(len(self.dialer.dialled), 1)

    def test_a_target_with_a_proxy_header_is_told_that_it_is_a_check(self):
        for header, begin in (
            (SendHeader(1), b"PROXY UNKNOWN\r\n"),
            (SendHeader(2), b"\r\n\r\n\0\r\nQUIT\n\x20"),
        ):
            self.setUp()
            self.check(header=header)
            far = self.until_dialed()
            self.advance(0.1)
            self.assertTrue(bytes(far.received).startswith(begin), far.received)


class ScriptTests(CheckCase):
    def script(self, *steps, **more):
        self.check(CheckKind.SCRIPT, steps=tuple(StepPlan(**step) for step in steps), fall=1, **more)
        self.far = self.until_dialed()

    def test_a_conversation_passes(self):
        self.script(
            {"expect": b"220"}, {"send": b"QUIT\r\n"}, {"pattern": re.compile(rb"^\s*221.*\n", re.MULTILINE)}
        )
        self.far.write(b"22")
        self.advance(0.1)
        self.far.write(b"0 ready\r\n")
        self.advance(0.1)
        self.assertEqual(bytes(self.far.received), b"QUIT\r\n")
        self.far.write(b"221 bye\r\n")
        self.advance(0.2)
        self.assertTrue(self.last().ok, self.last().detail)

    def test_another_answer_is_shown(self):
        self.script({"send": b"PING\r\n"}, {"expect": b"+PONG"})
        self.far.write(b"-NOAUTH \x1b[31m required\r\n")
        self.advance(1.2)
        self.assertEqual(
            (self.last().ok, self.last().detail),
            (False, "step 2: got '-NOAUTH \\\\x1b[31m required\\\\r\\\\n', and no more in time"),
        )

    def test_a_target_that_closes_fails(self):
        self.script({"expect": b"220"})
        self.far.fin()
        self.advance(0.2)
        self.assertEqual(self.last().detail, "step 1: got nothing, and it closed the connection")

    def test_an_endless_answer_is_bounded(self):
        self.script({"expect": b"220"})
        for _ in range(80):
            self.far.write(b"x" * 1024)
            self.advance(0.01)
        self.advance(0.2)
        self.assertIn("not in the first", self.last().detail)

    def test_the_connection_ends_in_order(self):
        """A RST while the target still speaks makes MySQL count an error of the host."""
        self.script({"expect": b"220"})
        self.far.write(b"220 ready\r\n and more")
        self.advance(0.1)
        self.assertTrue(self.far.ended)
        self.far.write(b"later")
        self.far.fin()
        self.advance(0.2)
        self.assertFalse(self.far.was_reset)

    def test_a_target_that_does_not_close_is_aborted_after_a_second(self):
        self.script({"expect": b"220"})
        self.far.write(b"220 ready\r\n")
        self.advance(1.3)
        self.assertTrue(self.far.was_reset)
