"""The view of targets in ``smartproxy top``: switching to it, order, filter, and why targets are not up."""

from __future__ import annotations

from tests.cli.test_board import BoardCase
from tests.cli.test_targets import SHOWN, a_target


class TargetViewTests(BoardCase):
    def setUp(self):
        super().setUp()
        self.now = self.now._replace(targets=SHOWN)
        self.board.update(self.now)
        self.press("g")

    def targets(self):
        return [row["name"].partition(".")[0] for row in self.board.visible_targets(self.now)]

    def test_g_switches_to_targets_and_back(self):
        self.assertIn("6 targets▲", self.printed())
        self.assertIn("g routes", self.lines()[-1])
        self.press("g")
        self.assertIn("4 routes", self.printed())
        self.assertIn("g targets", self.lines()[-1])

    def test_targets_are_needed_only_while_they_are_shown(self):
        self.board.update(self.now._replace(targets=None))
        self.assertTrue(self.board.needs_targets)
        self.assertIn("targets: waiting for a reply", self.printed())
        self.press("g")
        self.assertFalse(self.board.needs_targets)

    def test_order_is_that_of_the_configuration_or_of_a_column(self):
        for key, wanted in (
            ("n", ["one", "two", "spare", "10", "10", "app"]),
            ("s", ["two", "10", "spare", "one", "10", "app"]),
            ("a", ["10", "app", "one", "spare", "two", "10"]),
            ("i", ["10", "one", "10", "two", "spare", "app"]),
            ("o", ["10", "one", "two", "spare", "10", "app"]),
            ("r", ["app", "10", "spare", "two", "one", "10"]),
        ):
            self.press(key)
            self.assertEqual(self.targets(), wanted, key)
        self.assertIn("sent▲", self.printed(width=130))

    def test_order_and_filter_of_routes_stay_apart(self):
        self.press("sg")
        self.assertIn("active▼", self.printed())
        self.press("g/DB/\r")
        self.assertEqual(self.targets(), ["two", "spare", "one"])
        self.assertIn("[DB/]", self.lines()[-1])

    def test_why_targets_are_not_up_is_below_the_table(self):
        self.assertIn(
            "\ndb/two is down: connection refused\nweb/10.1.0.12:8080 is ejected: 10.1", self.printed()
        )

    def test_a_thousand_targets_that_are_down_leave_room_for_the_table(self):
        self.now = self.now._replace(
            targets=[a_target("g", f"t{n}", "down", why="refused") for n in range(1000)]
        )
        self.board.update(self.now)
        for height in (12, 24, 50):
            lines = self.lines(height)
            self.assertEqual(len(lines), height)
            shown = sum(line.startswith("g   ") for line in lines)
            self.assertGreaterEqual(shown, height // 2 - 2)
            self.assertIn(f"{shown} of 1000 targets", "\n".join(lines))

    def test_any_size_of_terminal_fits(self):
        for height in (1, 2, 3, 5, 8, 13):
            for width in (1, 5, 20, 59, 60, 80, 130, 200):
                self.assertTrue(self.lines(height, width))

    def test_stale_targets_have_no_colours(self):
        def styles():
            return {str(span.style) for line in self.board.render(100, 40)[3:] for span in line.spans} - {""}

        self.assertEqual(styles(), {"green", "yellow", "red", "bold red"})
        self.board.fail("no proxy", 12.0)
        self.assertEqual(styles(), set())
