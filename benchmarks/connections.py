"""TCP connections with one small exchange each: microseconds of the proxy's CPU per connection.

Connect, send 64 bytes, read 64 back, close: 4,000 times a round, 32 concurrently. A PROXY header or a
ClientHello is sent with the first bytes, in one segment. In every variant the client closes first, cleanly,
after it has read its answer. With sixteen client and sixteen backend addresses, the ports in TIME_WAIT of
earlier rounds do not use up the port range.
"""

from __future__ import annotations

import itertools
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import backends, contestants
from benchmarks.contestants import Job, Running, in_builds
from benchmarks.messages import SMALL, Opening, behind_header, hello_for, plain
from benchmarks.processes import BenchmarkError, free_port
from benchmarks.series import Probe

UNIT = "µs/connection"
_AT_ONCE = 32
_STALLS_AFTER = 10.0
_SETTLES_IN = 0.05
WARM_UP = 1_000
CLIENTS = [f"127.0.1.{n}" for n in range(1, 17)]
BACKENDS = tuple(f"127.0.0.{n}" for n in range(11, 27))
_SEND_TIMEOUT = struct.pack("@ll", int(_STALLS_AFTER), 0)


def probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Start and warm up every contestant. Each probe makes ``1,000 * scale`` connections."""
    port = free_port()
    backends.start("answer", tuple((host, port) for host in BACKENDS), stack, directory)
    entries = _entries(port)
    started = contestants.start_each([(key, job) for key, (job, _) in entries.items()], stack, directory)
    serials = itertools.count()
    made: dict[str, Probe] = {}
    for proxy, (key, (job, opening)) in zip(started, entries.items(), strict=True):
        made[key] = partial(cost, proxy, opening, serials, int(1_000 * scale))
        cost(proxy, opening, serials, max(WARM_UP, len(job.domains)))  # each route at least once
    return made


def _entries(port: int) -> dict[str, tuple[Job, Opening]]:
    base = Job(BACKENDS, port)
    few, many = _domains(10), _domains(10_000)
    behind = replace(base, accepts_header=True)
    by_name, by_many = replace(base, domains=few), replace(base, domains=many)
    of_few, of_many = hello_for(few), hello_for(many)
    entries: dict[str, tuple[Job, Opening]] = {
        **{key: (job, plain) for key, job in in_builds("ours", base).items()},
        "haproxy": (base, plain),
        "portforward": (base, plain),
        "ours/bare": (replace(base, supervised=False), plain),
        **{key: (job, behind_header) for key, job in in_builds("ours/header", behind).items()},
        "haproxy/header": (behind, behind_header),
        **{key: (job, of_few) for key, job in in_builds("ours/sni", by_name).items()},
        "haproxy/sni": (by_name, of_few),
        "ours/sni 10000": (by_many, of_many),
        "haproxy/sni 10000": (by_many, of_many),
    }
    if contestants.has_nginx():
        entries["nginx"] = (base, plain)
    return entries


def _domains(count: int) -> tuple[str, ...]:
    return tuple(f"site{n:05}.bench.example" for n in range(count))


def cost(proxy: Running, opening: Opening, serials: Iterator[int], count: int) -> float:
    """Microseconds of the proxy's CPU for each of ``count`` connections."""
    before = proxy.process.cpu_ns
    Clients(proxy.address, opening, serials).exchange(count)
    time.sleep(_SETTLES_IN)
    return (proxy.process.cpu_ns - before) / count / 1000


class Clients:
    """32 concurrent clients over one epoll. Over loopback, a connection is established when ``connect`` returns."""

    def __init__(self, address: tuple[str, int], opening: Opening, serials: Iterator[int]) -> None:
        self._address = address
        self._opening = opening
        self._serials = serials
        self._sources = itertools.cycle(CLIENTS)
        self._epoll = select.epoll()
        self._open: dict[int, tuple[socket.socket, bytes]] = {}

    def exchange(self, count: int) -> None:
        """Make ``count`` connections.

        :raises BenchmarkError: if an answer is missing, or belongs to another connection.
        """
        begun = min(count, _AT_ONCE)
        for _ in range(begun):
            self._begin()
        while self._open:
            events = self._epoll.poll(_STALLS_AFTER)
            if not events:
                raise BenchmarkError(f"{len(self._open)} of {count} answers are missing")
            for number, _ in events:
                self._end(number)
            for _ in range(min(len(events), count - begun)):
                self._begin()
                begun += 1
        self._epoll.close()

    def _begin(self) -> None:
        message, answer = self._opening(next(self._serials))
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
        client.setsockopt(socket.SOL_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind((next(self._sources), 0))
        client.connect(self._address)
        client.sendall(message)
        self._open[client.fileno()] = (client, answer)
        self._epoll.register(client.fileno(), select.EPOLLIN)

    def _end(self, number: int) -> None:
        client, answer = self._open.pop(number)
        with client:
            received = client.recv(SMALL)
        if received != answer:
            raise BenchmarkError(f"{answer!r} was expected, {received!r} received")
