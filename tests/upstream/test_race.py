"""Several addresses of one host, raced (RFC 8305)."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import DialFailed
from smartproxy.model.outcome import RejectReason
from smartproxy.upstream.race import HEAD_START, Race


class RaceTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.attempts = {}
        self.cancelled = []

    def attempt(self, address):
        self.attempts[address] = Deferred(lambda _: self.cancelled.append(address))
        return self.attempts[address]

    def race(self, addresses, attempt=None):
        return Race(addresses, attempt or self.attempt, self.clock).start()

    def fails(self, address, why="no"):
        self.attempts[address].errback(DialFailed(RejectReason.UPSTREAM_REFUSED, why))

    def test_the_next_begins_a_quarter_of_a_second_later(self):
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

    def test_the_delay_is_that_of_the_rfc(self):
        self.assertEqual(HEAD_START, 0.25)

    def test_the_next_begins_at_once_when_the_one_before_has_failed(self):
        self.race("ab")
        self.fails("a")
        self.assertEqual(list(self.attempts), ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_after_a_failure_the_one_after_next_has_its_own_delay(self):
        self.race("abc")
        self.clock.advance(0.2)
        self.fails("a")
        self.clock.advance(0.2)
        self.assertEqual(list(self.attempts), ["a", "b"])
        self.clock.advance(0.05)
        self.assertEqual(list(self.attempts), ["a", "b", "c"])

    def test_the_first_that_stands_wins_and_the_others_are_given_up(self):
        won = self.race("abcd")
        self.clock.advance(HEAD_START)
        self.clock.advance(HEAD_START)
        self.attempts["b"].callback("B")
        self.assertEqual(self.successResultOf(won), "B")
        self.assertEqual(self.cancelled, ["a", "c"])
        self.clock.advance(10)
        self.assertNotIn("d", self.attempts)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_when_all_have_failed_it_fails_as_the_last_did(self):
        lost = self.race("abc")
        self.clock.advance(HEAD_START)
        self.fails("b", "b's")
        self.fails("a", "a's")
        self.assertNoResult(lost)
        self.fails("c", "c's")
        self.assertEqual(self.failureResultOf(lost, DialFailed).value.detail, "c's")

    def test_attempts_that_end_at_once(self):
        answers = {"a": fail(DialFailed(RejectReason.UPSTREAM_REFUSED)), "b": succeed("B")}
        self.assertEqual(self.successResultOf(self.race("ab", answers.pop)), "B")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_all_fail_at_once(self):
        lost = self.race("abc", lambda _: fail(DialFailed(RejectReason.UPSTREAM_REFUSED)))
        self.failureResultOf(lost, DialFailed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled_it_gives_up_all(self):
        won = self.race("abc")
        self.clock.advance(HEAD_START)
        won.cancel()
        self.failureResultOf(won, CancelledError)
        self.assertEqual(self.cancelled, ["a", "b"])
        self.clock.advance(10)
        self.assertEqual(list(self.attempts), ["a", "b"])
