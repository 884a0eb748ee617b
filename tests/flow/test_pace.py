"""Long work in a thread beside the event loop."""

from __future__ import annotations

import threading

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow import pace
from smartproxy.flow.pace import Pace


class PaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 0.0
        self.pauses = 0
        self.patch(pace.time, "perf_counter", lambda: self.now)
        self.patch(pace.time, "sleep", self.sleep)

    def sleep(self, _seconds: float) -> None:
        self.pauses += 1

    def work(self) -> None:
        """A second of work in 1,000 items."""
        take_turns = Pace()
        for _ in range(1000):
            self.now += 0.001
            take_turns()

    def test_thread_pauses_during_long_work(self) -> None:
        """Otherwise each system call of the event loop would wait 5 ms for Python's lock."""
        worker = threading.Thread(target=self.work)
        worker.start()
        worker.join()
        self.assertGreater(self.pauses, 100)

    def test_items_are_passed_on_in_order(self) -> None:
        self.assertEqual(list(Pace().over("abc")), ["a", "b", "c"])

    def test_main_thread_does_not_pause(self) -> None:
        self.work()
        self.assertEqual(self.pauses, 0)

    def test_short_work_does_not_pause(self) -> None:
        worker = threading.Thread(target=Pace().__call__)
        worker.start()
        worker.join()
        self.assertEqual(self.pauses, 0)
