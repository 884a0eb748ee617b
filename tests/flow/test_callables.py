"""Calling an embedder's callable: every kind of answer, errors and the timeout."""

from __future__ import annotations

import asyncio

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import DialFailed
from smartproxy.flow.callables import ask
from smartproxy.model.outcome import RejectReason
from tests.phases.made import routed


class AskTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.facts = routed()

    def ask(self, choice, seconds=5.0):
        return Deferred.fromCoroutine(ask("host", choice, self.facts, seconds, self.clock))

    def test_value_coroutine_deferred_and_awaitable_are_accepted(self):
        class Awaitable:
            def __await__(self):
                return succeed("a").__await__()

        async def coroutine(facts):
            return "a"

        for choice in (lambda _: "a", coroutine, lambda _: succeed("a"), lambda _: Awaitable()):
            self.assertEqual(self.successResultOf(self.ask(choice)), "a")

    def test_asyncio_future_is_awaited(self):
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        future = loop.create_future()
        asked = self.ask(lambda _: future)
        self.assertNoResult(asked)
        future.set_result("a")
        loop.run_until_complete(asyncio.sleep(0))
        self.assertEqual(self.successResultOf(asked), "a")

    def test_callable_receives_the_facts(self):
        self.assertIs(self.successResultOf(self.ask(lambda facts: facts)), self.facts)

    def test_exception_of_the_callable_reaches_the_caller(self):
        def broken(_):
            raise ZeroDivisionError

        async def later(_):
            raise ZeroDivisionError

        for choice in (broken, later):
            self.failureResultOf(self.ask(choice), ZeroDivisionError)

    def test_answer_after_the_timeout_is_cancelled_and_refused(self):
        for ended in (False, True):
            cancelled = []
            never = Deferred(cancelled.append)

            async def coroutine(_, never=never):
                return await never

            asked = self.ask(coroutine if ended else lambda _, never=never: never)
            self.clock.advance(4.9)
            self.assertNoResult(asked)
            self.clock.advance(0.2)
            refused = self.failureResultOf(asked, DialFailed).value
            self.assertEqual(refused.reason, RejectReason.UPSTREAM_TIMEOUT)
            self.assertRegex(
                refused.detail, r"^the host callable [\w.<>]+ of route 'web' has not answered in 5\.0 s$"
            )
            self.assertEqual(cancelled, [never])

    def test_answer_in_time_leaves_no_timer(self):
        answer = Deferred()
        asked = self.ask(lambda _: answer)
        answer.callback("a")
        self.assertEqual((self.successResultOf(asked), self.clock.getDelayedCalls()), ("a", []))

    def test_timeout_of_0_waits_without_limit(self):
        asked = self.ask(lambda _: Deferred(), 0)
        self.clock.advance(1e6)
        self.assertNoResult(asked)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
