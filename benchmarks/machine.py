"""The machine and the versions of a benchmark run, without which its numbers cannot be compared."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks import pythons
from benchmarks.contestants import haproxy_program
from benchmarks.processes import ROOT


def facts() -> dict[str, str | int]:
    """Facts about this machine and its versions, for JSON."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "python": pythons.build_of(sys.executable),
        "debian": pythons.build_of(str(pythons.DEBIAN)) if pythons.is_ready() else "",
        "smartproxy": _own_build(),
        "twisted": version("twisted"),
        "openssl": ssl.OPENSSL_VERSION,
        "haproxy": _haproxy_version(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _own_build() -> str:
    """Whether the hot path of this checkout was compiled with mypyc."""
    return "compiled" if any((ROOT / "smartproxy").rglob("*.so")) else "interpreted"


def _haproxy_version() -> str:
    shown = subprocess.run([haproxy_program(), "-v"], capture_output=True, text=True, check=True).stdout
    return shown.split()[2]
