"""WebSocket: microseconds of the proxy's CPU for a message of 1 KiB there and back. 16 tunnels at once."""

from __future__ import annotations

import select
import socket
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.backends import BLOCK
from benchmarks.contestants import LISTEN_ON
from benchmarks.http import contestants, target
from benchmarks.http.contestants import CONTESTANTS, NAME, HttpProxy
from benchmarks.processes import BenchmarkError
from benchmarks.series import Probe

UNIT = "µs/echo"
_AT_ONCE = 16
_STALLS_AFTER = 30.0
_SETTLES_IN = 0.05
_SIZE = 1024
_ASKED = (
    b"GET /other/ws HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % NAME.encode()
)


def probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Start and warm up every proxy. Each probe sends ``10,000 * scale`` messages."""
    job = target.start(stack, directory)
    made: dict[str, Probe] = {}
    for name in CONTESTANTS:
        proxy = contestants.start(name, job, stack, directory)
        cost(proxy, 1_000)
        made[name] = partial(cost, proxy, int(10_000 * scale))
    return made


def cost(proxy: HttpProxy, count: int) -> float:
    """Microseconds of the proxy's CPU for each of ``count`` messages, the handshakes not counted."""
    with ExitStack() as stack:
        tunnels = [stack.enter_context(_opened(proxy.port)) for _ in range(_AT_ONCE)]
        time.sleep(_SETTLES_IN)
        before = proxy.process.cpu_ns
        _echo(tunnels, count)
        return (proxy.process.cpu_ns - before) / count / 1000


def _opened(port: int) -> socket.socket:
    tunnel = socket.create_connection((LISTEN_ON, port), _STALLS_AFTER)
    tunnel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tunnel.sendall(_ASKED)
    received = b""
    while b"\r\n\r\n" not in received:
        data = tunnel.recv(4096)
        if not data:
            raise BenchmarkError(f"no tunnel: {received!r}")
        received += data
    if not received.startswith(b"HTTP/1.1 101"):
        raise BenchmarkError(f"no tunnel: {received!r}")
    return tunnel


def _echo(tunnels: list[socket.socket], count: int) -> None:
    """Send ``count`` messages, one at a time on each tunnel; check that each comes back."""
    poller = select.epoll()
    pending: dict[int, tuple[socket.socket, bytes, bytes]] = {}
    for tunnel in tunnels:
        poller.register(tunnel.fileno(), select.EPOLLIN)
    sent = done = 0
    for tunnel in tunnels:
        pending[tunnel.fileno()] = tunnel, _send(tunnel, sent), b""
        sent += 1
    while done < count:
        ready = poller.poll(_STALLS_AFTER)
        if not ready:
            raise BenchmarkError("a message does not come back")
        for number, _ in ready:
            tunnel, message, received = pending[number]
            received += tunnel.recv(4 * _SIZE)
            if len(received) < _SIZE:
                pending[number] = tunnel, message, received
                continue
            if received != message:
                raise BenchmarkError("another message came back")
            done += 1
            pending[number] = tunnel, _send(tunnel, sent) if sent < count else b"", b""
            sent += sent < count
    poller.close()


def _send(tunnel: socket.socket, serial: int) -> bytes:
    """A text frame (RFC 6455, 5.2) of 1 KiB with its head, the payload different each time."""
    at = serial % 1000 * 1000
    message = b"\x82\x7e\x03\xfc" + BLOCK[at : at + _SIZE - 4]
    tunnel.sendall(message)
    return message
