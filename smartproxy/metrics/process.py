"""The metrics of the process: CPU time, memory and descriptors, with the names and meanings of prometheus-client.

They are read when a page is written. A program that embeds the proxy has them from prometheus-client's
``ProcessCollector``, so :class:`~smartproxy.metrics.collector.PrometheusCollector` leaves them out. Where there is no
``/proc``, there are none, as with prometheus-client.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from smartproxy.metrics.family import MetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.metrics.family import Kind

#: Fields of /proc/self/stat (proc(5)) behind the name of the program, which may contain blanks and parentheses.
_UTIME, _STIME, _STARTTIME, _VSIZE, _RSS = 11, 12, 19, 20, 21


def process_families(proc: Path = Path("/proc")) -> Iterator[MetricFamily]:
    """Every metric family of the process that can be read."""
    try:
        fields = (proc / "self/stat").read_text().rpartition(")")[2].split()
        booted = _booted_at((proc / "stat").read_text())
    except (OSError, ValueError):
        return
    ticks = os.sysconf("SC_CLK_TCK")
    started = booted + int(fields[_STARTTIME]) / ticks
    seconds = (int(fields[_UTIME]) + int(fields[_STIME])) / ticks
    yield _one("virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", int(fields[_VSIZE]))
    yield _one(
        "resident_memory_bytes", "gauge", "Resident memory size in bytes.",
        int(fields[_RSS]) * resource.getpagesize(),
    )  # fmt: skip
    yield _one(
        "start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", started
    )
    yield _one("cpu_seconds", "counter", "Total user and system CPU time spent in seconds.", seconds)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY:
        yield _one("max_fds", "gauge", "Maximum number of open file descriptors.", limit)
    yield _one("open_fds", "gauge", "Number of open file descriptors.", _open_fds(proc / "self/fd"))


def _one(name: str, kind: Kind, meaning: str, value: float) -> MetricFamily:
    return MetricFamily(f"process_{name}", kind, meaning, (), [((), value)])


def _booted_at(stat: str) -> int:
    """Seconds since the epoch, from /proc/stat.

    :raises ValueError: if it does not tell.
    """
    for line in stat.splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    raise ValueError("no btime")


def _open_fds(directory: Path) -> int:
    """The number of open descriptors.

    Since Linux 6.2 it is the size of the directory (proc_pid_fd(5)). Before, its entries are counted, which takes 10 ms
    for 20,000.
    """
    return directory.stat().st_size or len(os.listdir(directory))  # noqa: PTH208 - without an object for each
