"""The screen of ``smartproxy top``: snapshots, sorting, filtering, drawing."""

from __future__ import annotations

from pathlib import Path

from rich.cells import cell_len
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.cli.board import Board
from smartproxy.cli.snapshot import snapshot
from tests.cli.test_targets import SHOWN, a_target, check

SCREENS = Path(__file__).parent / "screens"
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


def a_route(name, active=0, total=0, ports=(80,), targets=(("10.0.0.1", 9000),), received=0, sent=0):
    """A route as the admin API shows it."""
    return {
        "name": name,
        "connections": {"active": active, "total": total},
        "match": {"ports": list(ports)},
        "action": {
            "type": "forward" if targets else "block",
            "targets": [{"host": host, "port": port} for host, port in targets],
        },
        "bytesReceived": received,
        "bytesSent": sent,
    }


ROUTES = {"routes": [a_route("web", 3, 12), a_route("mail", 5, 8), a_route("idle")]}


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

    def lines(self, height=100, width=100):
        """The lines of the screen. Each fits, or the terminal would wrap it and lose the lines below."""
        lines = [line.plain for line in self.board.render(width, height)]
        self.assertLessEqual(len(lines), height)
        self.assertEqual([line for line in lines if cell_len(line) > width], [])
        return lines

    def printed(self, height=100, width=100):
        return "\n".join(self.lines(height, width))


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
    def show(self, routes, **metrics):
        """Show these routes, and these metrics in place of the others."""
        self.now = snapshot(STATUS, {**METRICS, **metrics}, {"routes": routes})
        self.board.update(self.now)

    def styles(self):
        return {str(line.style) for line in self.board.render(100, 40) if "192.0.2.1" in line.plain}

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
            "77 B/s",
            "2.0 MB/s",
        ):
            self.assertIn(part, printed)

    def test_screen_without_a_snapshot_says_connecting_or_why_not(self):
        self.board = Board()
        self.assertIn("connecting", self.printed())
        self.board.fail("no proxy")
        self.assertIn("no proxy", self.printed())

    def test_numbers_are_marked_as_stale_until_the_proxy_replies(self):
        self.assertEqual(self.styles(), {""})
        self.board.fail("no proxy", 12.0)
        first, second, *_ = self.lines()
        self.assertEqual(first, "STALE: retrying after 12 s without a reply: no proxy")
        self.assertEqual(second, "smartproxy running, 12 s ago: 9 active of 40   in 1.5 kB/s   out 2.5 MB/s")
        self.assertEqual(self.styles(), {"dim"})
        self.board.update(self.now)
        self.assertTrue(self.lines()[0].startswith("smartproxy running: 9 active"))
        self.assertEqual(self.styles(), {""})

    def test_age_of_stale_numbers_has_a_fitting_unit(self):
        for age, shown in (
            (0.2, "0 s"),
            (119.0, "119 s"),
            (120.0, "2 min"),
            (7199.0, "119 min"),
            (7200.0, "2 h"),
        ):
            self.board.fail("no proxy", age)
            self.assertIn(f"running, {shown} ago", self.printed())

    def test_two_hundred_routes_use_the_whole_terminal(self):
        connections = {**METRICS["connections"], "byRoute": {}}
        self.show([a_route(f"r{n}", total=n) for n in range(200)], connections=connections)
        for width, height in ((60, 24), (80, 24), (80, 50), (130, 40), (300, 100)):
            lines = self.lines(height, width)
            self.assertEqual(len(lines), height)
            shown = [line for line in lines if line.startswith("r") and line[1].isdigit()]
            self.assertGreaterEqual(len(shown), height - 10)
            self.assertIn(f"{len(shown)} of 200 routes", "\n".join(lines))
            self.assertIn("q quit", lines[-1])
            self.assertIn("192.0.2.1", "\n".join(lines))

    def test_clients_get_the_lines_that_routes_do_not_need(self):
        clients = [{"ip": f"192.0.2.{n}", "connections": 1} for n in range(10)]
        connections = {**METRICS["connections"], "byRoute": {}, "topIPs": clients}
        self.show([a_route("one")], connections=connections)
        self.assertEqual(self.printed(24).count("192.0.2."), 10)
        self.show([a_route(f"r{n}") for n in range(200)], connections=connections)
        self.assertEqual(self.printed(30).count("192.0.2."), 5)

    def test_empty_tables_and_lines_are_hidden(self):
        nothing = {"active": 0, "total": 0, "byRoute": {}, "byIP": {}, "topIPs": []}
        self.show(
            [], connections=nothing, zombies={"full": 0}, rejected={"no_route": 0}, cleanup={"queued": 0}
        )
        first, *rest, last = self.lines()
        self.assertEqual(
            (first, rest), ("smartproxy running: 0 active of 0   in 1.5 kB/s   out 2.5 MB/s", [""])
        )
        self.assertIn("q quit", last)

    def test_filter_without_a_match_says_so(self):
        self.press("/xyz\r")
        self.assertIn("0 routes", self.printed())
        self.assertIn("[xyz]", self.printed(width=60))

    def test_wide_terminals_have_more_columns(self):
        headings = [self.lines(width=width)[2].split()[2:] for width in (60, 99, 100, 110, 130)]
        narrow = ["active▼", "total", "in", "out"]
        wide = [*narrow, "received", "sent"]
        self.assertEqual(headings, [narrow, narrow, wide, [*wide, "ports"], [*wide, "ports", "targets"]])

    def test_long_names_are_cut_in_the_middle(self):
        self.show([a_route("tenant-0001-of-the-eastern-region-frontend")])
        self.assertIn("tenant-0001…n-frontend ", self.printed(width=60))
        self.assertIn("tenant-0001-of-the-eastern-region-frontend ", self.printed(width=80))

    def test_wide_characters_do_not_move_the_columns(self):
        self.show([a_route("ascii"), a_route("\u4e2d\u6587" * 20), a_route("\u4e2d")])
        for width in (60, 61, 80):
            self.assertEqual(
                len({cell_len(line) for line in self.lines(width=width)[2:6]}), 1, self.lines(width=width)
            )

    def test_sorted_column_is_marked_with_its_direction(self):
        for keys, mark in (
            ("t", "total▼"),
            ("r", "total▲"),
            ("n", "routes▲"),
            ("r", "routes▼"),
            ("o", "out▼"),
        ):
            self.press(keys)
            self.assertIn(mark, self.printed())

    def test_removed_route_has_a_dash_for_what_is_not_known(self):
        (old,) = [line for line in self.lines(width=130) if line.startswith("old")]
        self.assertEqual(old.split(), ["old", "1", "-", "-", "-", "-", "-", "-", "-"])

    def test_targets_and_ports_are_shown_as_far_as_they_fit(self):
        targets = [(["10.0.0.1", "::1"], 9), ("callable", "preserve")]
        self.show(
            [
                a_route("a", ports=[80, "8000-8010"], targets=targets),
                a_route("b", ports=[80], targets=()),
                a_route("c", targets=(("target-of-a-long-name.internal", 443),)),
            ],
            connections={**METRICS["connections"], "byRoute": {}},
        )
        self.assertEqual(self.now.routes[0]["targets"], ["10.0.0.1:9", "[::1]:9", "callable:preserve"])
        ends = [" ".join(line.split()[9:]) for line in self.lines(width=130)[3:6]]
        self.assertEqual(
            ends, ["80, 8000-8010 10.0.0.1:9, [::1]:9 +1", "80 block", "80 target-of-a-…nternal:443"]
        )

    def test_any_size_of_terminal_fits(self):
        for height in (1, 2, 3, 5, 8, 13):
            for width in (1, 5, 20, 59):
                self.assertTrue(self.lines(height, width))

    def test_control_characters_are_escaped_on_the_screen(self):
        self.board.update(snapshot({"state": "\x1b[1m"}, METRICS, {"routes": [a_route("a\x1b[2Jb [bold]c")]}))
        printed = self.printed()
        self.assertNotIn("\x1b", printed)
        self.assertIn("a\\x1b[2Jb [bold]c", printed)


class PictureTests(BoardCase):
    """The pictures in ``docs/metrics.rst``. To write them again: ``python -m tests.cli.test_board``."""

    def test_screens_are_those_in_the_documentation(self):
        for name, screen in pictures():
            self.assertEqual(screen, (SCREENS / name).read_text(encoding="utf-8"), name)


def pictures():
    """The name and the text of each picture: a proxy with 200 routes, at three widths; and when it is gone."""
    for width in (60, 80, 130):
        board = Board()
        board.update(busy_proxy())
        yield f"top-{width}.txt", text_of(board, width)
    for width in (60, 80, 130):
        board = Board(targets=True)
        board.update(busy_proxy()._replace(targets=busy_targets()))
        yield f"top-targets-{width}.txt", text_of(board, width)
    for width in (80, 130):
        board = Board()
        board.update(with_requests(busy_proxy()))
        yield f"top-http-{width}.txt", text_of(board, width)
    board = Board()
    board.update(busy_proxy())
    board.fail(
        "cannot connect to the admin listener at http://127.0.0.1:8404 (--admin): Connection refused", 42.0
    )
    yield "top-stale.txt", text_of(board, 80)


def text_of(board, width):
    return "".join(f"{line.plain}\n" for line in board.render(width, 24))


def with_requests(shown):
    """The same with HTTP on every second route."""
    return shown._replace(
        routes=[
            {**route, "requests": {"active": route["active"] // 3, "total": (route["total"] or 0) * 7}}
            if number % 2 == 0
            else route
            for number, route in enumerate(shown.routes)
        ]
    )


def busy_targets():
    """The targets of that proxy: a database with a backup, and a pool with one that is down and one that is drained."""
    pool = [
        a_target("shop", f"10.1.0.{n}:8443", connections=2048 // n, bytesReceived=2_345_678_901 // n,
                 bytesSent=45_678_901_234 // n, lastCheck=check("connected"))
        for n in range(1, 31)
    ]  # fmt: skip
    down = {"effectiveWeight": 0, "connections": 0, "bytesReceived": 0, "bytesSent": 0}
    pool[2] |= down | {"state": "down", "why": "status 503", "lastCheck": check("status 503", ok=False)}
    pool[4] |= down | {"state": "ejected", "why": "10.1.0.5:8443: Connection timed out"}
    pool[6] |= {"state": "drain", "why": "set by hand", "setByHand": True, "effectiveWeight": 0}
    return [*SHOWN[:3], *pool]


def busy_proxy():
    """A proxy with 200 routes of which some are busy; the numbers are made up, and the same each time."""
    names = ["shop", "git", "account", "intranet-eu-central-1-frontend-production", "mail-submission"]
    names += [f"tenant-{n:04}.apps.example.com" for n in range(1, 196)]
    active = {name: 4096 // (n + 2) for n, name in enumerate(names[:40])}
    clients = {"203.0.113.7": 512, "2001:db8:85a3::8a2e:370:7334": 128, "198.51.100.23": 64, "192.0.2.80": 7}
    routes = [
        a_route(
            name,
            active.get(name, 0),
            active.get(name, 0) * 1234,
            [443] if n else [443, "8000-8010"],
            [([f"10.1.{n}.11", f"10.1.{n}.12"], 8443)],
            active.get(name, 0) * 2_345_678,
            active.get(name, 0) * 45_678_901,
        )
        for n, name in enumerate(names)
    ]
    rates = {name: {"in": count * 1234.5, "out": count * 98765.4} for name, count in active.items()}
    metrics = {
        "connections": {
            "active": sum(active.values()),
            "total": 20_467_132,
            "byRoute": active,
            "byIP": clients,
            "topIPs": [{"ip": ip, "connections": count} for ip, count in clients.items()],
        },
        "throughput": {
            **{key: {"in": 15_900_000.0, "out": 1_273_000_000.0} for key in ("instant", "recent", "average")},
            "byRoute": rates,
            "byIP": {ip: {"in": count * 1000.0, "out": count * 80_000.0} for ip, count in clients.items()},
        },
        "zombies": {"full": 0, "half": 1, "stuck": 3},
        "rejected": {"rate_limit": 5121, "ip_blocked": 341, "no_route": 12, "tls_error": 9},
        "cleanup": {"queued": 14},
    }
    return snapshot(STATUS, metrics, {"routes": routes})


if __name__ == "__main__":
    for picture, content in pictures():
        (SCREENS / picture).write_text(content, encoding="utf-8")
