"""What happens once: who waits for it gets the value or the failure, whatever runs the coroutine."""

from __future__ import annotations

import gc
import weakref

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.coroutines import CancellableCoroutine
from smartproxy.flow.event import AwaitableEvent


class Held:
    """What a coroutine holds."""


class EventTests(SynchronousTestCase):
    def setUp(self):
        self.event = AwaitableEvent()
        self.heard = []

    def failed(self, why):
        self.event.fail(why)
        return self.event

    def test_it_happens_once(self):
        self.event.follow(lambda: self.heard.append(self.event.result()))
        self.assertEqual((self.event.has_happened, self.heard), (False, []))
        self.event.happen(5)
        self.assertEqual((self.event.has_happened, self.heard), (True, [5]))
        self.event.happen(6)
        self.event.fail(ZeroDivisionError())
        self.assertEqual((self.event.result(), self.heard), (5, [5]))

    def test_follower_of_what_has_happened_is_called_at_once(self):
        self.event.happen(5)
        self.event.follow(lambda: self.heard.append(self.event.result()))
        self.assertEqual(self.heard, [5])

    def test_failure_is_raised(self):
        self.assertRaises(ZeroDivisionError, self.failed(ZeroDivisionError()).result)

    def test_cancel_ends_what_it_stands_for_and_fails(self):
        self.event = AwaitableEvent(lambda: self.heard.append("ended"))
        self.event.cancel()
        self.assertRaises(CancelledError, self.event.result)
        self.event.happen(5)
        self.event.cancel()
        self.assertEqual(self.heard, ["ended"])

    def test_cancel_may_let_it_happen(self):
        self.event = AwaitableEvent(lambda: self.event.happen("as it is"))
        self.event.cancel()
        self.assertEqual(self.event.result(), "as it is")

    def test_cancel_after_it_has_happened_has_no_effect(self):
        self.event = AwaitableEvent(lambda: self.heard.append("ended"))
        self.event.happen(5)
        self.event.cancel()
        self.assertEqual((self.event.result(), self.heard), (5, []))

    def test_another_one_follows_with_a_changed_value(self):
        doubled = self.event.then(lambda value: value * 2)
        self.event.happen(5)
        self.assertEqual(doubled.result(), 10)

    def test_another_one_fails_likewise_or_by_the_change(self):
        for value, why in ((0, ZeroDivisionError), (ValueError(), ValueError)):
            with self.subTest(value=value):
                event = AwaitableEvent()
                inverse = event.then(lambda value: 1 / value)
                if value:
                    event.fail(value)
                else:
                    event.happen(value)
                self.assertRaises(why, inverse.result)

    def test_cancelling_what_follows_cancels_it(self):
        changed = self.event.then(str)
        changed.cancel()
        self.assertTrue(self.event.has_happened)
        self.assertRaises(CancelledError, changed.result)

    def test_it_is_handed_on(self):
        other = AwaitableEvent()
        self.event.hand_on(other.happen, other.fail)
        self.event.happen(5)
        self.assertEqual(other.result(), 5)


class AwaitedTests(SynchronousTestCase):
    """The same by either way to run a coroutine."""

    def setUp(self):
        self.event = AwaitableEvent()
        self.soon = []

    async def waits(self, held=None):
        del held
        return await self.event

    def both(self):
        yield "ours", lambda coroutine: CancellableCoroutine(coroutine, self.soon.append).start()
        yield "Twisted's", Deferred.fromCoroutine

    def assert_each(self, settle, check):
        """``check`` holds for what a coroutine gets of an event that is settled before it waits, and after."""
        for name, run in self.both():
            for early in (True, False):
                with self.subTest(name, early=early):
                    self.event = AwaitableEvent()
                    if early:
                        settle()
                    result = run(self.waits())
                    settle()
                    check(result)

    def test_value(self):
        self.assert_each(
            lambda: self.event.happen(5),
            lambda result: self.assertEqual(self.successResultOf(result), 5),
        )

    def test_failure(self):
        self.assert_each(
            lambda: self.event.fail(ZeroDivisionError()),
            lambda result: self.failureResultOf(result, ZeroDivisionError),
        )

    def test_cancel(self):
        for name, run in self.both():
            with self.subTest(name):
                ended = []
                self.event = AwaitableEvent(lambda ended=ended: ended.append(True))
                result = run(self.waits())
                result.cancel()
                self.failureResultOf(result, CancelledError)
                self.assertEqual(ended, [True])

    def test_many_that_have_happened_need_no_stack(self):
        async def waits():
            for number in range(5000):
                self.event = AwaitableEvent()
                self.event.happen(number)
                last = await self.event
            return last

        self.assertEqual(self.successResultOf(CancellableCoroutine(waits(), self.soon.append).start()), 4999)

    def test_nothing_is_left_of_a_failure(self):
        """Without the collector: what the coroutine held is freed."""

        async def waits(held):
            try:
                await self.event
            except ZeroDivisionError:
                return held is not None

        gc.disable()
        self.addCleanup(gc.enable)
        for early in (True, False):
            with self.subTest(early=early):
                self.event = AwaitableEvent()
                held = Held()
                freed = weakref.ref(held)
                if early:
                    self.event.fail(ZeroDivisionError())
                result = CancellableCoroutine(waits(held), self.soon.append).start()
                self.event.fail(ZeroDivisionError())
                self.assertTrue(self.successResultOf(result))
                del held
                self.assertIsNone(freed())
