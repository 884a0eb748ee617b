"""Coroutines of connections: how they run, wait and are cancelled, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextvars import ContextVar

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.coroutines import CancellableCoroutine, unfailed

NUMBER = ContextVar("number", default=0)


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


class RunTests(SynchronousTestCase):
    """A coroutine that waits for Deferreds, with and without a result that somebody wants."""

    def setUp(self):
        self.soon = []
        self.heard = []

    def run_one(self, coroutine):
        running = CancellableCoroutine(coroutine, self.soon.append)
        running.run()
        return running

    async def waits_for(self, *awaited):
        for one in awaited:
            try:
                self.heard.append(await one)
            except CancelledError:
                self.heard.append("cancelled")
                raise
        return "done"

    def test_waits_for_one_after_the_other(self):
        first, second = Deferred(), Deferred()
        result = CancellableCoroutine(self.waits_for(first, succeed(2), second), self.soon.append).start()
        first.callback(1)
        self.assertNoResult(result)
        second.callback(3)
        self.assertEqual((self.successResultOf(result), self.heard), ("done", [1, 2, 3]))

    def test_many_that_have_fired_need_no_stack(self):
        self.run_one(self.waits_for(*(succeed(number) for number in range(5000))))
        self.assertEqual(len(self.heard), 5000)

    def test_failure_is_raised_where_it_waits(self):
        awaited = Deferred()
        result = CancellableCoroutine(self.waits_for(awaited), self.soon.append).start()
        awaited.errback(ZeroDivisionError())
        self.failureResultOf(result, ZeroDivisionError)

    def test_other_awaitable_is_a_type_error_where_it_waits(self):
        """An asyncio future must be wrapped: what it yields never fires here."""

        async def sleeps(awaited):
            await awaited
            try:
                await asyncio.sleep(0)
            except TypeError as why:
                self.heard.append(str(why))
            return await succeed("goes on")

        awaited = Deferred()
        result = CancellableCoroutine(sleeps(awaited), self.soon.append).start()
        awaited.callback(None)
        self.assertEqual(self.successResultOf(result), "goes on")
        self.assertEqual(
            self.heard,
            ["a coroutine waits for NoneType, not a Deferred: use Deferred.fromFuture for asyncio"],
        )

    def test_cancel_ends_what_it_waits_for(self):
        cancelled = []
        running = self.run_one(self.waits_for(Deferred(cancelled.append)))
        running.cancel()
        self.assertEqual((len(cancelled), self.heard, self.soon), (1, ["cancelled"], []))

    def test_cancel_where_a_canceller_raises_is_logged(self):
        """A canceller may be code of an embedder: the caller of cancel() must not fail by it."""

        async def wait():
            await Deferred(lambda _: 1 / 0)

        running = CancellableCoroutine(wait(), None)
        running.run()
        running.cancel()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cancel_of_the_result_does_the_same(self):
        result = CancellableCoroutine(self.waits_for(Deferred()), self.soon.append).start()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.heard, ["cancelled"])

    def test_cancel_while_it_executes_is_repeated_when_it_waits(self):
        async def cancels_itself():
            running.cancel()
            await self.waits_for(awaited)

        awaited = Deferred()
        running = CancellableCoroutine(cancels_itself(), self.soon.append)
        running.run()
        self.assertEqual(self.heard, [])
        (again,) = self.soon
        again()
        self.assertEqual(self.heard, ["cancelled"])

    def test_cancel_while_it_executes_again_is_not_lost(self):
        async def cancels_itself():
            await first
            running.cancel()
            await self.waits_for(Deferred())

        first = Deferred()
        running = self.run_one(cancels_itself())
        first.callback(None)
        (again,) = self.soon
        again()
        self.assertEqual(self.heard, ["cancelled"])

    def test_cancel_after_its_end_has_no_effect(self):
        running = self.run_one(self.waits_for(succeed(1)))
        running.cancel()
        self.assertEqual((self.heard, self.soon), ([1], []))

    def test_cancel_that_is_swallowed_lets_it_go_on(self):
        async def stubborn():
            for one in (first, second):
                try:
                    await one
                except CancelledError:
                    self.heard.append("swallowed")

        first, second = Deferred(), Deferred()
        running = self.run_one(stubborn())
        running.cancel()
        self.assertEqual(self.heard, ["swallowed"])
        running.cancel()
        self.assertEqual(self.heard, ["swallowed"] * 2)

    def test_what_it_raises_is_logged_where_no_result_is_wanted(self):
        awaited = Deferred()
        self.run_one(self.waits_for(awaited))
        awaited.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_its_cancel_is_not_logged(self):
        self.run_one(self.waits_for(Deferred())).cancel()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_context_variables_are_its_own(self):
        """A callable of an embedder that sets one must not set it for other connections."""

        async def sets(number, awaited):
            NUMBER.set(number)
            await awaited
            self.heard.append(NUMBER.get())

        both = [Deferred(), Deferred()]
        for number, awaited in enumerate(both, 1):
            self.run_one(sets(number, awaited))
        for awaited in both:
            awaited.callback(None)
        self.assertEqual((self.heard, NUMBER.get()), ([1, 2], 0))

    def test_what_a_failed_one_held_is_freed_without_the_collector(self):
        async def wait(held, awaited):
            try:
                await awaited
            except ZeroDivisionError:
                self.heard.append(held is not None)

        gc.disable()
        self.addCleanup(gc.enable)
        held, awaited = Held(), Deferred()
        freed = weakref.ref(held)
        running = self.run_one(wait(held, awaited))
        del held
        awaited.errback(ZeroDivisionError())
        del running, awaited
        self.assertEqual((self.heard, freed()), ([True], None))
