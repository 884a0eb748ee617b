"""The cores that this process may use: as many workers as ``workers: auto`` starts."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path
from typing import Final

#: The CPU time of a control group: microseconds, or ``max``, in a period of so many (cgroup v2, cpu.max).
_LIMIT: Final = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(limit: Path = _LIMIT) -> int:
    """The number of cores, at least 1: of the machine, without those that the process is kept from.

    A container with a part of the time of all cores (``--cpus=1.5``) has as many as it takes to use that up.

    :param limit: the file with the limit of the control group, which need not exist.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = limit.read_text(encoding="ascii").split()
        return max(1, min(cores, ceil(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return cores
