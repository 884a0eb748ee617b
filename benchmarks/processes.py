"""The processes that a benchmark starts: their CPU time and memory, and that they always end.

CPU comes from the process's own CPU clock (``clock_getcpuclockid(3)``): user and system time of all its
threads, in nanoseconds. ``/proc/PID/stat`` samples the same in ticks of 10 ms, which is too coarse for a round of
a second. It includes the kernel's work within system calls, so that a proxy that relays in the kernel (splice) is
charged for that, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import NamedTuple, Self

from tests.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
PYTHON = [sys.executable]
_CPUS = sorted(os.sched_getaffinity(0))
#: CPU of the proxies, which nothing else started here uses, so that the scheduler's choices are not measured.
PROXY_CPUS = _CPUS[-1:]
#: CPUs of everything else.
LOAD_CPUS = _CPUS[:-1] or _CPUS
#: Processes that start at the same time; more would only share the CPUs, and one would be waited for longer.
_START_AT_ONCE = 2 * len(_CPUS)

_STARTS_WITHIN = 60.0
_STOPS_WITHIN = 5.0
_LIBC = ctypes.CDLL(None, use_errno=True)


class BenchmarkError(Exception):
    """A process did not start, or an answer is missing or wrong, so that there is no result."""


def environment(checkout: Path) -> dict[str, str]:
    """The variables of a process that imports the packages of the directory ``checkout``."""
    return {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}


class Process:
    """A started process. As a context manager, it ends the process on exit in any case.

    :ivar name: for error messages.
    :param cpus: the CPUs that it runs on.
    :param log: file for its output, whose end is part of the error if it fails.
    :param checkout: the directory whose packages it imports.
    """

    def __init__(
        self, name: str, command: list[str], log: Path, cpus: list[int], checkout: Path = ROOT
    ) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env=environment(checkout),
            )
        os.sched_setaffinity(self._child.pid, cpus)

    def pin(self, cpus: list[int]) -> None:
        """Let it run on ``cpus`` only, with all of its threads."""
        for thread in Path(f"/proc/{self._child.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cpus)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    @property
    def cpu_ns(self) -> int:
        """CPU time used by the process so far, in nanoseconds, and by those that it has started and that run."""
        return sum(map(self._cpu_ns, self.pids))

    @property
    def pids(self) -> list[int]:
        """The process, and those that it has started and that run, and theirs."""
        return [self._child.pid, *_children(self._child.pid)]

    def _cpu_ns(self, pid: int) -> int:
        clock = ctypes.c_int()
        error = _LIBC.clock_getcpuclockid(pid, ctypes.byref(clock))
        if error:
            raise BenchmarkError(f"{self.name} has no CPU clock: {os.strerror(error)}{self.tail()}")
        return time.clock_gettime_ns(clock.value)

    @property
    def rss_bytes(self) -> int:
        """Resident memory."""
        return rss_of(self._child.pid)

    def mapped_files(self) -> set[Path]:
        """The files that the process has mapped into its memory, among them the libraries that it has loaded."""
        lines = Path(f"/proc/{self._child.pid}/maps").read_text().splitlines()
        return {Path(fields[5]) for line in lines if len(fields := line.split(maxsplit=5)) > 5}

    def wait_until_listening(self, host: str, port: int) -> None:
        """Wait until a connection to ``host:port`` succeeds.

        :raises BenchmarkError: if the process ends, or is not reachable within a minute.
        """
        deadline = time.monotonic() + _STARTS_WITHIN
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                raise BenchmarkError(f"{self.name} ended with {self._child.returncode}{self.tail()}")
            with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
                return
            time.sleep(0.05)
        raise BenchmarkError(f"{self.name} does not listen on {host}:{port}{self.tail()}")

    def stop(self) -> None:
        """Send SIGTERM, and SIGKILL if the process has not ended after five seconds."""
        self._child.terminate()
        try:
            self._child.wait(_STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def tail(self) -> str:
        """The last lines of its output, for the message of an error."""
        lines = self._log.read_text(errors="replace").splitlines()[-20:]
        return "".join(f"\n    {line}" for line in lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, BenchmarkError) and self._child.poll() is not None:
            error.add_note(f"{self.name} had ended with {self._child.returncode}{self.tail()}")
        self.stop()


class Start(NamedTuple):
    """A server to start; see :class:`Process`.

    :ivar address: where it listens once it has started.
    """

    name: str
    command: list[str]
    log: Path
    address: tuple[str, int]
    checkout: Path = ROOT


def start_all(starts: Sequence[Start], stack: ExitStack, cpus: list[int]) -> list[Process]:
    """Start servers on all CPUs, some at a time, and then let each run on ``cpus`` only. They end when ``stack`` unwinds."""
    processes: list[Process] = []
    for at in range(0, len(starts), _START_AT_ONCE):
        some = starts[at : at + _START_AT_ONCE]
        processes += [
            stack.enter_context(Process(each.name, each.command, each.log, _CPUS, each.checkout))
            for each in some
        ]
        for process, each in zip(processes[at:], some, strict=True):
            process.wait_until_listening(*each.address)
    for process in processes:
        process.pin(cpus)
    return processes


def rss_of(pid: int) -> int:
    """Resident memory. From ``smaps_rollup``, which is exact; ``VmRSS`` lags by some pages a CPU.

    :raises OSError: where the process has ended.
    """
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    line = next(line for line in text.splitlines() if line.startswith("Rss:"))
    return int(line.split()[1]) * 1024


def _children(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    direct = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [each for child in direct for each in (child, *_children(child))]


def free_port() -> int:
    """A free port that no test and no other benchmark is given."""
    return free_ports(1)[0]


def allow_descriptors(count: int) -> None:
    """Raise the soft limit of open files, which child processes inherit, to the hard limit.

    :raises BenchmarkError: if the hard limit is below ``count``.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchmarkError(f"{count} open files are needed; the hard limit is {hard} (ulimit -Hn)")
    soft = count if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def exit_on_sigterm() -> None:
    """Exit through every ``finally`` on SIGTERM, so that all started processes end."""
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    del frame
    raise SystemExit(128 + number)
