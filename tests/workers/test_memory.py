"""The memory that processes share: its layout, and the rows of processes that start and end."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.workers.cells import Cells
from smartproxy.workers.memory import LimitsMemory, Row
from tests.workers.small import small_memory


class LimitsMemoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = small_memory()
        self.addCleanup(self.memory.close)

    def test_an_attached_memory_is_the_same(self) -> None:
        """A process that was exec'd knows nothing but the descriptor."""
        other = LimitsMemory.attach(os.dup(self.memory.fileno()))
        self.addCleanup(other.close)
        self.assertEqual((other.rows, other.columns, other.clients, other.events), (4, 8, 8, 16))
        Cells(self.memory, self.memory.claim()).live.set(7)
        self.assertEqual(Cells(other, other.claim()).live.total(), 7)

    def test_descriptor_of_another_file_is_refused(self) -> None:
        descriptor = os.memfd_create("other")
        self.addCleanup(os.close, descriptor)
        os.ftruncate(descriptor, 1 << 16)
        self.assertRaises(ValueError, LimitsMemory.attach, descriptor)

    def test_events_must_be_a_power_of_two(self) -> None:
        for events in (0, 1, 3, 100):
            self.assertRaises(ValueError, LimitsMemory.create, 1, events=events)

    def test_generations_are_never_used_twice(self) -> None:
        first = self.memory.claim()
        self.memory.forget(first)
        self.assertEqual((first, self.memory.claim()), (Row(0, 1), Row(0, 2)))

    def test_no_more_processes_than_rows(self) -> None:
        for _ in range(4):
            self.memory.claim()
        self.assertRaises(RuntimeError, self.memory.claim)

    def test_forgotten_row_counts_nothing(self) -> None:
        dead, living = Cells(self.memory, row := self.memory.claim()), Cells(self.memory, self.memory.claim())
        for cells in (dead, living):
            cells.live.set(3)
            cells.of(("route", "web")).set(2)
        self.memory.forget(row)
        self.assertEqual((living.live.total(), living.of(("route", "web")).total()), (3, 2))

    def test_forgetting_twice_keeps_the_next_process(self) -> None:
        """The end of a process may be noticed in several ways."""
        row = self.memory.claim()
        self.memory.forget(row)
        following = Cells(self.memory, self.memory.claim())
        following.live.set(5)
        self.memory.forget(row)
        self.assertEqual(following.live.total(), 5)

    def test_default_sizes_cost_no_memory_before_they_are_used(self) -> None:
        memory = LimitsMemory.create(8)
        self.addCleanup(memory.close)
        self.assertLess(os.fstat(memory.fileno()).st_blocks * 512, 1 << 17)
