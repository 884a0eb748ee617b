"""Programs that a test runs: found or skipped, always ended, and by their process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from unittest import SkipTest

from tests.live.waiting import PATIENCE, until

#: Where ``smartproxy`` and its plugin are found, installed or not.
ROOT = Path(__file__).resolve().parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")


def needed(name):
    """The path of a program.

    :raises SkipTest: where it is not installed.
    """
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise SkipTest(f"{name} is not installed")
    return path


def environment():
    """For a Python program that must find this package, and is started too often to be compiled each time.

    Coverage is not measured in it: tracing would double the CPU time, and several tests are about just that.
    """
    ours = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("COV")
    }
    return {**ours, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def run(*command, within=PATIENCE, **options):
    """Run a program to its end; what it printed and its exit code, as ``CompletedProcess``."""
    given = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, **options}
    return subprocess.run([str(part) for part in command], timeout=within, check=False, **given)


def _listened_on():
    """All TCP ports of this machine with somebody behind them (proc(5): state 0A is LISTEN)."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    fields = [line.split() for line in lines]
    return {int(each[1].rpartition(":")[2], 16) for each in fields if each[3] == "0A"}


def tied(*command):
    """``command``, sent SIGTERM by the kernel if the thread that starts it ends without stopping it (prctl(2)).

    A test that fails stops its programs in its cleanups. This is for a test process that is killed.
    """
    tying = shutil.which("setpriv")
    return [*([tying, "--pdeathsig", "TERM", "--"] if tying else []), *map(str, command)]


class Program:
    """One running program, in a process group of its own. What it prints is in :attr:`log`."""

    def __init__(self, command, log, **options):
        self.name = Path(str(command[0])).name
        self.log = log
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                tied(*command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
                **options,
            )
        self.pid = self._child.pid

    @property
    def printed(self):
        """All that it has printed so far."""
        return self.log.read_text(errors="replace")

    @property
    def ended(self):
        """Its exit code; ``None`` while it runs."""
        return self._child.poll()

    @property
    def rss(self):
        """Resident memory in bytes."""
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Rss:"))

    @property
    def cpu(self):
        """Seconds of CPU used, user and system, to a tick of 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def descriptors(self):
        """How many it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def listens(self, port):
        """Wait until it listens on ``port``. Nobody connects to find out: that would be the first connection.

        :raises AssertionError: where it has ended instead.
        """
        until(lambda: self._listens(port), f"{self.name} listening on {port}")

    def _listens(self, port):
        assert self.ended is None, f"{self.name} ended with {self.ended}:\n{self.printed}"
        return port in _listened_on()

    def signal(self, number=signal.SIGTERM):
        """Send it a signal."""
        self._child.send_signal(number)

    def wait(self, within=PATIENCE):
        """Its exit code, once it has ended."""
        return self._child.wait(within)

    def stop(self):
        """End it, by its own means or not, with all that it has started; its exit code."""
        if self._child.poll() is None:
            self._child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(PATIENCE)
        with contextlib.suppress(ProcessLookupError):  # none is left, as it should be
            os.killpg(self.pid, signal.SIGKILL)
        return self._child.wait()
