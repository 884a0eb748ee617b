"""A log that takes lines as long as it can, says when it could not, and never stops anybody."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.observe import log_file
from smartproxy.observe.log_file import INTERVAL, STDOUT, LogFile


class FullDisk:
    """``os.write`` of a disk that has so many bytes left."""

    def __init__(self, left):
        self.left = left
        self._write = os.write

    def __call__(self, fd, data):
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = data[: self.left]
        self.left -= len(taken)
        return self._write(fd, taken)


class Said:
    """A logger that keeps its events."""

    def __init__(self):
        self.events = []

    def warn(self, _text, **facts):
        self.events.append(facts)


class LogFileCase(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.lost = []
        self.said = Said()
        self.patch(log_file, "log", self.said)
        self.path = Path(self.mktemp())

    def opened(self, path=None):
        file = LogFile(str(path or self.path), self.clock.seconds, lambda: self.lost.append(1))
        file.open()
        self.addCleanup(file.close)
        return file

    def lines(self, path=None):
        return (path or self.path).read_text().splitlines()


class AddingTests(LogFileCase):
    def test_what_was_there_stays_and_every_line_is_there_at_once(self):
        self.path.write_text("old\n")
        file = self.opened()
        file.add("one")
        self.assertEqual(self.lines(), ["old", "one"])
        file.add("two")
        self.assertEqual(self.lines(), ["old", "one", "two"])

    def test_a_new_file_is_not_for_everybody(self):
        self.opened()
        self.assertEqual(self.path.stat().st_mode & 0o007, 0)

    def test_one_that_cannot_be_opened_at_first_is_an_error(self):
        with self.assertRaises(OSError):
            self.opened(self.path / "below" / "nothing")

    def test_what_is_added_after_the_end_is_lost_and_counted(self):
        file = self.opened("/dev/null")
        file.close()
        file._looked_at = self.clock.seconds()
        file.add("late")
        self.assertEqual(len(self.lost), 1)


class RotationTests(LogFileCase):
    def test_one_that_was_moved_away_is_written_on_until_it_is_reopened(self):
        file, moved = self.opened(), Path(self.mktemp())
        file.add("one")
        self.path.rename(moved)
        file.add("two")
        file.reopen()
        file.add("three")
        self.assertEqual((self.lines(moved), self.lines()), (["one", "two"], ["three"]))

    def test_one_that_was_removed_is_made_anew_within_five_seconds(self):
        file = self.opened()
        file.add("one")
        self.path.unlink()
        self.clock.advance(INTERVAL)
        file.add("two")
        self.assertEqual(self.lines(), ["two"])

    def test_where_there_can_be_no_new_one_the_old_goes_on(self):
        directory = Path(self.mktemp())
        directory.mkdir()
        file = self.opened(directory / "log")
        moved = directory.rename(self.mktemp())
        file.reopen()
        file.add("still here")
        self.assertEqual(self.lines(moved / "log"), ["still here"])
        self.assertEqual((len(self.lost), len(self.said.events)), (0, 1))

    def test_no_descriptor_is_left_behind(self):
        file = self.opened()
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(10):
            file.reopen()
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)


class FailureTests(LogFileCase):
    def test_a_full_disk_is_counted_for_every_line_and_told_once_in_five_seconds(self):
        file = self.opened()
        self.patch(log_file.os, "write", FullDisk(0))
        for _ in range(100):
            file.add("line")
        self.assertEqual((len(self.lost), len(self.said.events)), (100, 1))
        self.clock.advance(INTERVAL)
        file.add("line")
        self.assertEqual([event["lost"] for event in self.said.events], [1, 100])
        self.assertIn("No space left", self.said.events[1]["why"])

    def test_what_was_lost_is_told_when_lines_go_through_again_or_at_the_end(self):
        file, disk = self.opened(), FullDisk(0)
        self.patch(log_file.os, "write", disk)
        for _ in range(3):
            file.add("line")
        disk.left = 1000
        self.clock.advance(INTERVAL)
        file.add("line")
        self.assertEqual([event["lost"] for event in self.said.events], [1, 2])
        disk.left = 0
        file.add("line")
        file.close()
        self.assertEqual([event["lost"] for event in self.said.events], [1, 2, 1])

    def test_half_a_line_does_not_spoil_the_next(self):
        file, disk = self.opened(), FullDisk(6)
        self.patch(log_file.os, "write", disk)
        file.add("one")
        file.add("two")
        disk.left = 1000
        file.add("three")
        file.add("four")
        self.assertEqual((self.lines(), len(self.lost)), (["one", "tw", "three", "four"], 1))


class PipeTests(LogFileCase):
    def pipe(self):
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.patch(log_file.os, "dup", lambda _stdout: writing)
        return reading

    def test_standard_output_gets_lines(self):
        reading = self.pipe()
        self.opened(STDOUT).add("one")
        self.assertEqual(os.read(reading, 100), b"one\n")

    def test_a_pipe_that_nobody_reads_never_blocks_and_goes_on_when_it_is_read(self):
        reading = self.pipe()
        file = self.opened(STDOUT)
        for _ in range(200):
            file.add("x" * 1000)
        self.assertGreater(len(self.lost), 100)
        self.assertIn("its reader does not keep up", self.said.events[0]["why"])
        held = os.read(reading, 1 << 20)
        self.assertEqual(set(held.splitlines()), {b"x" * 1000})
        file.add("again")
        self.assertEqual(os.read(reading, 100), b"again\n")

    def test_a_line_that_a_pipe_may_take_in_parts_is_not_given_to_it(self):
        self.pipe()
        self.opened(STDOUT).add("x" * 5000)
        self.assertEqual(len(self.lost), 1)

    def test_a_pipe_whose_reader_has_gone(self):
        reading, writing = os.pipe()
        os.close(reading)
        self.patch(log_file.os, "dup", lambda _stdout: writing)
        self.opened(STDOUT).add("line")
        self.assertEqual(len(self.lost), 1)

    def test_a_fifo_without_a_reader_is_no_reason_to_wait(self):
        os.mkfifo(self.path)
        with self.assertRaises(OSError):
            self.opened()
