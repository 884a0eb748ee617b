"""How a failed start is reported. ``tests/live/test_start_failures.py`` does it with twistd and its forks."""

from __future__ import annotations

import os
import sys
from io import StringIO

from twisted.logger import Logger, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.proxy.start_report import StartReport
from tests.settings.formats import folder


class StartReportTests(SynchronousTestCase):
    def setUp(self):
        self.pid_file = folder(self) / "twistd.pid"
        self.pid_file.write_text(str(os.getpid()))
        self.printed = StringIO()
        self.patch(sys, "__stderr__", self.printed)
        self.patch(sys, "excepthook", lambda _kind, raised, _where: self.unhandled.append(raised))
        self.unhandled = []
        self.forks = []
        self.patch(os, "register_at_fork", lambda *, after_in_parent: self.forks.append(after_in_parent))

    def armed(self, *, daemon=False):
        report = StartReport(str(self.pid_file), daemon=daemon)
        report.arm()
        self.addCleanup(report.succeed)
        return report

    def forked(self, report):
        """Continue as the daemon: another process than the one that was started. The result returns as the first."""
        first = os.getpid()
        self.patch(os, "getpid", lambda: first + 1)
        reader, writer = report._pipe
        held = os.dup(reader)

        def first_process():
            self.patch(os, "getpid", lambda: first)
            report._pipe = (held, os.open(os.devnull, os.O_RDONLY))
            ended = []
            self.patch(os, "_exit", ended.append)
            self.forks[0]()
            return ended

        del writer
        return first_process

    def test_failure_in_the_foreground_prints_and_exits(self):
        report = self.armed()
        wrong = self.assertRaises(SystemExit, report.fail, 3, "one", "two")
        self.assertEqual((wrong.code, self.printed.getvalue()), (3, "one\ntwo\n"))
        self.assertFalse(self.pid_file.exists())

    def test_pid_file_of_another_process_stays(self):
        self.pid_file.write_text("1")
        self.assertRaises(SystemExit, self.armed().fail, 3, "one")
        self.assertTrue(self.pid_file.exists())

    def test_failure_of_a_daemon_is_logged_and_told_to_the_first_process(self):
        report = self.armed(daemon=True)
        first = self.forked(report)
        with capturedLogs() as events:
            self.assertRaises(SystemExit, report.fail, 3, "one", "two")
        self.assertEqual([formatEvent(event) for event in events], ["cannot start: one", "cannot start: two"])
        self.assertEqual(self.printed.getvalue(), "")
        self.assertEqual(first(), [3])
        self.assertEqual(self.printed.getvalue(), "one\ntwo\n")

    def test_success_of_a_daemon_lets_the_first_process_go_on(self):
        report = self.armed(daemon=True)
        first = self.forked(report)
        report.succeed()
        self.assertEqual((first(), self.printed.getvalue()), ([], ""))
        self.assertTrue(self.pid_file.exists())

    def test_daemon_that_is_killed_is_reported_and_its_pid_file_removed(self):
        report = self.armed(daemon=True)
        first = self.forked(report)
        self.pid_file.write_text("4711")
        for end in report._pipe:
            os.close(end)
        self.assertEqual(first(), [1])
        self.assertIn("the process ended before it was running", self.printed.getvalue())
        self.assertFalse(self.pid_file.exists())

    def test_error_of_the_system_is_one_line_without_a_traceback(self):
        self.armed()
        wrong = PermissionError(13, "Permission denied", "/x.pid")
        sys.excepthook(type(wrong), wrong, None)
        self.assertEqual(
            self.printed.getvalue(),
            "twistd smartproxy: cannot start: [Errno 13] Permission denied: '/x.pid'\n",
        )
        self.assertEqual((self.unhandled, self.pid_file.exists()), ([], False))

    def test_interrupt_is_one_line_without_a_traceback(self):
        self.armed()
        sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
        self.assertEqual(self.printed.getvalue(), "twistd smartproxy: cannot start: interrupted\n")
        self.assertEqual((self.unhandled, self.pid_file.exists()), ([], False))

    def test_bug_keeps_its_traceback(self):
        """On standard error, and in the log of a daemon, whose standard error is closed."""
        wrong = ValueError("a bug")
        for daemon in (False, True):
            report = self.armed(daemon=daemon)
            if daemon:
                self.forked(report)
            with capturedLogs() as events:
                sys.excepthook(ValueError, wrong, None)
            self.assertEqual(len(events), int(daemon))
        self.assertEqual(self.unhandled, [wrong, wrong])

    def test_exit_of_twistd_is_reported_with_what_it_has_logged(self):
        """It logs why it may not become another user, and calls ``sys.exit``."""
        report = self.armed()
        Logger().info("failed to set uid/gid 0/0: Operation not permitted")
        report._on_exit()
        self.assertEqual(
            self.printed.getvalue(),
            "twistd smartproxy: cannot start: failed to set uid/gid 0/0: Operation not permitted\n",
        )

    def test_succeeded_start_leaves_the_interpreter_as_it_was(self):
        before = sys.excepthook
        report = self.armed()
        self.assertIsNot(sys.excepthook, before)
        report.succeed()
        self.assertIs(sys.excepthook, before)
        report.succeed()
        self.assertTrue(self.pid_file.exists())

    def test_fork_of_a_running_proxy_does_not_wait(self):
        report = self.armed(daemon=True)
        report.succeed()
        self.forks[0]()
        self.assertEqual(self.printed.getvalue(), "")
