"""Long work that lets the event loop run in between."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.slices import Slices


class SlicesTests(SynchronousTestCase):
    def test_work_pauses_when_a_slice_is_over(self):
        clock, done = Clock(), []

        async def work():
            slices = Slices(clock, 1.0)
            for number in range(5):
                clock.rightNow += 0.5  # what the work takes
                done.append(number)
                await slices.turn()

        finished = Deferred.fromCoroutine(work())
        self.assertEqual(done, [0, 1])
        clock.callLater(0, done.append, "another event")
        clock.advance(0)
        self.successResultOf(finished)
        self.assertEqual(done, [0, 1, 2, 3, "another event", 4])

    def test_short_work_is_done_at_once(self):
        clock = Clock()
        self.successResultOf(Deferred.fromCoroutine(Slices(clock).turn()))
        self.assertEqual(clock.getDelayedCalls(), [])
