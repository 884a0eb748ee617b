"""Rows of the memory for limits, until their processes have exited."""

from __future__ import annotations

import signal
from types import SimpleNamespace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import WorkerFailed
from smartproxy.workers import process_rows
from smartproxy.workers.process_rows import EXIT, ProcessRows
from tests.workers.small import small_memory


class ProcessRowsTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.memory = small_memory(1)
        self.addCleanup(self.memory.close)
        self.rows = ProcessRows(self.memory, self.clock)
        self.nursery = SimpleNamespace(is_running=True)
        self.killed = []
        self.patch(process_rows.os, "kill", lambda *signalled: self.killed.append(signalled))
        self.rows.has(4711, self.rows.claim(), self.nursery)

    def is_free(self):
        try:
            self.rows.give_back(self.rows.claim())
        except WorkerFailed:
            return False
        return True

    def test_a_row_is_free_when_its_process_has_exited(self):
        self.assertFalse(self.is_free())
        self.rows.closed(4711)
        self.assertFalse(self.is_free())
        self.rows.exited(4711)
        self.assertTrue(self.is_free())
        self.clock.advance(EXIT)
        self.assertEqual(self.killed, [])

    def test_a_process_that_does_not_exit_is_killed(self):
        self.rows.closed(4711)
        self.clock.advance(EXIT)
        self.assertEqual(self.killed, [(4711, signal.SIGKILL)])
        self.assertFalse(self.is_free())

    def test_the_process_that_would_report_the_end_has_ended(self):
        """Before or after the channel of the worker was closed."""
        for is_living in (False, True):
            with self.subTest(f"living: {is_living}"):
                self.nursery.is_running = False
                self.rows.nursery_lost(self.nursery, {4711} if is_living else set())
                if is_living:
                    self.clock.advance(EXIT)
                    self.assertFalse(self.is_free())
                    self.rows.closed(4711)
                self.clock.advance(EXIT)
                self.assertTrue(self.is_free())
                self.rows.has(4711, self.rows.claim(), self.nursery)
        self.assertEqual(self.killed, [])
