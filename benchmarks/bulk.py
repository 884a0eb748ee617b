"""Bulk TCP: CPU-seconds per GB (10⁹ bytes) relayed from the backend to the client.

The client makes the kernel discard the bytes without a copy (``MSG_TRUNC``, tcp(7)), so that the proxy limits the
speed. Before the first round, a smaller transfer is read and compared byte by byte.
"""

from __future__ import annotations

import itertools
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import backends, contestants, pythons
from benchmarks.backends import BLOCK
from benchmarks.contestants import Job, Running
from benchmarks.processes import BenchmarkError, free_port
from benchmarks.series import Probe

UNIT = "s/GB"
_GB = 1_000_000_000
_BACKEND = "127.0.0.11"
_STALLS_AFTER = 30.0
_SETTLES_IN = 0.05
_READ_SIZE = 1 << 20
#: Bytes that are compared before the first measurement.
WARM_UP = 64 << 20
#: Processes of each contestant, which take turns. Two of the same program differ by up to a tenth as long as they run,
#: depending on where in memory their buffers are.
PROCESSES = 4


def probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Start and warm up every contestant. Each probe moves ``0.25 * scale`` GB."""
    port = free_port()
    backends.start("source", ((_BACKEND, port),), stack, directory)
    fast = Job((_BACKEND,), port)
    jobs = {
        "ours": fast,
        "ours/bare": Job((_BACKEND,), port, supervised=False),
        "ours/transport": Job((_BACKEND,), port, accelerated=False),
        "haproxy": fast,
        "haproxy/always spliced": Job((_BACKEND,), port, always_spliced=True),
        "portforward": fast,
    }
    if contestants.has_nginx():
        jobs["nginx"] = fast
    if debian := pythons.others().get("debian"):
        jobs["ours/debian"] = Job((_BACKEND,), port, build=debian)
    running = start_several(jobs, stack, directory)
    for proxy in itertools.chain(*running.values()):
        check_content(proxy.process.name, _request(proxy.address, WARM_UP))
    size = int(0.25 * _GB * scale)
    return {key: partial(_cost, itertools.cycle(several), size) for key, several in running.items()}


def start_several(jobs: Mapping[str, Job], stack: ExitStack, directory: Path) -> dict[str, list[Running]]:
    """Start ``PROCESSES`` of each contestant."""
    started = iter(
        contestants.start_each([each for each in jobs.items() for _ in range(PROCESSES)], stack, directory)
    )
    return {key: [next(started) for _ in range(PROCESSES)] for key in jobs}


def _cost(several: Iterator[Running], size: int) -> float:
    proxy = next(several)
    before = proxy.process.cpu_ns
    _discard(proxy.address, size)
    time.sleep(_SETTLES_IN)
    return (proxy.process.cpu_ns - before) / size  # ns per byte equal seconds per GB


def _request(address: tuple[str, int], size: int) -> socket.socket:
    connection = socket.create_connection(address, _STALLS_AFTER)
    connection.sendall(struct.pack("!Q", size))
    return connection


def _discard(address: tuple[str, int], size: int) -> None:
    buffer = bytearray(_READ_SIZE)
    left = size
    with _request(address, size) as connection:
        while count := connection.recv_into(buffer, _READ_SIZE, socket.MSG_TRUNC):
            left -= count
    if left:
        raise BenchmarkError(f"{left} of {size} bytes are missing")


def check_content(name: str, connection: socket.socket, size: int = WARM_UP) -> None:
    """Read the requested bytes from ``connection`` and compare them.

    :raises BenchmarkError: if they differ from the content, or are not complete.
    """
    expected = memoryview(BLOCK)
    received = 0
    with connection:
        while data := connection.recv(_READ_SIZE):
            at = received % len(BLOCK)
            head = expected[at : at + len(data)]
            if data[: len(head)] != head or data[len(head) :] != expected[: len(data) - len(head)]:
                raise BenchmarkError(f"{name} changed a byte near {received}")
            received += len(data)
    if received != size:
        raise BenchmarkError(f"{name} brought {received} of {size} bytes")
