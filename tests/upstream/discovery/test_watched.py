"""Names that are asked for again and again."""

from __future__ import annotations

from itertools import cycle
from math import inf

from twisted.internet.defer import CancelledError
from twisted.logger import LogLevel, capturedLogs, formatEvent

from smartproxy.errors import LookupFailed
from smartproxy.upstream.discovery.interfaces import Answer
from smartproxy.upstream.discovery.watched import LONGEST_TTL, PATIENCE, USUAL_TTL
from tests.upstream.discovery.discovering import DiscoveryCase


class WatchedNameTests(DiscoveryCase):
    def setUp(self):
        super().setUp()
        self.changes = 0

    def watch(self, name="app.test"):
        self.watched = self.names.use("addresses", name, self.changed)
        self.pass_time(0.2)
        return self.watched

    def changed(self):
        self.changes += 1

    def questions(self, seconds):
        """How often a name is asked for in so many seconds."""
        before = len(self.records.asked)
        self.pass_time(seconds)
        return len(self.records.asked) - before

    def test_name_is_asked_for_again_when_its_answer_is_older_than_its_ttl(self):
        self.has("app.test", "192.0.2.1", ttl=3)
        self.watch()
        self.assertEqual((self.watched.records, self.watched.is_settled), (("192.0.2.1",), True))
        self.has("app.test", "192.0.2.2", ttl=30)
        self.assertEqual(self.questions(2.5), 0)
        self.assertEqual(self.questions(1.0), 1)
        self.assertEqual((self.watched.records, self.changes), (("192.0.2.2",), 2))
        self.assertEqual(self.questions(29), 0)

    def test_ttls_are_bounded(self):
        """0 would ask without end, and a day would hide a change."""
        for ttl, least in (
            (0, 1.0),
            (-5, 1.0),
            (None, USUAL_TTL),
            (1 << 31, LONGEST_TTL),
            (inf, LONGEST_TTL),
        ):
            name = f"ttl{ttl}.test"
            self.has(name, "192.0.2.1", ttl=ttl)
            self.names.use("addresses", name, self.changed)
            self.pass_time(0.2)
            self.assertEqual(self.questions(least - 0.5), 0, ttl)
            self.assertEqual(self.questions(1.0), 1, ttl)
            self.names.release("addresses", name, self.changed)

    def test_same_answer_is_no_change(self):
        self.has("app.test", "192.0.2.1", ttl=1)
        self.watch()
        self.pass_time(5)
        self.assertEqual(self.changes, 1)

    def test_failure_keeps_the_last_answer(self):
        self.has("app.test", "192.0.2.1", ttl=1)
        self.watch()
        del self.records.zone["app.test"]
        with capturedLogs() as events:
            self.pass_time(20)
        self.assertEqual((self.watched.records, self.changes), (("192.0.2.1",), 1))
        lines = [formatEvent(event) for event in events if event["log_level"] is LogLevel.warn]
        self.assertEqual(
            lines[0], "app.test is not found: there is no such name; the last answer is kept (1 records)"
        )
        self.assertLessEqual(len(lines), 4)
        self.has("app.test", "192.0.2.2", ttl=1)
        self.pass_time(6)
        self.assertEqual(self.watched.records, ("192.0.2.2",))

    def test_retries_become_rarer(self):
        self.watch()
        self.assertTrue(self.watched.is_settled)
        asked = self.questions(60)
        self.assertTrue(10 <= asked <= 16, asked)

    def test_clients_wait_for_a_silent_name_for_some_time_only(self):
        self.records.zone["app.test"] = None
        self.watch()
        self.pass_time(PATIENCE - 1)
        self.assertFalse(self.watched.is_settled)
        self.pass_time(2)
        self.assertEqual((self.watched.is_settled, self.changes), (True, 1))
        self.records.waiting["app.test"].callback(Answer(("192.0.2.1",), 5))
        self.assertEqual((self.watched.records, self.changes), (("192.0.2.1",), 2))

    def test_answer_without_records_that_succeeds_is_a_change(self):
        """It is given for a service that is said to be not available."""
        self.has("app.test", "192.0.2.1", ttl=1)
        self.watch()
        self.has("app.test", ttl=1)
        self.pass_time(2)
        self.assertEqual(self.watched.records, ())

    def test_name_is_asked_for_once_for_all_its_users(self):
        self.has("app.test", "192.0.2.1", ttl=100)
        first = self.watch()
        second = self.names.use("addresses", "APP.test", self.changed)
        self.assertIs(first, second)
        self.pass_time(1)
        self.assertEqual(len(self.records.asked), 1)
        self.names.release("addresses", "app.test", self.changed)
        self.assertEqual(len(self.names), 1)
        self.names.release("addresses", "app.test", self.changed)
        self.assertEqual(len(self.names), 0)

    def test_released_name_is_not_asked_for_any_more(self):
        self.records.zone["app.test"] = None
        self.watch()
        self.names.release("addresses", "app.test", self.changed)
        self.pass_time(60)
        self.assertEqual((len(self.records.asked), self.changes), (1, 0))
        self.assertIsNone(self.records.waiting["app.test"].result)
        self.assertEqual(len(self.deadlines), 0)

    def test_cancelled_question_is_tried_again(self):
        self.records.zone["app.test"] = CancelledError()
        self.watch()
        self.has("app.test", "192.0.2.1")
        self.pass_time(2)
        self.assertEqual(self.watched.records, ("192.0.2.1",))

    def test_bug_in_a_lookup_does_not_end_the_lookups(self):
        self.records.zone["app.test"] = ZeroDivisionError("a bug")
        self.watch()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.has("app.test", "192.0.2.1")
        self.pass_time(2)
        self.assertEqual(self.watched.records, ("192.0.2.1",))

    def test_names_are_not_asked_for_in_step(self):
        """Chance lengthens each time by up to a tenth."""
        self.names._random = cycle([0.0, 0.5, 1.0]).__next__
        for number in range(3):
            self.has(f"{number}.test", "192.0.2.1", ttl=20)
            self.names.use("addresses", f"{number}.test", self.changed)
        self.pass_time(0.2)
        counts = [self.questions(0.5) for _ in range(50)]
        self.assertEqual([count for count in counts if count][:3], [1, 1, 1])

    def test_reason_is_shown_in_ascii(self):
        self.records.zone["app.test"] = LookupFailed("n\u00f6\n")
        with capturedLogs() as events:
            self.watch()
        self.assertIn("n\\xf6\\n; there was none before", formatEvent(events[-1]))
