"""The machine and the versions of a benchmark run, without which its numbers cannot be compared."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
import sysconfig
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.contestants import haproxy_program


def facts() -> dict[str, str | int]:
    """Facts about this machine and its versions, for JSON."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "python": _python_build(),
        "twisted": version("twisted"),
        "openssl": ssl.OPENSSL_VERSION,
        "haproxy": _haproxy_version(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _python_build() -> str:
    """The version, and whether the interpreter was built with profile-guided optimisation, which is worth 13 to 30 %."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return f"{platform.python_version()} ({'with' if '--enable-optimizations' in options else 'without'} PGO)"


def _haproxy_version() -> str:
    shown = subprocess.run([haproxy_program(), "-v"], capture_output=True, text=True, check=True).stdout
    return shown.split()[2]
