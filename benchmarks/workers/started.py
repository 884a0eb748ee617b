"""Starts a proxy on all CPUs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contestants import LISTEN_ON
from benchmarks.processes import LOAD_CPUS, PROXY_CPUS, PYTHON, Process

_ALL_CPUS = sorted({*PROXY_CPUS, *LOAD_CPUS})


def start(name: str, settings: Mapping[str, object], port: int, stack: ExitStack, directory: Path) -> Process:
    """Start a proxy with these settings, which listens on ``port``, until ``stack`` unwinds."""
    path = directory / f"{name}.json"
    path.write_text(json.dumps(settings))
    twistd = str(Path(PYTHON[0]).with_name("twistd"))
    command = [*PYTHON, twistd, "-n", "--pidfile=", "smartproxy", "--config", str(path)]
    process = stack.enter_context(Process(name, command, directory / f"{name}.log", _ALL_CPUS))
    process.wait_until_listening(LISTEN_ON, port)
    return process
