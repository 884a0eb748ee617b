"""The log of refusals: the first at once, then one line per reason and five seconds."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import RejectReason
from smartproxy.observe.refusal_log import INTERVAL, RefusalLog

BLOCKED = RejectReason.IP_BLOCKED
LIMIT = RejectReason.GLOBAL_LIMIT


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
        self.log.note(BLOCKED, "192.0.2.1")
        self.assertEqual(self.events[0]["log_level"], LogLevel.warn)
        self.assertEqual(self.lines(), ["refused 1 connection: ip_blocked (192.0.2.1)"])

    def test_detail_follows_the_addresses(self) -> None:
        """The detail of the first refusal at once; of those that follow the last one given, escaped and truncated."""
        self.log.note(BLOCKED, "192.0.2.1", "10.0.0.1:80: refused")
        self.assertEqual(self.lines(), ["refused 1 connection: ip_blocked (192.0.2.1): 10.0.0.1:80: refused"])
        for detail in ("first", "last\n" + "x" * 1000, ""):
            self.log.note(BLOCKED, "192.0.2.1", detail)
        self.log.flush(everything=True)
        (line,) = self.lines()
        self.assertTrue(line.endswith("(192.0.2.1): last\\n" + "x" * 195), line)

    def test_further_refusals_are_one_line_after_five_seconds(self) -> None:
        for _ in range(1001):
            self.log.note(BLOCKED, "192.0.2.1")
        self.lines()
        self.clock.advance(INTERVAL - 0.5)
        self.log.flush()
        self.assertEqual(self.lines(), [])
        self.clock.advance(0.5)
        self.log.flush()
        self.assertEqual(self.lines(), ["refused 1000 connections in 5.0 s: ip_blocked (192.0.2.1)"])

    def test_flood_is_one_line_per_five_seconds(self) -> None:
        for _ in range(600):
            self.log.note(BLOCKED, "192.0.2.1")
            self.clock.advance(0.1)
            self.log.flush()
        self.assertLessEqual(len(self.lines()), 1 + 60 / INTERVAL)

    def test_every_refusal_is_logged_exactly_once(self) -> None:
        for number in range(217):
            self.log.note(BLOCKED, "192.0.2.1")
            self.clock.advance(0.4)
            if number % 3 == 0:
                self.log.flush()
        self.log.flush(everything=True)
        self.assertEqual(sum(event.get("count", 1) for event in self.events), 217)

    def test_late_flush_does_not_delay_the_line(self) -> None:
        self.log.note(BLOCKED, "192.0.2.1")
        self.lines()
        self.clock.advance(INTERVAL)
        self.log.note(BLOCKED, "192.0.2.1")
        self.assertEqual(self.lines(), ["refused 1 connection in 5.0 s: ip_blocked (192.0.2.1)"])

    def test_reason_is_logged_at_once_again_after_an_interval(self) -> None:
        self.log.note(BLOCKED, "192.0.2.1")
        self.clock.advance(INTERVAL)
        self.log.flush()
        self.lines()
        self.log.note(BLOCKED, "192.0.2.2")
        self.assertEqual(self.lines(), ["refused 1 connection: ip_blocked (192.0.2.2)"])

    def test_reasons_are_limited_independently(self) -> None:
        self.log.note(BLOCKED, "192.0.2.1")
        self.log.note(LIMIT, "192.0.2.1")
        self.assertEqual(len(self.lines()), 2)

    def test_flush_of_everything_logs_pending_refusals(self) -> None:
        self.log.note(BLOCKED, "192.0.2.1")
        self.log.note(BLOCKED, "192.0.2.2")
        self.lines()
        self.clock.advance(1)
        self.log.flush(everything=True)
        self.assertEqual(self.lines(), ["refused 1 connection in 1.0 s: ip_blocked (192.0.2.2)"])

    def test_line_names_three_addresses_and_an_ellipsis(self) -> None:
        for number in range(1, 10):
            self.log.note(BLOCKED, f"192.0.2.{number}")
        self.lines()
        self.log.flush(everything=True)
        (line,) = self.lines()
        self.assertTrue(line.endswith("(192.0.2.2, 192.0.2.3, 192.0.2.4, ...)"), line)

    def test_invalid_address_is_truncated_and_escaped(self) -> None:
        self.log.note(BLOCKED, "\r\nforged: \x1b[31m{reason}\0é" + "x" * 1000)
        (line,) = self.lines()
        self.assertLess(len(line), 300)
        self.assertTrue(line.isprintable() and line.isascii(), line)
        self.assertIn("\\r\\nforged: \\x1b[31m{reason}\\x00\\xe9", line)
