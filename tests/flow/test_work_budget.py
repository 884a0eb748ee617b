"""Work that is due at once is spread over event loop iterations."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.flow.work_budget import WorkBudget

if TYPE_CHECKING:
    from collections.abc import Callable


class Iterations:
    """A reactor whose time passes by work alone. What is called later is called in the next iteration."""

    def __init__(self) -> None:
        self.now = 0.0
        self.later: list[Callable[[], object]] = []

    def seconds(self) -> float:
        return self.now

    def callLater(self, _delay: float, call: Callable[[], object]) -> None:
        self.later.append(call)

    def iterate(self) -> None:
        later, self.later = self.later, []
        for call in later:
            call()


class WorkBudgetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Iterations()
        self.budget = WorkBudget(0.010, self.clock)
        self.done: list[str] = []

    def ask(self, name: str, milliseconds: int = 4):
        def work(_: object = None) -> None:
            self.done.append(name)
            self.clock.now += milliseconds / 1000

        turn = self.budget.turn()
        if turn is None:
            work()
        else:
            turn.addCallbacks(work, lambda failure: failure.trap(CancelledError))
        return turn

    def test_work_within_the_budget_is_done_at_once(self) -> None:
        self.assertEqual([self.ask("a"), self.ask("b"), self.ask("c")], [None] * 3)
        self.assertEqual(self.done, ["a", "b", "c"])

    def test_rest_is_done_in_the_next_iterations_in_order(self) -> None:
        for name in "abcdefgh":
            self.ask(name)
        for expected in ("abc", "abcdef", "abcdefgh"):
            self.assertEqual("".join(self.done), expected)
            self.clock.iterate()
        self.assertEqual(len(self.budget), 0)

    def test_work_asked_for_later_does_not_overtake(self) -> None:
        for name in "abcd":
            self.ask(name)
        self.clock.now = 0.0  # there would be time
        self.ask("e")
        self.assertEqual(self.done, ["a", "b", "c"])
        self.clock.iterate()
        self.assertEqual(self.done, ["a", "b", "c", "d", "e"])

    def test_cancelled_work_is_not_done(self) -> None:
        for name in "abc":
            self.ask(name)
        cancelled, _ = self.ask("d"), self.ask("e")
        assert cancelled is not None
        cancelled.cancel()
        self.clock.iterate()
        self.assertEqual(self.done, ["a", "b", "c", "e"])

    def test_work_may_cancel_work_that_waits(self) -> None:
        for name in "abc":
            self.ask(name)
        first, second = self.budget.turn(), self.ask("e")
        assert first is not None
        assert second is not None
        first.addCallback(lambda _: second.cancel())
        self.clock.iterate()
        self.assertEqual((self.done, len(self.budget)), (["a", "b", "c"], 0))

    def test_piece_longer_than_the_budget_is_done_all_the_same(self) -> None:
        self.ask("a", 50)
        self.ask("b", 50)
        self.clock.iterate()
        self.assertEqual(self.done, ["a", "b"])

    def test_idle_budget_has_no_timer(self) -> None:
        self.ask("a")
        self.clock.iterate()
        self.assertEqual(self.clock.later, [])

    def test_work_that_asks_for_more_has_its_turn_once_an_iteration(self) -> None:
        def work(name: str) -> None:
            self.done.append(name)
            self.clock.now += 0.004
            self.budget.call_soon(lambda: work(name))

        for name in "abcd":
            self.budget.call_soon(partial(work, name))
        self.assertEqual(self.done, [])
        for expected in ("abc", "abcdab", "abcdabcda"):
            self.clock.iterate()
            self.assertEqual("".join(self.done), expected)

    def test_work_that_fails_does_not_stop_others(self) -> None:
        self.budget.call_soon(lambda: 1 / 0)
        self.budget.call_soon(lambda: self.done.append("a"))
        self.clock.iterate()
        self.assertEqual(self.done, ["a"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
