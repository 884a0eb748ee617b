"""Cells: a limit is never exceeded, in whatever order processes write and read, and columns keep their names."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.workers.cells import Cells
from tests.workers.small import small_memory
from tests.workers.stepping import Steps, every_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.workers.cells import Cell


class CellsCase(SynchronousTestCase):
    """A small memory, and the cells of processes in it."""

    def cells(self, count: int, fence: Callable[[], None] | None = None) -> list[Cells]:
        self.memory = small_memory()
        self.addCleanup(self.memory.close)
        self.memory.fence = fence or self.memory.fence
        self.rows = [self.memory.claim() for _ in range(count)]
        return [Cells(self.memory, row) for row in self.rows]


class ClaimTests(CellsCase):
    def test_claims_up_to_the_limit(self) -> None:
        a, b = self.cells(2)
        self.assertEqual([a.live.claim(1, 3), b.live.claim(1, 3), a.live.claim(2, 3)], [True] * 3)
        self.assertFalse(b.live.claim(2, 3))
        self.assertEqual((a.live.total(), a.live.others(), b.live.others()), (3, 1, 2))
        a.live.set(1)
        self.assertTrue(b.live.claim(2, 3))

    def test_limit_zero_is_none(self) -> None:
        (a,) = self.cells(1)
        self.assertTrue(a.live.claim(10**6, 0))

    def admitted(self, claim: Callable[[Cell, int], bool]) -> set[int]:
        """How many of three processes that claim the last two places at once get one, over all orders of their steps."""
        outcomes = set()
        for choose in every_order():
            steps = Steps()
            first, *_ = cells = [one.live for one in self.cells(3, steps.fence)]
            first.set(4)
            calls = [partial(claim, cell, number) for cell, number in zip(cells, (5, 1, 1), strict=True)]
            outcomes.add(admitted := steps.run(calls, choose).count(True))
            self.assertEqual(first.total(), 4 + admitted)
        return outcomes

    def test_no_order_of_claims_exceeds_the_limit(self) -> None:
        self.assertEqual(self.admitted(lambda cell, number: cell.claim(number, 6)), {2})

    def test_to_check_first_would_exceed_it(self) -> None:
        """So the orders that are tried are those that matter."""

        def check_first(cell: Cell, number: int) -> bool:
            has_room = cell.total() < 6
            self.memory.fence()
            if has_room:
                cell.set(number)
            return has_room

        self.assertEqual(self.admitted(check_first), {2, 3})


class ColumnTests(CellsCase):
    def test_a_name_has_the_same_column_in_all_processes(self) -> None:
        """Routes and targets of the same name are different quantities."""
        a, b = self.cells(2)
        for number, name in enumerate((("route", "web"), ("target", "web", "a"), ("route", "mail")), 1):
            a.of(name).set(number)
            self.assertEqual(b.of(name).total(), number)
            self.assertIs(a.of(name), a.of(name))

    def test_released_column_keeps_the_numbers_of_others(self) -> None:
        """Processes reload one after the other."""
        a, b = self.cells(2)
        for one in (a, b):
            one.of(("route", "web")).set(2)
        a.release(("route", "web"))
        self.assertEqual(b.of(("route", "web")).total(), 2)
        self.assertEqual(a.of(("route", "web")).total(), 2, "it has the same column again")

    def test_columns_are_used_again_when_no_process_uses_them(self) -> None:
        """A thousand reloads with other names need no more columns than one."""
        a, b = self.cells(2)
        for number in range(100):
            name = ("route", f"web-{number}")
            a.of(name).set(3)
            self.assertEqual(b.of(name).total(), 3)
            a.release(name)
            self.assertEqual(b.of(name).total(), 0)
            b.release(name)

    def test_a_used_column_is_not_given_to_another_name(self) -> None:
        a, b = self.cells(2)
        kept = a.of(("route", "kept"))
        kept.set(4)
        for number in range(100):
            b.of(("route", f"{number}")).set(1)
            b.release(("route", f"{number}"))
        self.assertEqual((kept.total(), b.of(("route", "kept")).total()), (4, 4))

    def test_columns_of_a_dead_process_can_be_used_again(self) -> None:
        dead, living = self.cells(2)
        for number in range(7):
            dead.of(("route", f"{number}")).set(number)
        self.memory.forget(self.rows[0])
        for number in range(7):
            self.assertEqual(living.of(("route", f"other-{number}")).total(), 0)

    def test_without_a_free_column_a_limit_is_of_one_process(self) -> None:
        """It is held at all, and the operator can read why it is not shared."""
        a, b = self.cells(2)
        for number in range(7):
            a.of(("route", f"{number}"))
        more = b.of(("route", "more"))
        self.assertEqual((more.claim(1, 1), more.claim(2, 1)), (True, False))
        self.assertEqual(more.total(), 1)
        b.release(("route", "more"))
        a.release(("route", "0"))
        b.of(("route", "more")).set(2)
        a.release(("route", "1"))
        self.assertEqual(a.of(("route", "more")).total(), 2)
