"""Coroutines that run at once: results in order, a limit, and no end before all have cleaned up."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.together import together


class Work:
    """Coroutines that wait for a Deferred each, and for a second one when they clean up."""

    def __init__(self, count):
        self.waits = [Deferred() for _ in range(count)]
        self.cleaned = [Deferred() for _ in range(count)]
        self.started = []

    async def one(self, number):
        self.started.append(number)
        try:
            return await self.waits[number]
        finally:
            await self.cleaned[number]


class TogetherTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()

    def run_all(self, makers, most=10):
        return Deferred.fromCoroutine(together(makers, most, partial(self.clock.callLater, 0)))

    def started(self, work, most=10):
        return self.run_all([partial(work.one, number) for number in range(len(work.waits))], most)

    def test_results_are_in_the_order_of_the_coroutines(self):
        """The caller pairs them with what it asked for."""
        work = Work(2)
        result = self.started(work)
        for number in (1, 0):
            work.cleaned[number].callback(None)
            work.waits[number].callback(number)
        self.assertEqual(self.successResultOf(result), [0, 1])

    def test_no_more_run_at_once_than_the_limit(self):
        """A hundred names must not open a hundred connections."""
        work = Work(3)
        result = self.started(work, most=2)
        self.assertEqual(work.started, [0, 1])
        for number in range(3):
            work.cleaned[number].callback(None)
        work.waits[1].callback(None)
        self.assertEqual(work.started, [0, 1, 2])
        work.waits[0].callback(None)
        work.waits[2].callback(None)
        self.successResultOf(result)

    def test_a_failure_waits_until_the_others_have_cleaned_up(self):
        """Otherwise a DNS record would stay behind, or be removed after the next order has set it."""
        work = Work(3)
        result = self.started(work, most=2)
        work.cleaned[0].callback(None)
        work.waits[0].errback(ZeroDivisionError())
        self.assertNoResult(result)
        work.cleaned[1].callback(None)
        self.failureResultOf(result, ZeroDivisionError)
        self.assertEqual(work.started, [0, 1])

    def test_a_cancel_waits_until_all_have_cleaned_up(self):
        """As a failure does."""
        work = Work(2)
        result = self.started(work)
        result.cancel()
        self.assertNoResult(result)
        for each in work.cleaned:
            each.callback(None)
        self.failureResultOf(result, CancelledError)

    def test_a_second_cancel_ends_the_cleaning_up(self):
        """Who stops the process does not wait for a command that hangs."""
        result = self.started(Work(2))
        result.cancel()
        result.cancel()
        self.failureResultOf(result, CancelledError)

    def test_thousands_that_end_at_once_do_not_nest(self):
        """One that starts the next when it ends would exceed the depth of Python's stack."""

        async def at_once(number):
            return await succeed(number)

        result = self.run_all([partial(at_once, number) for number in range(5000)], most=2)
        self.assertEqual(len(self.successResultOf(result)), 5000)

    def test_none_have_no_results(self):
        """And nothing is waited for."""
        self.assertEqual(self.successResultOf(self.run_all([])), [])
