"""The log of other processes, in the supervisor's."""

from __future__ import annotations

from twisted.logger import Logger, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.workers.worker_log import LogSender, RelayedLog, log_sockets


class RelayedLogTests(SynchronousTestCase):
    def setUp(self):
        ours, self.theirs = log_sockets()
        self.addCleanup(self.theirs.close)
        self.relayed = RelayedLog(ours, None)
        self.addCleanup(ours.close)
        self.sender = LogSender(self.theirs, "worker 2")
        self.log = Logger(namespace="smartproxy.session", observer=self.sender)
        self.events = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def relay(self):
        self.relayed.doRead()
        told = [(event["log_namespace"], event["log_level"], formatEvent(event)) for event in self.events]
        self.events.clear()
        return told

    def test_an_event_keeps_its_level_and_namespace(self):
        self.log.warn("target {name} is down", name="{curly}")
        self.assertEqual(
            self.relay(), [("smartproxy.session", LogLevel.warn, "worker 2: target {curly} is down")]
        )

    def test_a_traceback_is_part_of_it(self):
        self.log.failure("it failed", Failure(ValueError("wrong")))
        [(_, level, text)] = self.relay()
        self.assertIs(level, LogLevel.critical)
        self.assertIn("it failed", text)
        self.assertIn("ValueError: wrong", text)

    def test_debug_events_are_not_sent(self):
        self.log.debug("a detail")
        self.assertEqual(self.relay(), [])

    def test_a_long_event_is_cut(self):
        self.log.info("{text}", text="x" * 500_000)
        [(_, _, text)] = self.relay()
        self.assertTrue(50_000 < len(text) < 70_000, len(text))

    def test_the_sender_never_waits_and_tells_how_many_were_dropped(self):
        sent = 0
        while not self.sender._dropped:
            self.log.info("{text}", text="x" * 10_000)
            sent += 1
        self.log.info("dropped, too")
        received = []
        while len(received) < sent - 1:
            told = self.relay()
            self.assertTrue(told)
            received += told
        self.log.info("the next one")
        [(_, _, text)] = self.relay()
        self.assertEqual(text, "worker 2: the next one (2 log events before this one were dropped)")

    def test_a_long_event_of_any_characters_is_cut(self):
        """JSON would escape these, to more than what is read at once: the log of all workers would end there."""
        for character in ("\n", '"', "\u00e9", "\U0001f600", "\udc80"):
            with self.subTest(ascii(character)):
                self.log.info("{text}", text=character * 100_000)
                [(_, _, text)] = self.relay()
                self.assertTrue(len(text) > 14_000, len(text))
        self.log.info("the next one")
        self.assertEqual(self.relay()[0][2], "worker 2: the next one")

    def test_what_it_sends_is_one_datagram(self):
        self.log.info("two\nlines")
        self.assertEqual(
            self.relayed._end.recv(1000), b'["worker 2", "info", "smartproxy.session"]\ntwo\nlines'
        )
