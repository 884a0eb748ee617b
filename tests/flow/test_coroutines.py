"""Waiting for a Deferred without a reference cycle, also if it has failed before."""

from __future__ import annotations

import gc
import weakref

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.coroutines import unfailed


class Held:
    """What a coroutine holds."""


class UnfailedTests(SynchronousTestCase):
    def awaiting(self, awaited):
        async def wait():
            return await unfailed(awaited)

        return Deferred.fromCoroutine(wait())

    def test_result_that_is_there(self):
        self.assertEqual(self.successResultOf(self.awaiting(succeed(5))), 5)

    def test_later_result(self):
        awaited = Deferred()
        result = self.awaiting(awaited)
        self.assertNoResult(result)
        awaited.callback(5)
        self.assertEqual(self.successResultOf(result), 5)

    def test_failure_that_is_there_is_raised_and_not_logged(self):
        self.failureResultOf(self.awaiting(fail(ZeroDivisionError())), ZeroDivisionError)
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_later_failure(self):
        awaited = Deferred()
        result = self.awaiting(awaited)
        awaited.errback(ZeroDivisionError())
        self.failureResultOf(result, ZeroDivisionError)

    def test_failure_while_a_callback_waits(self):
        """Such a Deferred has fired, and has no result yet."""
        inner = Deferred()
        awaited = fail(ValueError())
        awaited.addErrback(lambda _: inner)
        result = self.awaiting(awaited)
        self.assertNoResult(result)
        inner.errback(ZeroDivisionError())
        self.failureResultOf(result, ZeroDivisionError)

    def test_what_the_coroutine_held_is_freed_without_the_collector(self):
        async def wait(held):
            try:
                await unfailed(fail(ZeroDivisionError()))
            except ZeroDivisionError:
                return held is not None

        gc.disable()
        self.addCleanup(gc.enable)
        held = Held()
        freed = weakref.ref(held)
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(wait(held))))
        del held
        self.assertIsNone(freed())
