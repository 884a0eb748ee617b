"""Clients that take sockets and give nothing, beside haproxy: what each proxy holds, and whether others are served.

Run by ``python -m benchmarks.floods [SECONDS]``; each flood lasts five seconds by default. Both come from one address.

* *refused clients that do not close*: two thousand a second ask for what is not there and keep their connections. Both proxies
  allow 50 connections. How many sockets does the proxy hold at most, for clients and targets together?
* *stalled handshakes*: 400 clients send a ClientHello and nothing more. When one is closed, another takes its place.

Meanwhile honest clients from other addresses make one request after the other, each over a new connection, with two seconds
for each. How many of them are served, and how long does it take?

haproxy takes part with each way that it has to do the same: see :data:`REFUSING` and :data:`TERMINATING`.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import NamedTuple

from benchmarks import machine
from benchmarks.certificates import write_pair
from benchmarks.contestants import haproxy_program
from benchmarks.processes import (
    LOAD_CPUS,
    PROXY_CPUS,
    PYTHON,
    BenchmarkError,
    Process,
    allow_descriptors,
    free_port,
)

SECONDS = 5.0
LIMIT = 50
#: Refused connections in a second, if the machine has time for them.
RATE = 2000
STALLED = 400
_HOST = "127.0.0.1"
_FLOODER = "127.0.0.66"
_DOMAIN = "floods.bench.example"
_PATIENCE = 2.0
#: Seconds of the flood that are made up for, where it had to wait.
_CATCH_UP = 0.05
_REQUEST = b"GET /api HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
_REFUSED = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


# -- the proxies ----------------------------------------------------------------------------------------------


def _smartproxy(port: int, target: int, directory: Path, certificate: Path | None) -> list[str]:
    action: dict[str, object] = {"targets": [{"host": _HOST, "port": target}]}
    match: dict[str, object] = {"ports": [port], "address": _HOST}
    settings: dict[str, object] = {}
    if certificate is None:
        match["path"] = "/api"
        settings["maxConnections"] = LIMIT
    else:
        action["tls"] = {"mode": "terminate", "certificate": {"certFile": str(certificate)}}
    settings["routes"] = [{"name": "all", "match": match, "action": action}]
    path = directory / "smartproxy.json"
    path.write_text(json.dumps(settings))
    twistd = Path(PYTHON[0]).with_name("twistd")
    return [*PYTHON, str(twistd), "-n", "--pidfile=", "smartproxy", "--config", str(path)]


Command = Callable[[int, int, Path, "Path | None"], list[str]]


def _haproxy(maxconn: int, *rules: str, bind: str = "") -> Command:
    def command(port: int, target: int, directory: Path, certificate: Path | None) -> list[str]:
        tls = "" if certificate is None else f" ssl crt {certificate}"
        lines = [
            "global",
            "    nbthread 1",
            f"    maxconn {maxconn}",
            *(["    " + bind] if bind else []),
            "defaults",
            "    mode http",
            "    timeout connect 5s",
            "    timeout client 10s",  # as our limit for a TLS handshake
            "    timeout server 10s",
            "listen all",
            f"    bind {_HOST}:{port}{tls}",
            *("    " + rule for rule in rules),
            f"    server s {_HOST}:{target}",
        ]
        path = directory / "haproxy.cfg"
        path.write_text("\n".join(lines) + "\n")
        return [haproxy_program(), "-db", "-f", str(path)]

    return command


#: Refuse with an answer, which keeps the connection for a next request unless ``httpclose`` is set; or without one.
REFUSING: dict[str, Command] = {
    "smartproxy, maxConnections 50": _smartproxy,
    "haproxy, maxconn 50, http-request deny": _haproxy(
        LIMIT, "http-request deny deny_status 404 unless { path /api }"
    ),
    "the same with option httpclose": _haproxy(
        LIMIT, "option httpclose", "http-request deny deny_status 404 unless { path /api }"
    ),
    "haproxy, maxconn 50, http-request reject": _haproxy(LIMIT, "http-request reject unless { path /api }"),
}
#: haproxy has no limit of handshakes in progress, but one of connections with TLS.
TERMINATING: dict[str, Command] = {
    "smartproxy, maxHandshakes 200": _smartproxy,
    "haproxy, no limit": _haproxy(6000),
    "haproxy, maxsslconn 200": _haproxy(6000, bind="maxsslconn 200"),
}


# -- the clients ----------------------------------------------------------------------------------------------


def flood_refused(port: int) -> None:
    """Open connections that are refused, and keep them all, until killed. Prints how many, ten times a second."""
    allow_descriptors(0)
    held: list[socket.socket] = []
    due = told = time.monotonic()
    while True:
        due = max(due + 1 / RATE, time.monotonic() - _CATCH_UP)
        time.sleep(max(0.0, due - time.monotonic()))
        sock = _from(_FLOODER)
        sock.settimeout(0.2)
        try:
            sock.connect((_HOST, port))
            sock.sendall(_REFUSED)
        except OSError:
            sock.close()  # the kernel's queue of connections to accept is full
        else:
            held.append(sock)
        if time.monotonic() - told > 0.1:
            told = time.monotonic()
            print(len(held), flush=True)


def flood_stalled(port: int) -> None:
    """Keep 400 connections that have sent a ClientHello, until killed. Prints how many were opened."""
    hello = _hello()
    poll = select.poll()
    held: dict[int, socket.socket] = {}
    opened = 0
    while True:
        while len(held) < STALLED:
            sock = _from(_FLOODER)
            sock.settimeout(0.2)
            try:
                sock.connect((_HOST, port))
                sock.sendall(hello)
            except OSError:
                sock.close()
                break
            held[sock.fileno()] = sock
            poll.register(sock, select.POLLRDHUP)
            opened += 1
        print(opened, flush=True)
        for number, _ in poll.poll(100):
            poll.unregister(number)
            held.pop(number).close()


def _hello() -> bytes:
    """A ClientHello that a server answers. All clients send the same."""
    outgoing = ssl.MemoryBIO()
    tls = _context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=_DOMAIN)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _from(source: str) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((source, 0))
    return sock


class Honest(NamedTuple):
    """What honest clients have seen. Times in seconds; of those that were served."""

    tried: int
    served: int
    median: float
    worst: float

    def __str__(self) -> str:
        took = f"median {self.median * 1000:.0f} ms, worst {self.worst * 1000:.0f} ms" if self.served else "-"
        return f"{self.served} of {self.tried}, {took}"


def honest(port: int, seconds: float, context: ssl.SSLContext | None) -> Honest:
    """One request after the other for ``seconds``."""
    sources = itertools.cycle(f"127.0.4.{number}" for number in range(1, 17))
    until, tried, took = time.monotonic() + seconds, 0, []
    while time.monotonic() < until:
        began = time.monotonic()
        tried += 1
        with suppress(OSError):
            if _request(port, next(sources), context) == _ANSWER[-2:]:
                took.append(time.monotonic() - began)
        time.sleep(0.01)
    took.sort()
    return Honest(tried, len(took), took[len(took) // 2] if took else 0.0, took[-1] if took else 0.0)


def _request(port: int, source: str, context: ssl.SSLContext | None) -> bytes:
    """The last two bytes of the answer.

    :raises OSError: after two seconds.
    """
    until = time.monotonic() + _PATIENCE
    with _from(source) as plain:
        plain.settimeout(_PATIENCE)
        plain.connect((_HOST, port))
        sock = plain if context is None else context.wrap_socket(plain, server_hostname=_DOMAIN)
        with sock:
            sock.sendall(_REQUEST)
            data = b""
            while not data.endswith(b"\r\n\r\nok"):
                sock.settimeout(max(until - time.monotonic(), 0.001))
                more = sock.recv(4096)
                if not more:
                    break
                data += more
    return data[-2:]


# -- one flood ------------------------------------------------------------------------------------------------


class Sockets:
    """Counts the sockets of a process, fifty times a second.

    :ivar most: how many there were at most beyond those at the start.
    """

    def __init__(self, pid: int) -> None:
        self._directory = Path(f"/proc/{pid}/fd")
        self._before = self._count()
        self.most = 0
        self._stop = Event()
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self.most = max(self.most, self._count() - self._before)

    def _count(self) -> int:
        count = 0
        for entry in self._directory.iterdir():
            with suppress(FileNotFoundError):
                count += str(entry.readlink()).startswith("socket:")
        return count

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


class Flooded(NamedTuple):
    """The result of one flood on one proxy.

    :ivar opened: connections of the flood, in a second.
    :ivar sockets: of the proxy, at most.
    :ivar cpu: of the proxy, in seconds a second: on a busy machine it gets less than it could use.
    """

    contestant: str
    opened: float
    sockets: int
    cpu: float
    honest: Honest

    def __str__(self) -> str:
        flood = f"{self.opened:6,.0f} a second  {self.sockets:5} sockets  {self.cpu:.2f} CPU"
        return f"    {self.contestant:42} {flood}  served: {self.honest}"


def flooded(
    name: str, command: Command, flood: str, seconds: float, target: int, certificate: Path | None
) -> Flooded:
    """Flood one proxy."""
    context = None if certificate is None else _context()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        port = free_port()
        made = command(port, target, directory, certificate)
        process = stack.enter_context(Process(name, made, directory / "log", PROXY_CPUS))
        process.wait_until_listening(_HOST, port)
        if honest(port, 0.5, context).served == 0:
            raise BenchmarkError(f"{name} serves no client, without a flood")
        sockets = Sockets(process.pid)
        stack.callback(sockets.stop)
        told = directory / "flood"
        with told.open("wb") as output:
            flooder = subprocess.Popen(
                [*PYTHON, "-m", "benchmarks.floods", flood, str(port)],
                stdout=output,
                cwd=Path(__file__).parents[1],
            )
        try:
            while not told.stat().st_size and flooder.poll() is None:
                time.sleep(0.02)
            time.sleep(0.5)
            before, used = int(told.read_text().split()[-1]), process.cpu_ns
            began = time.monotonic()
            seen = honest(port, seconds, context)
            opened = int(told.read_text().split()[-1]) - before
            took = time.monotonic() - began
            cpu = (process.cpu_ns - used) / took / 1e9
        finally:
            flooder.kill()
            flooder.wait()
        return Flooded(name, opened / took, sockets.most, cpu, seen)


def _answer_all(listening: socket.socket) -> None:
    """The target: answers each request and closes."""
    while True:
        try:
            sock, _ = listening.accept()
        except OSError:
            return
        Thread(target=_answer, args=(sock,), daemon=True).start()


def _answer(sock: socket.socket) -> None:
    with sock, suppress(OSError):
        sock.settimeout(60)
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            more = sock.recv(4096)
            if not more:
                return
            data += more
        sock.sendall(_ANSWER)


def main(seconds: float = SECONDS) -> None:
    """Print what was measured."""
    allow_descriptors(4_000)
    os.sched_setaffinity(0, LOAD_CPUS)
    facts = machine.facts()
    print(f"{facts['cpu']}, Python {facts['python']}, {facts['openssl']}, haproxy {facts['haproxy']}")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        write_pair(directory, _DOMAIN)
        certificate = directory / "floods.pem"
        certificate.write_bytes(
            b"".join((directory / f"{_DOMAIN}.{kind}").read_bytes() for kind in ("crt", "key"))
        )
        listening = stack.enter_context(socket.create_server((_HOST, 0), backlog=1024))
        Thread(target=_answer_all, args=(listening,), daemon=True).start()
        target: int = listening.getsockname()[1]
        print("refused clients that do not close", flush=True)
        for name, command in REFUSING.items():
            print(flooded(name, command, "--refused", seconds, target, None), flush=True)
        print(f"{STALLED} stalled handshakes", flush=True)
        for name, command in TERMINATING.items():
            print(flooded(name, command, "--stalled", seconds, target, certificate), flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--refused", port]:
            flood_refused(int(port))
        case ["--stalled", port]:
            flood_stalled(int(port))
        case [given]:
            main(float(given))
        case _:
            main()
