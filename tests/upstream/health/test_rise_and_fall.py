"""Results of checks in a row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.upstream.health.rise_and_fall import RiseAndFall


class RiseAndFallTests(SynchronousTestCase):
    def run_results(self, results, rise=2, fall=3):
        counted = RiseAndFall(rise, fall)
        shown = []
        for result in results:
            counted.add(passed=result == "+")
            shown.append(("u" if counted.is_up else "d") if not counted.is_between else "?")
        return "".join(shown)

    def test_falls_after_so_many_failures_in_a_row(self):
        self.assertEqual(self.run_results("--+---"), "??u??d")

    def test_rises_after_so_many_passes_in_a_row(self):
        self.assertEqual(self.run_results("---+-++"), "??d?d?u")

    def test_one_is_enough_where_one_is_configured(self):
        self.assertEqual(self.run_results("-+-", rise=1, fall=1), "dud")

    @given(st.text("+-", max_size=40), st.integers(1, 4), st.integers(1, 4))
    def test_only_a_whole_run_changes_the_state(self, results, rise, fall):
        counted = RiseAndFall(rise, fall)
        for number, result in enumerate(results, 1):
            was_up = counted.is_up
            counted.add(passed=result == "+")
            if counted.is_up is not was_up:
                needed = rise if result == "+" else fall
                self.assertEqual(results[number - needed : number], result * needed)
