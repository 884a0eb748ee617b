"""A call that is made once for all who want it while it runs."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.joined import JoinedCall


class JoinedCallTests(SynchronousTestCase):
    def setUp(self):
        self.calls = []
        self.ends = 0
        self.joined = JoinedCall(self.call, self.ended)

    async def call(self):
        waiting = Deferred()
        self.calls.append(waiting)
        await waiting

    def ended(self):
        self.ends += 1

    def test_all_who_want_it_meanwhile_share_one_call(self):
        first, second = self.joined(), self.joined()
        self.assertEqual((len(self.calls), self.joined.is_running), (1, True))
        self.calls[0].callback(None)
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), (None, None))
        self.assertEqual((self.joined.is_running, self.ends), (False, 1))

    def test_the_next_one_is_called_again(self):
        self.joined()
        self.calls[0].callback(None)
        third = self.joined()
        self.assertNoResult(third)
        self.assertEqual(len(self.calls), 2)

    def test_all_get_its_failure(self):
        first, second = self.joined(), self.joined()
        self.calls[0].errback(ValueError("broken"))
        for one in (first, second):
            self.assertEqual(str(self.failureResultOf(one, ValueError).value), "broken")
        self.assertEqual(self.ends, 1)

    def test_one_that_gives_up_ends_it_for_nobody_else(self):
        first, second = self.joined(), self.joined()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.calls[0].callback(None)
        self.assertIsNone(self.successResultOf(second))

    def test_it_may_be_called_again_from_its_end(self):
        self.joined = JoinedCall(self.call, lambda: self.calls[1:] or self.joined())
        self.joined()
        self.calls[0].callback(None)
        self.assertEqual((len(self.calls), self.joined.is_running), (2, True))
