"""The processes that a benchmark starts: what each has cost, how large it is, and that it always ends.

CPU comes from the process's own CPU clock (``clock_getcpuclockid(3)``): user and system time of all its
threads, in nanoseconds. ``/proc/PID/stat`` counts the same in ticks of 10 ms, sampled, which is too coarse
for a round of a second. Work that the kernel does for a socket within a system call is in it, so that a
proxy which hands its bytes to the kernel (splice) pays for that here, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
PYTHON = [sys.executable]
_CPUS = sorted(os.sched_getaffinity(0))
#: Where proxies run: on one CPU, and alone there, so that the scheduler's choices are not measured.
PROXY_CPUS = _CPUS[-1:]
#: Where everything else runs.
LOAD_CPUS = _CPUS[:-1] or _CPUS

_STARTS_WITHIN = 60.0
_STOPS_WITHIN = 5.0
_LIBC = ctypes.CDLL(None, use_errno=True)


class BenchmarkError(Exception):
    """A process did not start, or an answer did not come as it must: there is no number to report."""


class Process:
    """One process that we started. A context manager: leaving it ends the process, whatever happened.

    :ivar name: for messages.
    :param cpus: where it runs.
    :param log: gets what it prints; the end of that stands in the error where it fails.
    """

    def __init__(self, name: str, command: list[str], log: Path, cpus: list[int]) -> None:
        self.name = name
        self._log = log
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env=environment,
            )
        os.sched_setaffinity(self._child.pid, cpus)

    @property
    def cpu_ns(self) -> int:
        """CPU time that the process has used so far, in nanoseconds."""
        clock = ctypes.c_int()
        error = _LIBC.clock_getcpuclockid(self._child.pid, ctypes.byref(clock))
        if error:
            raise BenchmarkError(f"{self.name} has no CPU clock: {os.strerror(error)}{self._tail()}")
        return time.clock_gettime_ns(clock.value)

    @property
    def rss_bytes(self) -> int:
        """Resident memory. From ``smaps_rollup``, which is exact; ``VmRSS`` lags by some pages a CPU."""
        text = Path(f"/proc/{self._child.pid}/smaps_rollup").read_text()
        line = next(line for line in text.splitlines() if line.startswith("Rss:"))
        return int(line.split()[1]) * 1024

    def wait_until_listening(self, host: str, port: int) -> None:
        """:raises BenchmarkError: where the process ends or is not reachable within a minute."""
        deadline = time.monotonic() + _STARTS_WITHIN
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                raise BenchmarkError(f"{self.name} ended with {self._child.returncode}{self._tail()}")
            with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
                return
            time.sleep(0.05)
        raise BenchmarkError(f"{self.name} does not listen on {host}:{port}{self._tail()}")

    def stop(self) -> None:
        """Ask it to end; make it end after five seconds."""
        self._child.terminate()
        try:
            self._child.wait(_STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _tail(self) -> str:
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
            error.add_note(f"{self.name} had ended with {self._child.returncode}{self._tail()}")
        self.stop()


def free_port() -> int:
    """A port that nobody listens on, below the range from which the kernel takes ports to dial from."""
    lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = random.sample(range(10_000, lowest_ephemeral), 100)
    for port in candidates:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port
    raise BenchmarkError("none of a hundred ports is free")


def allow_descriptors(count: int) -> None:
    """Raise the soft limit of open files, which children inherit, to the hard one.

    :raises BenchmarkError: where that is below ``count``.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchmarkError(f"{count} open files are needed; the hard limit is {hard} (ulimit -Hn)")
    soft = count if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
