"""Racing connection attempts to several addresses of one host (RFC 8305)."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import DialFailed
from smartproxy.flow.event import AwaitableEvent
from smartproxy.model.outcome import RejectReason
from smartproxy.upstream.race import HEAD_START, Race


def failed():
    attempt = AwaitableEvent()
    attempt.fail(DialFailed(RejectReason.UPSTREAM_REFUSED))
    return attempt


def connected(upstream):
    attempt = AwaitableEvent()
    attempt.happen(upstream)
    return attempt


class RaceTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.attempts = {}
        self.cancelled = []

    def attempt(self, address):
        self.attempts[address] = AwaitableEvent(lambda: self.cancelled.append(address))
        return self.attempts[address]

    def race(self, addresses, attempt=None):
        return Race(addresses, attempt or self.attempt, self.clock).start().deferred()

    def fail_attempt(self, address, why="no"):
        self.attempts[address].fail(DialFailed(RejectReason.UPSTREAM_REFUSED, why))

    def test_next_attempt_starts_after_the_head_start(self):
        self.race("abc")
        self.assertEqual(list(self.attempts), ["a"])
        self.clock.advance(HEAD_START - 0.01)
        self.assertEqual(list(self.attempts), ["a"])
        self.clock.advance(0.01)
        self.assertEqual(list(self.attempts), ["a", "b"])
        self.clock.advance(HEAD_START)
        self.assertEqual(list(self.attempts), ["a", "b", "c"])
        self.clock.advance(100)
        self.assertEqual(self.cancelled, [])

    def test_head_start_is_250_ms_as_in_rfc_8305(self):
        self.assertEqual(HEAD_START, 0.25)

    def test_next_attempt_starts_at_once_after_a_failure(self):
        self.race("ab")
        self.fail_attempt("a")
        self.assertEqual(list(self.attempts), ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_attempt_after_a_failure_has_its_own_head_start(self):
        self.race("abc")
        self.clock.advance(0.2)
        self.fail_attempt("a")
        self.clock.advance(0.2)
        self.assertEqual(list(self.attempts), ["a", "b"])
        self.clock.advance(0.05)
        self.assertEqual(list(self.attempts), ["a", "b", "c"])

    def test_first_success_cancels_the_other_attempts(self):
        won = self.race("abcd")
        self.clock.advance(HEAD_START)
        self.clock.advance(HEAD_START)
        self.attempts["b"].happen("B")
        self.assertEqual(self.successResultOf(won), "B")
        self.assertEqual(self.cancelled, ["a", "c"])
        self.clock.advance(10)
        self.assertNotIn("d", self.attempts)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_errors_of_all_attempts_are_reported(self):
        lost = self.race("abc")
        self.clock.advance(HEAD_START)
        self.fail_attempt("b", "b's")
        self.fail_attempt("a", "a's")
        self.assertNoResult(lost)
        self.fail_attempt("c", "c's")
        self.assertEqual(self.failureResultOf(lost, DialFailed).value.detail, "b's; a's; c's")

    def test_attempts_may_fail_and_succeed_synchronously(self):
        answers = {"a": failed(), "b": connected("B")}
        self.assertEqual(self.successResultOf(self.race("ab", answers.pop)), "B")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_all_attempts_may_fail_synchronously(self):
        lost = self.race("abc", lambda _: failed())
        self.failureResultOf(lost, DialFailed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelling_cancels_every_attempt(self):
        won = self.race("abc")
        self.clock.advance(HEAD_START)
        won.cancel()
        self.failureResultOf(won, CancelledError)
        self.assertEqual(self.cancelled, ["a", "b"])
        self.clock.advance(10)
        self.assertEqual(list(self.attempts), ["a", "b"])
