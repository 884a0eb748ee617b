"""What a hostile request costs: microseconds of CPU for each connection, beside an honest one. ``python -m benchmarks.http.hostile``.

Each client sends one request on a connection of its own, reads to the end, and closes. An input that a proxy refuses is sent as
long as the proxy reads it, so *sent* may be less than the input. haproxy has the same task, with its default buffer of 16 KiB.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import machine
from benchmarks.contestants import LISTEN_ON
from benchmarks.http import contestants, target, wrk
from benchmarks.http.contestants import NAME, HttpProxy
from benchmarks.processes import LOAD_CPUS, BenchmarkError, allow_descriptors, exit_on_sigterm
from benchmarks.series import Probe, Series, Workload, run

_PROXIES = ("ours", "haproxy")
_CONNECTIONS = 100
_QUICK = 0.2
_STALLS_AFTER = 30.0
_SETTLES_IN = 0.1
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
_HOST = b" HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n" % NAME.encode()
_GET, _POST = b"GET /" + _HOST, b"POST /" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n"

#: What is sent, and in pieces of which size.
INPUTS: dict[str, tuple[bytes, int]] = {
    "honest": (_GET + b"\r\n", 1 << 16),
    "head of 1 KB, byte by byte": (_GET + b"X: " + b"a" * 900 + b"\r\n\r\n", 1),
    "100 KB of header fields": (_GET + (b"X: " + b"a" * 1000 + b"\r\n") * 100 + b"\r\n", 1 << 16),
    "10,000 header fields": (_GET + b"X: a\r\n" * 10_000 + b"\r\n", 1 << 16),
    "a target of 70 KB": (b"GET /" + b"a" * 70_000 + _HOST + b"\r\n", 1 << 16),
    "10,000 chunks of one byte": (_POST + b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n", 1 << 16),
    "trailers of 1 MB": (_POST + b"0\r\n" + b"X: a\r\n" * 170_000, 1 << 16),
    "a chunk extension of 5 MB": (_POST + b"1;" + b"a" * 5_000_000, 1 << 16),
}


def probes(
    seen: dict[str, tuple[int, int]], stack: ExitStack, directory: Path, scale: float
) -> Mapping[str, Probe]:
    """Each probe makes ``100 * scale`` connections.

    :param seen: gets the status of the answer, 0 for none, and the bytes sent.
    """
    job = replace(target.start(stack, directory), is_logged=False)
    made: dict[str, Probe] = {}
    for name in _PROXIES:
        proxy = contestants.start(name, job, stack, directory)
        wrk.requests(32, 2, [wrk.url_of(proxy)])
        for title, (data, piece) in INPUTS.items():
            key = f"{name}/{title}"
            seen[key] = _request(proxy.port, data, piece)
            made[key] = partial(_cost, proxy, data, piece, int(_CONNECTIONS * scale))
    return made


def _cost(proxy: HttpProxy, data: bytes, piece: int, count: int) -> float:
    before = proxy.process.cpu_ns
    for _ in range(count):
        _request(proxy.port, data, piece)
    time.sleep(_SETTLES_IN)
    return (proxy.process.cpu_ns - before) / count / 1000


def _request(port: int, data: bytes, piece: int) -> tuple[int, int]:
    """Send a request as far as it is read. Returns the status of the answer, 0 for none, and the number of bytes sent."""
    sent, received = 0, b""
    with socket.create_connection((LISTEN_ON, port), _STALLS_AFTER) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            while sent < len(data):
                sent += client.send(data[sent : sent + piece])
        with contextlib.suppress(ConnectionError):
            while more := client.recv(1 << 16):
                received += more
    status = _STATUS.match(received)
    return (int(status[1]) if status else 0), sent


def text(costs: Series, seen: Mapping[str, tuple[int, int]]) -> str:
    """One line for each input: the status, and what a connection costs in each proxy, also in honest ones."""
    columns = "".join(f"{name:>8}{'µs':>9}{'honest':>8}" for name in _PROXIES)
    lines = [f"{'':<28}{'KB sent':>8}{columns}"]
    for title in INPUTS:
        line = f"{title:<28}{seen['ours/' + title][1] / 1000:>8.1f}"
        for name in _PROXIES:
            cost, ratio = costs.median(f"{name}/{title}"), costs.ratio(f"{name}/{title}", f"{name}/honest")
            line += f"{seen[f'{name}/{title}'][0]:>8}{cost or 0:>9.0f}{ratio or 0:>8.1f}"
        lines.append(line)
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http.hostile")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, whose median counts (default: 5)")
    parser.add_argument("--quick", action="store_true", help="do a fifth of the work, for development")
    options = parser.parse_args(argv)
    exit_on_sigterm()
    allow_descriptors(1024)
    os.sched_setaffinity(0, LOAD_CPUS)
    seen: dict[str, tuple[int, int]] = {}
    try:
        workload = Workload("hostile", "µs/connection", partial(probes, seen), 1)
        costs = run(workload, options.rounds, _QUICK if options.quick else 1.0)
    except (BenchmarkError, OSError) as failed:
        print(
            f"benchmarks.http.hostile: {failed}", *getattr(failed, "__notes__", ()), sep="\n", file=sys.stderr
        )
        return 1
    print(text(costs, seen))
    where = machine.facts()
    print(
        f"{where['cpu']}, {where['cores']} cores, Python {where['python']}, haproxy {where['haproxy']}, {where['date']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
