"""Runs calls of several processes step by step, in every order, within one process.

A step ends where the call orders its writes before its reads (``LimitsMemory.fence``). Each call has a thread, of which
one runs at a time, so that a run depends on nothing but the choices that were made.
"""

from __future__ import annotations

from threading import Semaphore, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Steps:
    """The steps of calls. :meth:`fence` is to be the fence of their memory."""

    def __init__(self) -> None:
        self._running: _Call | None = None

    def fence(self) -> None:
        if self._running is not None:
            self._running.pause()

    def run(self, calls: list[Callable[[], object]], choose: Callable[[int], int]) -> list[object]:
        """Run all calls to their end. Returns what each has returned.

        :param choose: which of so many unfinished calls makes the next step.
        """
        made = [_Call(call) for call in calls]
        while unfinished := [call for call in made if not call.is_finished]:
            self._running = unfinished[choose(len(unfinished))]
            self._running.step()
        self._running = None
        return [call.result for call in made]


class _Call:
    def __init__(self, call: Callable[[], object]) -> None:
        self.is_finished = False
        self.result: object = None
        self._call = call
        self._go, self._paused = Semaphore(0), Semaphore(0)
        self._thread = Thread(target=self._run)
        self._thread.start()

    def step(self) -> None:
        self._go.release()
        self._paused.acquire()
        if self.is_finished:
            self._thread.join()

    def pause(self) -> None:
        self._paused.release()
        self._go.acquire()

    def _run(self) -> None:
        self._go.acquire()
        try:
            self.result = self._call()
        except Exception as failed:
            self.result = failed
        self.is_finished = True
        self._paused.release()


def every_order() -> Iterator[Callable[[int], int]]:
    """For each run another way to choose, until all have been tried."""
    path: list[tuple[int, int]] = []
    while True:
        taken = 0

        def choose(count: int) -> int:
            nonlocal taken
            if taken == len(path):
                path.append((0, count))
            taken += 1
            return path[taken - 1][0]

        yield choose
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return
        path[-1] = path[-1][0] + 1, path[-1][1]
