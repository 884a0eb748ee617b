"""The log of refusals: the first at once, then one line per reason and five seconds."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import RejectReason
from smartproxy.observe.refusal_log import INTERVAL, RefusalLog

BLOCKED = RejectReason.IP_BLOCKED
LIMIT = RejectReason.GLOBAL_LIMIT
ABOUT = "listener :80"


class RefusalLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[dict] = []
        self.log = RefusalLog(self.clock.seconds, Logger("test", observer=self.events.append))

    def lines(self) -> list[str]:
        lines = [formatEvent(event) for event in self.events]
        self.events.clear()
        return lines

    def test_first_refusal_is_logged_at_once(self) -> None:
        self.log.note(BLOCKED, "192.0.2.1", ABOUT)
        self.assertEqual(self.events[0]["log_level"], LogLevel.warn)
        self.assertEqual(self.lines(), ["refused 1 connection: ip_blocked (192.0.2.1): listener :80"])

    def test_what_is_known_of_the_last_one_follows_the_addresses(self) -> None:
        self.log.note(BLOCKED, "192.0.2.1", "listener :80: first")
        self.assertEqual(self.lines(), ["refused 1 connection: ip_blocked (192.0.2.1): listener :80: first"])
        for about in ("listener :81: second", "listener :82: last\n\x1b" + "x" * 2000):
            self.log.note(BLOCKED, "192.0.2.1", about)
        self.log.flush(everything=True)
        (line,) = self.lines()
        self.assertTrue(line.isprintable() and line.isascii(), line)
        self.assertIn("(192.0.2.1): listener :82: last\\n\\x1bxxx", line)
        self.assertLess(len(line), 1200)

    def test_further_refusals_are_one_line_after_five_seconds(self) -> None:
        for _ in range(1001):
            self.log.note(BLOCKED, "192.0.2.1", ABOUT)
        self.lines()
        self.clock.advance(INTERVAL - 0.5)
        self.log.flush()
        self.assertEqual(self.lines(), [])
        self.clock.advance(0.5)
        self.log.flush()
        self.assertEqual(
            self.lines(), ["refused 1000 connections in 5.0 s: ip_blocked (192.0.2.1): listener :80"]
        )

    def test_flood_is_one_line_per_five_seconds(self) -> None:
        for _ in range(600):
            self.log.note(BLOCKED, "192.0.2.1", ABOUT)
            self.clock.advance(0.1)
            self.log.flush()
        self.assertLessEqual(len(self.lines()), 1 + 60 / INTERVAL)

    def test_every_refusal_is_logged_exactly_once(self) -> None:
        for number in range(217):
            self.log.note(BLOCKED, "192.0.2.1", ABOUT)
            self.clock.advance(0.4)
            if number % 3 == 0:
                self.log.flush()
        self.log.flush(everything=True)
        self.assertEqual(sum(event.get("count", 1) for event in self.events), 217)

    def test_late_flush_does_not_delay_the_line(self) -> None:
        self.log.note(BLOCKED, "192.0.2.1", ABOUT)
        self.lines()
        self.clock.advance(INTERVAL)
        self.log.note(BLOCKED, "192.0.2.1", ABOUT)
        self.assertEqual(
            self.lines(), ["refused 1 connection in 5.0 s: ip_blocked (192.0.2.1): listener :80"]
        )

    def test_reason_is_logged_at_once_again_after_an_interval(self) -> None:
        self.log.note(BLOCKED, "192.0.2.1", ABOUT)
        self.clock.advance(INTERVAL)
        self.log.flush()
        self.lines()
        self.log.note(BLOCKED, "192.0.2.2", ABOUT)
        self.assertEqual(self.lines(), ["refused 1 connection: ip_blocked (192.0.2.2): listener :80"])

    def test_reasons_are_limited_independently(self) -> None:
        self.log.note(BLOCKED, "192.0.2.1", ABOUT)
        self.log.note(LIMIT, "192.0.2.1", ABOUT)
        self.assertEqual(len(self.lines()), 2)

    def test_flush_of_everything_logs_pending_refusals(self) -> None:
        self.log.note(BLOCKED, "192.0.2.1", ABOUT)
        self.log.note(BLOCKED, "192.0.2.2", ABOUT)
        self.lines()
        self.clock.advance(1)
        self.log.flush(everything=True)
        self.assertEqual(
            self.lines(), ["refused 1 connection in 1.0 s: ip_blocked (192.0.2.2): listener :80"]
        )

    def test_line_names_three_addresses_and_an_ellipsis(self) -> None:
        for number in range(1, 10):
            self.log.note(BLOCKED, f"192.0.2.{number}", ABOUT)
        self.lines()
        self.log.flush(everything=True)
        (line,) = self.lines()
        self.assertTrue(line.endswith("(192.0.2.2, 192.0.2.3, 192.0.2.4, ...): listener :80"), line)

    def test_invalid_address_is_truncated_and_escaped(self) -> None:
        self.log.note(BLOCKED, "\r\nforged: \x1b[31m{reason}\0é" + "x" * 1000, ABOUT)
        (line,) = self.lines()
        self.assertLess(len(line), 300)
        self.assertTrue(line.isprintable() and line.isascii(), line)
        self.assertIn("\\r\\nforged: \\x1b[31m{reason}\\x00\\xe9", line)
