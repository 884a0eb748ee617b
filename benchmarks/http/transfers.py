"""Bodies of 1 MB, down and up, plain: microseconds of the proxy's CPU for each. Four clients at once."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Self

from benchmarks.backends import BLOCK
from benchmarks.contestants import LISTEN_ON
from benchmarks.http import contestants, target
from benchmarks.http.contestants import CONTESTANTS, NAME, HttpProxy
from benchmarks.http.target import SIZE
from benchmarks.processes import BenchmarkError
from benchmarks.series import Probe

UNIT = "µs/MB"
_AT_ONCE = 4
_STALLS_AFTER = 30.0
_SETTLES_IN = 0.05
_BODY = BLOCK[:SIZE]
_HEAD_OF = b" HTTP/1.1\r\nHost: %b\r\n" % NAME.encode()
_DOWN = b"GET /1m" + _HEAD_OF + b"\r\n"
_UP = b"POST /other/up" + _HEAD_OF + b"Content-Length: %d\r\n\r\n" % SIZE


def probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Start and check every proxy. Each probe moves ``400 * scale`` bodies one way."""
    job = target.start(stack, directory)
    made: dict[str, Probe] = {}
    for name in CONTESTANTS:
        proxy = contestants.start(name, job, stack, directory)
        with Client(proxy.port) as client:
            if client.download() != _BODY:
                raise BenchmarkError(f"{name} changed a byte")
            client.upload()
        for way in ("down", "up"):
            cost(proxy, way, 50)
            made[f"{name}/{way}"] = partial(cost, proxy, way, int(400 * scale))
    return made


def cost(proxy: HttpProxy, way: str, count: int) -> float:
    """Microseconds of the proxy's CPU for each of ``count`` bodies."""
    failed: list[BaseException] = []
    before = proxy.process.cpu_ns
    clients = [
        threading.Thread(target=_move, args=(proxy.port, way, count // _AT_ONCE, failed))
        for _ in range(_AT_ONCE)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    if failed:
        raise BenchmarkError(f"{way}: {failed[0]}") from failed[0]
    time.sleep(_SETTLES_IN)
    return (proxy.process.cpu_ns - before) / (count // _AT_ONCE * _AT_ONCE) / 1000


def _move(port: int, way: str, count: int, failed: list[BaseException]) -> None:
    try:
        with Client(port) as client:
            for _ in range(count):
                if way == "up":
                    client.upload()
                else:
                    client.discard()
    except (OSError, BenchmarkError) as error:
        failed.append(error)


class Client:
    """A client on a kept connection."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection((LISTEN_ON, port), _STALLS_AFTER)
        self._buffer = bytearray(SIZE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._sock.close()

    def download(self) -> bytes:
        """The content of one body."""
        self._sock.sendall(_DOWN)
        received = self._head()
        while len(received) < SIZE:
            data = self._sock.recv(1 << 18)
            if not data:
                raise BenchmarkError("the connection ended within a body")
            received += data
        return received

    def discard(self) -> None:
        """Receive a body without copying it."""
        self._sock.sendall(_DOWN)
        left = SIZE - len(self._head())
        while left:
            count = self._sock.recv_into(self._buffer, left, socket.MSG_TRUNC)
            if not count:
                raise BenchmarkError("the connection ended within a body")
            left -= count

    def upload(self) -> None:
        """Send a body, and receive the answer."""
        self._sock.sendall(_UP)
        self._sock.sendall(_BODY)
        rest = self._head()
        if rest != b"ok":
            raise BenchmarkError(f"an answer of {rest!r}")

    def _head(self) -> bytes:
        """Receive a head. Returns what was received behind it."""
        received = b""
        while b"\r\n\r\n" not in received:
            data = self._sock.recv(4096)
            if not data:
                raise BenchmarkError("the connection ended within a head")
            received += data
        head, _, rest = received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise BenchmarkError(f"an answer of {head[:60]!r}")
        if not rest and b"ontent-length: 2\r" in head + b"\r":
            rest = self._sock.recv(2)
        return rest
