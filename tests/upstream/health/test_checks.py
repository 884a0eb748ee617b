"""Checks of one target, and what their results do to it."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from smartproxy.errors import LocalShortage
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import GroupPlan, SendHeader
from smartproxy.model.plan.check import CheckKind
from smartproxy.upstream.health.checks import Checks
from smartproxy.upstream.interfaces import ICheck
from tests.upstream.grouping import target
from tests.upstream.health.checking import HOST, CheckCase


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
        self.groups.apply({"app": GroupPlan("app", (target("a"), target("b")))})
        self.checks.apply(self.groups.in_use())
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
            self.hold(2)
            self.dialer.refusing = {HOST}
            self.until_down()
            self.assertEqual(self.ended, ["a"] if reset else [])

    def test_a_session_that_was_dialed_before_is_ended_after(self):
        """Its target went down while it was being connected."""
        self.check(fall=1, reset=True)
        self.dialer.refusing = {HOST}
        self.until_down()
        self.assertEqual(self.ended, [])
        self.member("a").active = 1
        self.advance(1.2)
        self.assertEqual(self.ended, ["a"])

    def test_sessions_of_a_last_resort_end_when_another_target_is_up(self):
        self.check(fall=1, reset=True)
        self.dialer.refusing = {HOST}
        self.until_down()
        self.member("b").check(passed=False, now=0)
        self.hold(4)
        self.assertEqual(self.member("a").active, 2)
        self.advance(3)
        self.assertEqual(self.ended, [])
        self.member("b").check(passed=True, now=0)
        self.advance(1.2)
        self.assertEqual(set(self.ended), {"a"})

    def test_a_lack_of_our_own_descriptors_is_no_result(self):
        """Else every target would go down at once, and with whenDown: reset its sessions with it."""
        self.check(fall=1, reset=True)
        self.hold(2)
        for _ in range(3):
            while HOST not in self.dialer.pending:
                self.advance(0.1)
            why = LocalShortage(RejectReason.UPSTREAM_UNREACHABLE, "Too many open files")
            self.dialer.fail(HOST, why)
        self.assertEqual((self.member("a").state, self.ended), ("up", []))
        self.assertEqual(self.member("a").checks, {"ok": 0, "failed": 0})
        self.assertEqual((self.last().ok, self.last().detail), (False, "Too many open files"))
        self.until_dialed()
        self.advance(0.1)
        self.assertTrue(self.last().ok)

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
            self.check(send_header=header)
            far = self.until_dialed()
            self.advance(0.1)
            self.assertTrue(bytes(far.received).startswith(begin), far.received)


class InterfaceTests(CheckCase):
    def test_all_kinds_are_behind_one_interface(self):
        checks = Checks(None)
        self.assertEqual(set(checks._kinds), set(CheckKind))
        for check in (checks, *checks._kinds.values()):
            verifyObject(ICheck, check)
