"""The state of one target."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import IllegalTransition
from smartproxy.flow.states import following
from smartproxy.model.plan import PassiveHealthPlan
from smartproxy.upstream.log_limit import LOG_INTERVAL, LogLimit
from smartproxy.upstream.member import DIALS, DialEvent, Dials, HandState, Member


class DialsTests(SynchronousTestCase):
    def test_every_event_that_is_not_in_the_table_is_a_bug(self):
        legal = {(state, event) for state, events in DIALS.items() for event in events}
        for state in Dials:
            for event in DialEvent:
                if (state, event) not in legal:
                    self.assertRaises(IllegalTransition, following, DIALS, state, event)

    def test_every_dial_is_counted_once(self):
        member = Member("app", "a")
        passive = PassiveHealthPlan()
        member.succeeded(0.0)
        for result in ("refused", "timeout", "timeout", "tls_error"):
            member.failed(result, passive, 0.0)
        expected = {"ok": 1, "refused": 1, "timeout": 2, "unreachable": 0, "tls_error": 1}
        self.assertEqual(member.results, expected)
        self.assertEqual(member.ejections, 1)


class BadAnswerTests(SynchronousTestCase):
    def test_enough_bad_answers_within_the_window_eject(self):
        """A dial that succeeds in between says nothing about the answers."""
        member, passive = Member("app", "a"), PassiveHealthPlan(failures=3, window=10.0, eject_for=5.0)
        ejected = []
        for at in (0.0, 6.0, 11.0, 12.0):
            member.succeeded(at)
            ejected.append(member.answered_badly("not HTTP", passive, at))
        self.assertEqual(ejected, [False, False, False, True])
        self.assertEqual((member.why, member.ejections, member.state), ("not HTTP", 1, "ejected"))

    def test_a_connection_that_succeeds_ends_the_ejection(self):
        member = Member("app", "a")
        member.answered_badly("not HTTP", PassiveHealthPlan(), 0.0)
        self.assertFalse(member.is_undisturbed)
        self.assertTrue(member.succeeded(20.0))
        self.assertEqual(member.state, "up")

    def test_one_that_is_ejected_already_is_not_ejected_again(self):
        member = Member("app", "a")
        member.failed("refused", PassiveHealthPlan(), 0.0)
        self.assertFalse(member.answered_badly("not HTTP", PassiveHealthPlan(), 1.0))
        self.assertEqual(member.ejections, 1)


class StateTests(SynchronousTestCase):
    def test_what_is_shown_is_what_decides(self):
        member = Member("app", "a")
        states = [member.state]
        member.failed("refused", PassiveHealthPlan(), 0.0)
        states.append(member.state)
        member.check(passed=False, now=0.0)
        states.append(member.state)
        for by_hand in (HandState.DRAIN, HandState.DOWN, None):
            member.set_by_hand(by_hand, None, 0.0)
            states.append(member.state)
        self.assertEqual(states, ["up", "ejected", "down", "drain", "down", "down"])

    def test_changes_are_reported_to_its_group(self):
        member, changes = Member("app", "a"), []
        member.on_change = lambda one: changes.append(one.is_usable)
        member.check(passed=False, now=1.0)
        member.check(passed=True, now=2.0)
        self.assertEqual((changes, member.usable_since), ([False, True], 2.0))


class LogLimitTests(SynchronousTestCase):
    def test_a_repeated_failure_is_logged_once_per_interval(self):
        limit = LogLimit()
        logged = [limit.may_log("web", "a:80", now) for now in (0.0, LOG_INTERVAL - 0.1, LOG_INTERVAL)]
        self.assertEqual(logged, [True, False, True])

    def test_events_do_not_share_an_interval(self):
        limit = LogLimit()
        self.assertTrue(limit.may_log("web", "a:80", 0.0))
        self.assertTrue(limit.may_log("web", "b:80", 0.0))
        self.assertTrue(limit.may_log("other", "a:80", 0.0))

    def test_a_route_that_is_removed_is_forgotten(self):
        limit = LogLimit()
        limit.may_log("web", "a:80", 0.0)
        limit.keep({"other"})
        self.assertTrue(limit.may_log("web", "a:80", 0.0))
