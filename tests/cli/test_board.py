"""The screen of ``smartproxy top``: snapshots, sorting, filtering, drawing."""

from __future__ import annotations

import io

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.cli.board import Board, snapshot

RATE = {"in": 0.0, "out": 0.0}
STATUS = {"state": "running"}
METRICS = {
    "connections": {
        "active": 9,
        "total": 40,
        "byRoute": {"web": 3, "mail": 5, "old": 1},
        "byIP": {"192.0.2.1": 9},
        "topIPs": [{"ip": "192.0.2.1", "connections": 9}],
    },
    "throughput": {
        "instant": RATE,
        "recent": {"in": 1500.0, "out": 2_500_000.0},
        "average": RATE,
        "byRoute": {"web": {"in": 1500.0, "out": 10.0}, "mail": {"in": 5.0, "out": 2_000_000.0}},
        "byIP": {"192.0.2.1": {"in": 77.0, "out": 0.0}},
    },
    "zombies": {"full": 0, "half": 2, "stuck": 7},
    "rejected": {"no_route": 4, "ip_blocked": 0},
    "cleanup": {"queued": 6, "batches": 1, "cleaned": 100},
}
ROUTES = {
    "routes": [
        {"name": "web", "connections": {"active": 3, "total": 12}},
        {"name": "mail", "connections": {"active": 5, "total": 8}},
        {"name": "idle", "connections": {"active": 0, "total": 0}},
    ]
}


class BoardCase(SynchronousTestCase):
    def setUp(self):
        self.now = snapshot(STATUS, METRICS, ROUTES)
        self.board = Board()
        self.board.update(self.now)

    def press(self, keys):
        for key in keys:
            self.board.press(key)

    def names(self):
        return [route["name"] for route in self.board.visible_routes(self.now)]

    def printed(self, height=100, width=100):
        console = Console(file=io.StringIO(), width=width, height=height)
        console.print(self.board.render(height))
        return console.file.getvalue()


class SnapshotTests(BoardCase):
    def test_removed_route_is_shown_while_it_has_connections(self):
        self.assertEqual(
            {route["name"]: (route["active"], route["total"]) for route in self.now.routes},
            {"web": (3, 12), "mail": (5, 8), "idle": (0, 0), "old": (1, None)},
        )

    def test_routes_and_clients_have_their_rates(self):
        rates = {route["name"]: (route["in"], route["out"]) for route in self.now.routes}
        self.assertEqual((rates["web"], rates["idle"]), ((1500.0, 10.0), (0.0, 0.0)))
        self.assertEqual(self.now.clients, [{"ip": "192.0.2.1", "active": 9, "in": 77.0, "out": 0.0}])

    def test_reject_reasons_with_zero_are_left_out(self):
        self.assertEqual(self.now.rejected, {"no_route": 4})


class SortingTests(BoardCase):
    def test_routes_are_sorted_by_active_connections_by_default(self):
        self.assertEqual(self.names(), ["mail", "web", "old", "idle"])

    def test_each_column_has_a_sort_key(self):
        for key, wanted in (
            ("n", ["idle", "mail", "old", "web"]),
            ("t", ["web", "mail", "idle", "old"]),
            ("i", ["web", "mail", "idle", "old"]),
            ("o", ["mail", "web", "idle", "old"]),
            ("a", ["mail", "web", "old", "idle"]),
        ):
            self.press(key)
            self.assertEqual(self.names(), wanted, key)

    def test_r_reverses_the_order(self):
        self.press("r")
        self.assertEqual(self.names(), ["idle", "old", "web", "mail"])
        self.press("r")
        self.assertEqual(self.names(), ["mail", "web", "old", "idle"])


class FilterTests(BoardCase):
    def test_filter_takes_effect_while_typed(self):
        self.press("/l")
        self.assertEqual(self.names(), ["mail", "old", "idle"])
        self.press("D")
        self.assertEqual(self.names(), ["old"])
        self.press("\x7f")
        self.assertEqual(self.names(), ["mail", "old", "idle"])

    def test_command_keys_are_text_while_the_filter_is_typed(self):
        self.press("/qanr")
        self.assertEqual((self.board.has_quit, self.names()), (False, []))

    def test_enter_keeps_the_filter_and_escape_clears_it(self):
        self.press("/web\rn")
        self.assertEqual(self.names(), ["web"])
        self.press("/mail\x1bn")
        self.assertEqual(len(self.names()), 4)

    def test_control_characters_are_ignored_in_the_filter(self):
        self.press("/w\x00\x01eb")
        self.assertEqual(self.names(), ["web"])


class RenderTests(BoardCase):
    def test_screen_has_routes_clients_zombies_refusals_and_queue(self):
        printed = self.printed()
        for part in (
            "9 active of 40",
            "in 1.5 kB/s",
            "out 2.5 MB/s",
            "zombies: 0 full, 2 half, 7 stuck",
            "refused: 4 no_route",
            "waiting for clean-up: 6",
            "192.0.2.1",
            "77 bytes/s",
            "2.0 MB/s",
        ):
            self.assertIn(part, printed)

    def test_screen_without_a_snapshot_says_connecting_or_why_not(self):
        self.board = Board()
        self.assertIn("connecting", self.printed())
        self.board.fail("no proxy")
        self.assertIn("no proxy", self.printed())

    def test_last_snapshot_stays_while_the_proxy_does_not_reply(self):
        self.board.fail("no proxy")
        self.assertIn("no proxy; retrying", self.printed())
        self.assertIn("9 active of 40", self.printed())
        self.board.update(self.now)
        self.assertNotIn("no proxy", self.printed())

    def test_thousand_routes_fit_on_the_terminal(self):
        routes = {"routes": [{"name": f"r{n}", "connections": {"total": n}} for n in range(1000)]}
        self.now = snapshot(STATUS, METRICS, routes)
        self.board.update(self.now)
        for height in (24, 60):
            printed = self.printed(height)
            self.assertLessEqual(len(printed.splitlines()), height)
            self.assertIn("q quit", printed)
            self.assertIn("more", printed)

    def test_tiny_terminal_does_not_raise(self):
        self.assertTrue(self.printed(height=1, width=20))

    def test_control_characters_are_escaped_on_the_screen(self):
        routes = {"routes": [{"name": "a\x1b[2Jb [bold]c", "connections": {"total": 1}}]}
        self.board.update(snapshot({"state": "\x1b[1m"}, METRICS, routes))
        printed = self.printed()
        self.assertNotIn("\x1b", printed)
        self.assertIn("a\\x1b[2Jb [bold]c", printed)
