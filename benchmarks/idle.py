"""Idle connections: KiB of resident memory (RSS) for each of 5,000.

The backend greets every connection with one byte, so that it is established on both sides and has been used
once. A proxy is started for each round, because memory freed in an earlier round would hide what the next one
allocates; 200 connections are opened and closed first, so that lazily loaded code is loaded.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

from benchmarks import backends, contestants
from benchmarks.backends import GREETING
from benchmarks.contestants import Job
from benchmarks.processes import BenchmarkError, allow_descriptors, free_port
from benchmarks.series import Probe

UNIT = "KiB/connection"
_BACKEND = "127.0.0.11"
_WARM_UP_SHARE = 25
_STALLS_AFTER = 10.0
_SETTLES_IN = 0.2


def probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Start the backend. Each probe holds ``5,000 * scale`` connections."""
    count = int(5_000 * scale)
    allow_descriptors(16_000)  # haproxy requires two per connection, and some for its pipes
    port = free_port()
    backends.start("hold", ((_BACKEND, port),), stack, directory)
    job = Job((_BACKEND,), port)
    names = ("ours", "haproxy", "portforward")
    return {name: partial(_size, name, job, directory, count) for name in names}


def _size(name: str, job: Job, directory: Path, count: int) -> float:
    with ExitStack() as stack:
        proxy = contestants.start(name, job, stack, Path(mkdtemp(dir=directory)))
        with ExitStack() as passing:
            for client in _greeted(proxy.address, count // _WARM_UP_SHARE):
                passing.enter_context(client)
        time.sleep(_SETTLES_IN)
        before = proxy.process.rss_bytes
        for client in _greeted(proxy.address, count):
            stack.enter_context(client)
        time.sleep(_SETTLES_IN)
        return (proxy.process.rss_bytes - before) / count / 1024


def _greeted(address: tuple[str, int], count: int) -> Iterator[socket.socket]:
    for _ in range(count):
        client = socket.create_connection(address, _STALLS_AFTER)
        greeting = client.recv(1)
        if greeting != GREETING:
            raise BenchmarkError(f"{address} greets with {greeting!r}")
        yield client
