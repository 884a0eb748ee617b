"""How many cores ``workers: auto`` counts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.settings.compile import cores
from smartproxy.settings.compile.cores import usable_cores
from tests.settings.formats import folder


class CoresTests(SynchronousTestCase):
    def setUp(self):
        self.limit = folder(self) / "cpu.max"
        self.patch(cores.os, "sched_getaffinity", lambda _: set(range(8)))

    def with_limit(self, text):
        self.limit.write_text(text)
        return usable_cores(self.limit)

    def test_without_a_limit_all_cores_that_the_process_may_use(self):
        self.assertEqual(usable_cores(self.limit), 8)
        self.assertEqual(self.with_limit("max 100000\n"), 8)

    def test_a_part_of_the_time_is_rounded_up(self):
        found = [
            self.with_limit(f"{quota} 100000\n") for quota in (10_000, 100_000, 150_000, 400_000, 1_600_000)
        ]
        self.assertEqual(found, [1, 1, 2, 4, 8])

    def test_a_file_that_says_something_else_is_ignored(self):
        for text in ("", "x", "1", "1 0", "1 2 3"):
            self.assertEqual(self.with_limit(text), 8)
