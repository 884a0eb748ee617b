"""Latency of one connection while thousands of others are closed at once.

Run by ``python -m benchmarks.disconnect [COUNT]``; 5,000 by default. A process that holds ``COUNT`` connections
through the proxy is killed, which sends a FIN on each of them, or closes each with a RST. Meanwhile an echo runs
through the same proxy: a message every 2 ms, whether or not the previous one was answered, so that a pause delays
every message that falls into it. Echoes are counted from the loss until the proxy has no other connection left.

The bars: 99 of 100 echoes within 250 ms, and no batch of the cleanup above 20 ms. The proxy runs on a separate CPU
and writes an access log, which takes most of the cleanup's time.
"""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import NamedTuple

from benchmarks import backends
from benchmarks.processes import (
    PROXY_CPUS,
    PYTHON,
    BenchmarkError,
    Process,
    allow_descriptors,
    free_port,
)

COUNT = 5_000
BAR_ECHO = 0.250
BAR_BATCH = 0.020
#: Seconds between two echoes.
_PACE = 0.002
#: Seconds of echoing on either side of the loss.
_AROUND = 0.5
_STALLS_AFTER = 60.0
_HOST = "127.0.0.1"
_BACKEND = "127.0.0.12"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_STAMP = struct.Struct("!d")


class Result(NamedTuple):
    """Durations in seconds, and counts."""

    took: float
    echoes: int
    p50: float
    p99: float
    worst: float
    batches: int
    longest_batch: float


class Echo:
    """A connection with a message every 2 ms.

    :ivar times: for each message, when it was due and how long its echo took.
    """

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection((_HOST, port), _STALLS_AFTER)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._running = True
        self.times: list[tuple[float, float]] = []
        self._threads = [Thread(target=self._send, daemon=True), Thread(target=self._receive, daemon=True)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        due = time.monotonic()
        while self._running:
            self._sock.sendall(_STAMP.pack(due))
            due += _PACE
            time.sleep(max(0.0, due - time.monotonic()))
        self._sock.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        with self._sock.makefile("rb") as coming:
            while stamp := coming.read(_STAMP.size):
                (due,) = _STAMP.unpack(stamp)
                self.times.append((due, time.monotonic() - due))

    def stop(self) -> None:
        """Stop sending, and wait for the remaining echoes."""
        self._running = False
        for thread in self._threads:
            thread.join(_STALLS_AFTER)
        self._sock.close()


def _echo_back(listening: socket.socket) -> None:
    sock, _ = listening.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock:
        while data := sock.recv(65536):
            sock.sendall(data)


def measure(count: int, loss: signal.Signals) -> Result:
    """Measure the loss of ``count`` connections held by a process that receives the signal ``loss``.

    :raises BenchmarkError: if a process does not start, or the proxy does not close the connections.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        hold, front, beside, admin = (free_port() for _ in range(4))
        backends.start("hold", ((_BACKEND, hold),), stack, directory)
        listening = stack.enter_context(socket.create_server((_HOST, 0)))
        Thread(target=_echo_back, args=(listening,), daemon=True).start()
        config = _config(directory, {front: (_BACKEND, hold), beside: listening.getsockname()}, admin)
        log = directory / "proxy.log"
        command = [*PYTHON, "-m", "benchmarks.disconnect", "--proxy", str(config)]
        with Process("proxy", command, log, PROXY_CPUS) as proxy:
            proxy.wait_until_listening(_HOST, admin)
            clients = stack.enter_context(_clients(front, count))
            echo = Echo(beside)
            time.sleep(_AROUND)
            lost = time.monotonic()
            clients.send_signal(loss)
            over = _wait_until_alone(admin)
            time.sleep(_AROUND)
            echo.stop()
        queue = json.loads(log.read_text().splitlines()[-1])
    if queue["cleaned"] < count or queue["failed"]:
        raise BenchmarkError(f"the cleanup reports {queue} for {count} connections")
    times = sorted(took for sent, took in echo.times if lost <= sent <= over)
    return Result(
        over - lost,
        len(times),
        times[len(times) // 2],
        times[len(times) * 99 // 100],
        times[-1],
        queue["batches"],
        queue["longest"],
    )


def _config(directory: Path, ports: dict[int, tuple[str, int]], admin: int) -> Path:
    settings = {
        "admin": {"port": admin},
        "accessLog": {"path": str(directory / "access.log")},
        "routes": [
            {
                "name": f"to-{port}",
                "match": {"ports": [front], "address": _HOST},
                "action": {"targets": [{"host": host, "port": port}]},
            }
            for front, (host, port) in ports.items()
        ],
    }
    path = directory / "smartproxy.json"
    path.write_text(json.dumps(settings))
    return path


def _clients(port: int, count: int) -> subprocess.Popen[bytes]:
    """Start a process that holds ``count`` connections, and wait until all are established."""
    command = [*PYTHON, "-m", "benchmarks.disconnect", "--clients", str(port), str(count)]
    clients = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert clients.stdout is not None
    if clients.stdout.readline() != b"ready\n":
        raise BenchmarkError("the clients cannot establish their connections")
    return clients


def _wait_until_alone(admin: int) -> float:
    """Wait until the echo is the only connection left, and return that time."""
    began = time.monotonic()
    while time.monotonic() - began < _STALLS_AFTER:
        with urllib.request.urlopen(
            f"http://{_HOST}:{admin}/api/v1/metrics", timeout=_STALLS_AFTER
        ) as answer:
            now = json.load(answer)
        if now["connections"]["active"] == 1 and not now["cleanup"]["queued"]:
            return time.monotonic()
        time.sleep(0.05)
    raise BenchmarkError("the proxy does not close the lost connections")


# -- the processes that are started ---------------------------------------------------------------------


def proxy(config: str) -> None:
    """Run the proxy; when it stops, print the counters of its cleanup."""
    from twisted.internet import epollreactor  # noqa: PLC0415 - importing a reactor is for this process only

    epollreactor.install()
    from twisted.internet import reactor as installed  # noqa: PLC0415 - the reactor is installed only now

    from smartproxy import Settings, SmartProxy  # noqa: PLC0415 - it would install another one

    reactor: object = installed
    service = SmartProxy(Settings.load(config))
    reactor.callWhenRunning(service.startService)  # type: ignore[attr-defined] # what is installed is not typed
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)  # type: ignore[attr-defined] # as above
    reactor.run()  # type: ignore[attr-defined] # as above
    queue = service.registry.ended
    done = {name: getattr(queue, name) for name in ("batches", "cleaned", "failed", "longest")}
    print(json.dumps(done), flush=True)


def clients(port: int, count: int) -> None:
    """Hold ``count`` connections until killed, which sends a FIN on each; on SIGTERM, close each with a RST."""
    held = []
    for _ in range(count):
        sock = socket.create_connection((_HOST, port), _STALLS_AFTER)
        if sock.recv(1) != backends.GREETING:
            raise BenchmarkError("the backend does not greet")
        held.append(sock)

    def reset_all(*_: object) -> None:
        for sock in held:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            sock.close()
        sys.exit()

    signal.signal(signal.SIGTERM, reset_all)
    print("ready", flush=True)
    signal.pause()


def main(count: int = COUNT) -> int:
    """Print the results; 1 if a bar is missed."""
    allow_descriptors(3 * count + 100)
    missed = False
    for name, loss in (("FIN", signal.SIGKILL), ("RST", signal.SIGTERM)):
        result = measure(count, loss)
        missed |= result.p99 > BAR_ECHO or result.longest_batch > BAR_BATCH
        print(
            f"{count:,} lost at once, each with a {name}: cleaned up in {result.took * 1000:.0f} ms; meanwhile"
            f" {result.echoes} echoes, median {result.p50 * 1000:.1f} ms, p99 {result.p99 * 1000:.1f} ms (bar"
            f" {BAR_ECHO * 1000:.0f}), worst {result.worst * 1000:.1f} ms; {result.batches} batches, the longest"
            f" {result.longest_batch * 1000:.2f} ms (bar {BAR_BATCH * 1000:.0f})"
        )
    return int(missed)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--proxy", config]:
            proxy(config)
        case ["--clients", port, count]:
            clients(int(port), int(count))
        case [count]:
            sys.exit(main(int(count)))
        case _:
            sys.exit(main())
