"""The machine and the versions of a benchmark run, without which its numbers cannot be compared."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from benchmarks import pythons
from benchmarks.contestants import haproxy_program
from benchmarks.pythons import INTERPRETED, Build
from benchmarks.series import Workload


def facts(builds: Mapping[str, Build] = MappingProxyType({})) -> dict[str, str | int]:
    """Facts about this machine and its versions, for JSON.

    ``python`` and ``smartproxy`` are those of the column of smartproxy; each of ``builds`` is described under its name.
    """
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "python": pythons.build_of(sys.executable),
        "smartproxy": pythons.kind_of(INTERPRETED),
        **{name: pythons.describe(build) for name, build in builds.items()},
        "twisted": version("twisted"),
        "openssl": ssl.OPENSSL_VERSION,
        "haproxy": _haproxy_version(),
    }


def facts_for(workloads: Iterable[Workload]) -> dict[str, str | int]:
    """The same for a run of these workloads. The builds that they compare are made here: on all CPUs, and before anything is measured."""
    return facts(pythons.others() if any(each.in_builds for each in workloads) else {})


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _haproxy_version() -> str:
    shown = subprocess.run([haproxy_program(), "-v"], capture_output=True, text=True, check=True).stdout
    return shown.split()[2]
