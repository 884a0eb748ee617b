"""Idle kept connections: KiB of resident memory for each of 2,000 that have made one request.

A proxy is started for each round, as for idle connections of TCP; 200 requests on connections of their own load its code first.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from socket import create_connection, socket
from tempfile import mkdtemp

from benchmarks.contestants import LISTEN_ON
from benchmarks.http import contestants, target
from benchmarks.http.contestants import CONTESTANTS, NAME, HttpJob
from benchmarks.processes import BenchmarkError, allow_descriptors
from benchmarks.series import Probe

UNIT = "KiB/connection"
_WARM_UP = 200
_STALLS_AFTER = 10.0
_SETTLES_IN = 0.2
_ASKED = b"GET / HTTP/1.1\r\nHost: %b\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n" % NAME.encode()


def probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Start the target. Each probe holds ``2,000 * scale`` connections."""
    allow_descriptors(16_000)
    job = target.start(stack, directory)
    return {name: partial(_size, name, job, directory, int(2_000 * scale)) for name in CONTESTANTS}


def _size(name: str, job: HttpJob, directory: Path, count: int) -> float:
    with ExitStack() as stack:
        proxy = contestants.start(name, job, stack, Path(mkdtemp(dir=directory)))
        with ExitStack() as passing:
            for _ in range(_WARM_UP):
                passing.enter_context(_answered(proxy.port))
        time.sleep(_SETTLES_IN)
        before = proxy.process.rss_bytes
        for _ in range(count):
            stack.enter_context(_answered(proxy.port))
        time.sleep(_SETTLES_IN)
        return (proxy.process.rss_bytes - before) / count / 1024


def _answered(port: int) -> socket:
    client = create_connection((LISTEN_ON, port), _STALLS_AFTER)
    client.sendall(_ASKED)
    received = b""
    while not received.endswith(b"ok"):
        data = client.recv(4096)
        if not data:
            raise BenchmarkError(f"an answer of {received!r}")
        received += data
    return client
