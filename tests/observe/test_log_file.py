"""The append-only log file: rotation, full disks, pipes without a reader."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.observe import log_file
from smartproxy.observe.log_file import BATCH, DELAY, INTERVAL, STDOUT, LogFile


class FullDisk:
    """``os.write`` on a disk with ``left`` bytes of free space."""

    def __init__(self, left):
        self.left = left
        self._write = os.write

    def __call__(self, fd, data):
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = data[: self.left]
        self.left -= len(taken)
        return self._write(fd, taken)


class FakeLogger:
    """A logger that stores its events."""

    def __init__(self):
        self.events = []

    def warn(self, _text, **facts):
        self.events.append(facts)


class LogFileCase(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.lost = []
        self.logger = FakeLogger()
        self.patch(log_file, "log", self.logger)
        self.path = Path(self.mktemp())

    def opened(self, path=None):
        file = LogFile(str(path or self.path), self.clock, lambda: self.lost.append(1))
        file.open()
        self.addCleanup(file.close)
        return file

    def write(self, file, *lines):
        """Write each by itself."""
        for line in lines:
            file.add(line)
            file.flush()

    def lines(self, path=None):
        return (path or self.path).read_text().splitlines()


class AddingTests(LogFileCase):
    def test_lines_are_appended_together_after_the_delay(self):
        self.path.write_text("old\n")
        file = self.opened()
        file.add("one")
        self.clock.advance(0.9 * DELAY)
        file.add("two")
        self.assertEqual(self.lines(), ["old"])
        self.clock.advance(0.1 * DELAY)
        self.assertEqual(self.lines(), ["old", "one", "two"])

    def test_full_batch_is_written_at_once(self):
        file = self.opened()
        lines = [str(number) for number in range(BATCH + 1)]
        for line in lines:
            file.add(line)
        self.assertEqual(self.lines(), lines[:BATCH])
        self.clock.advance(DELAY)
        self.assertEqual(self.lines(), lines)

    def test_close_writes_what_waits_and_leaves_no_call(self):
        file = self.opened()
        file.add("one")
        file.close()
        self.assertEqual(self.lines(), ["one"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_new_file_is_not_world_readable(self):
        """It has the addresses of clients."""
        self.opened()
        self.assertEqual(self.path.stat().st_mode & 0o007, 0)

    def test_open_raises_if_the_file_cannot_be_opened(self):
        with self.assertRaises(OSError):
            self.opened(self.path / "below" / "nothing")

    def test_line_after_close_is_dropped_and_counted(self):
        file = self.opened("/dev/null")
        file.close()
        self.write(file, "late", "later")
        self.assertEqual(len(self.lost), 2)


class RotationTests(LogFileCase):
    def test_renamed_file_is_written_until_reopen(self):
        file, moved = self.opened(), Path(self.mktemp())
        self.write(file, "one")
        self.path.rename(moved)
        self.write(file, "two")
        file.reopen()
        self.write(file, "three")
        self.assertEqual((self.lines(moved), self.lines()), (["one", "two"], ["three"]))

    def test_line_that_waits_goes_to_the_file_it_was_added_for(self):
        file, moved = self.opened(), Path(self.mktemp())
        file.add("before")
        self.path.rename(moved)
        file.add("still before")
        file.reopen()
        file.add("after")
        self.clock.advance(DELAY)
        self.assertEqual((self.lines(moved), self.lines()), (["before", "still before"], ["after"]))

    def test_line_that_waits_while_the_file_is_removed_is_kept(self):
        for ended in (lambda file: self.clock.advance(DELAY), LogFile.reopen, LogFile.close):
            with self.subTest(ended=ended):
                self.clock.advance(INTERVAL)
                file = self.opened()
                file.add("one")
                self.path.unlink()
                ended(file)
                self.assertEqual(self.lines(), ["one"])
                self.path.unlink()

    def test_removed_file_is_created_again_within_five_seconds(self):
        file = self.opened()
        self.write(file, "one")
        self.path.unlink()
        self.clock.advance(INTERVAL)
        self.write(file, "two")
        self.assertEqual(self.lines(), ["two"])

    def cut(self, file):
        """Write a line of which the disk takes a part."""
        patched = self.patch(log_file.os, "write", FullDisk(3))
        self.write(file, "a line")
        patched.restore()

    def test_new_file_does_not_begin_with_an_empty_line(self):
        """The line that a full disk has cut is in the former file."""
        for is_removed in (False, True):
            with self.subTest(is_removed=is_removed):
                file = self.opened()
                self.cut(file)
                if is_removed:
                    self.path.unlink()
                    self.clock.advance(INTERVAL)
                else:
                    self.path.rename(self.mktemp())
                    file.reopen()
                self.write(file, "another")
                self.assertEqual(self.path.read_bytes(), b"another\n")
                self.path.unlink()

    def test_file_that_is_opened_after_a_close_is_a_new_one(self):
        file = self.opened()
        self.cut(file)
        file.close()
        self.path.unlink()
        file.open()
        self.write(file, "another")
        self.assertEqual(self.path.read_bytes(), b"another\n")

    def test_line_after_one_that_was_cut_starts_on_its_own_line_after_reopen(self):
        """The file is the same one: the signal to reopen it may come without a rotation."""
        file = self.opened()
        self.cut(file)
        file.reopen()
        self.write(file, "another")
        self.assertEqual(self.path.read_bytes(), b"a l\nanother\n")

    def test_failed_reopen_keeps_the_old_file(self):
        directory = Path(self.mktemp())
        directory.mkdir()
        file = self.opened(directory / "log")
        moved = directory.rename(self.mktemp())
        file.reopen()
        self.write(file, "still here")
        self.assertEqual(self.lines(moved / "log"), ["still here"])
        self.assertEqual((len(self.lost), len(self.logger.events)), (0, 1))

    def test_reopen_leaks_no_descriptor(self):
        file = self.opened()
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(10):
            file.reopen()
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)


class FailureTests(LogFileCase):
    def test_full_disk_counts_every_line_and_warns_per_interval(self):
        file = self.opened()
        self.patch(log_file.os, "write", FullDisk(0))
        for _ in range(100):
            self.write(file, "line")
        self.assertEqual((len(self.lost), len(self.logger.events)), (100, 1))
        self.clock.advance(INTERVAL)
        self.write(file, "line")
        self.assertEqual([event["lost"] for event in self.logger.events], [1, 100])
        self.assertIn("No space left", self.logger.events[1]["why"])

    def test_dropped_lines_are_reported_on_recovery_and_on_close(self):
        file, disk = self.opened(), FullDisk(0)
        self.patch(log_file.os, "write", disk)
        for _ in range(3):
            self.write(file, "line")
        disk.left = 1000
        self.clock.advance(INTERVAL)
        self.write(file, "line")
        self.assertEqual([event["lost"] for event in self.logger.events], [1, 2])
        disk.left = 0
        self.write(file, "line")
        file.close()
        self.assertEqual([event["lost"] for event in self.logger.events], [1, 2, 1])

    def test_line_after_a_partial_write_starts_on_its_own_line(self):
        file, disk = self.opened(), FullDisk(6)
        self.patch(log_file.os, "write", disk)
        self.write(file, "one")
        self.write(file, "two")
        disk.left = 1000
        self.write(file, "three")
        self.write(file, "four")
        self.assertEqual((self.lines(), len(self.lost)), (["one", "tw", "three", "four"], 1))

    def test_lines_of_a_partial_write_are_lost_from_the_torn_one_on(self):
        """Wherever the write ends; and none is empty, or joined with another."""
        for left in range(15):
            with self.subTest(left=left):
                self.path.unlink(missing_ok=True)
                self.lost.clear()
                file, disk = self.opened(), FullDisk(left)
                patched = self.patch(log_file.os, "write", disk)
                for line in ("one", "two", "three"):
                    file.add(line)
                file.flush()
                disk.left = 1000
                self.write(file, "four")
                patched.restore()
                whole = [line for line in ("one", "two", "three", "four") if line in self.lines()]
                self.assertEqual(self.lines()[-1], "four")
                self.assertNotIn("", self.lines())
                self.assertIn(len(self.lost) - (4 - len(whole)), {0, 1} if left in {3, 7, 13} else {0})


class PipeTests(LogFileCase):
    def pipe(self):
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.patch(log_file.os, "dup", lambda _stdout: writing)
        return reading

    def test_dash_writes_to_standard_output(self):
        reading = self.pipe()
        self.write(self.opened(STDOUT), "one")
        self.assertEqual(os.read(reading, 100), b"one\n")

    def test_full_pipe_drops_lines_and_recovers_when_read(self):
        reading = self.pipe()
        file = self.opened(STDOUT)
        for _ in range(200):
            self.write(file, "x" * 1000)
        self.assertGreater(len(self.lost), 100)
        self.assertIn("its reader does not keep up", self.logger.events[0]["why"])
        held = os.read(reading, 1 << 20)
        self.assertEqual(set(held.splitlines()), {b"x" * 1000})
        self.write(file, "again")
        self.assertEqual(os.read(reading, 100), b"again\n")

    def test_pipe_gets_whole_lines_in_atomic_writes(self):
        """What is longer than PIPE_BUF may be mixed with the lines of another process."""
        reading, written = self.pipe(), []
        file = self.opened(STDOUT)
        write = os.write
        self.patch(log_file.os, "write", lambda fd, data: written.append(data) or write(fd, data))
        for size in (1000, 3000, 3095, 1, 4000, 90, 5000, 2):
            file.add("x" * size)
        file.flush()
        self.assertEqual([len(data) for data in written], [4002, 3098, 4092, 3])
        self.assertEqual(os.read(reading, 1 << 20), b"".join(written))
        self.assertEqual(len(self.lost), 1)

    def test_line_longer_than_pipe_buf_is_dropped(self):
        """A pipe could take a part of it and block for the rest."""
        self.pipe()
        self.write(self.opened(STDOUT), "x" * 5000)
        self.assertEqual(len(self.lost), 1)

    def test_closed_pipe_drops_the_line(self):
        reading, writing = os.pipe()
        os.close(reading)
        self.patch(log_file.os, "dup", lambda _stdout: writing)
        self.write(self.opened(STDOUT), "line")
        self.assertEqual(len(self.lost), 1)

    def test_fifo_without_a_reader_does_not_block_open(self):
        os.mkfifo(self.path)
        with self.assertRaises(OSError):
            self.opened()


class InheritedTests(LogFileCase):
    """A file that was opened before the process became a user that may not open it."""

    def setUp(self):
        super().setUp()
        self.before = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.file = LogFile(str(self.path), self.clock, lambda: self.lost.append(1), self.before)
        self.addCleanup(self.file.close)

    def refuse(self):
        def refused(*_):
            raise PermissionError(errno.EACCES, "Permission denied")

        self.patch(log_file, "open_to_append", refused)

    def test_it_is_used_where_the_path_may_not_be_opened(self):
        self.refuse()
        self.file.open()
        self.write(self.file, "one")
        self.assertEqual(self.path.read_text(), "one\n")

    def test_the_path_is_used_where_it_may_be_opened(self):
        """The file may have been rotated since."""
        rotated = self.path.with_suffix(".1")
        self.path.rename(rotated)
        self.file.open()
        self.write(self.file, "one")
        self.assertEqual(self.path.read_text(), "one\n")
        self.assertEqual(rotated.read_text(), "")

    def test_a_rotated_file_that_may_not_be_opened_is_reported(self):
        self.refuse()
        self.file.open()
        self.file.reopen()
        self.assertEqual(len(self.logger.events), 1)
        self.write(self.file, "one")
        self.assertEqual(self.path.read_text(), "one\n")
