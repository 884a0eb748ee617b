"""A proxy of four workers with many routes and certificates: the memory of each worker, and how long it lets clients wait."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.certificates import write_pair
from benchmarks.contestants import LISTEN_ON
from benchmarks.processes import PYTHON, BenchmarkError, free_port
from benchmarks.workers.started import start

_ROUTES, _CERTIFICATES, _WORKERS = 10_000, 5_000, 4
_PACE = 0.001
_PATIENCE = 120.0
_SCRAPES = """
import http.client, sys
while True:
    asked = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    asked.request("GET", "/metrics")
    asked.getresponse().read()
    asked.close()
"""


class Pause(NamedTuple):
    """Seconds until the answer of an echo.

    :ivar took: by the clock, of the longest one.
    :ivar used: of the worker's CPU meanwhile, at most.
    """

    took: float
    used: float


class Large:
    """A proxy of four workers with many routes and certificates."""

    def __init__(self, routes: int, certificates: int, stack: ExitStack, directory: Path) -> None:
        folder = directory / "certificates"
        folder.mkdir()
        began = time.monotonic()
        for number in range(certificates):
            write_pair(folder, _name(number))
        self.made_in = time.monotonic() - began
        self.plain, self.tls, self.echo, self.admin = (free_port() for _ in range(4))
        self._routes, self._certificates = routes, certificates
        self._process = start("large", self._settings(), self.echo, stack, directory)
        _until_answered(self.admin)

    def _settings(self) -> dict[str, object]:
        answer = {"type": "respond", "response": {"body": "x"}}
        secured = answer | {"tls": {"mode": "terminate"}}
        echo = {"type": "handler", "handler": "smartproxy.serving.ready:echo"}
        on = {"address": LISTEN_ON}
        by_name = [
            {
                "name": f"customer-{number:05}",
                "match": on | {"ports": port, "domains": [_name(number)]},
                "action": action,
            }
            for number in range(self._routes)
            for port, action in [(self.tls, secured) if number < self._certificates else (self.plain, answer)]
        ]
        return {
            "workers": _WORKERS,
            "admin": {"port": self.admin},
            "tls": {"certificates": "certificates", "default": _name(0), "ocspStapling": False},
            "routes": [*by_name, {"name": "echo", "match": on | {"ports": self.echo}, "action": echo}],
        }

    def use(self) -> None:
        """Make a request to every route."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for number in range(self._routes):
            name = _name(number)
            request = b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % name.encode()
            port = self.tls if number < self._certificates else self.plain
            with socket.create_connection((LISTEN_ON, port), _PATIENCE) as sock:
                client = context.wrap_socket(sock, server_hostname=name) if port == self.tls else sock
                client.sendall(request)
                answer = client.recv(4096)
                client.close()
            if not answer.endswith(b"x"):
                raise BenchmarkError(f"{name}: {answer[:60]!r}")

    def private(self) -> list[int]:
        """Bytes that each worker has for itself."""
        workers = json.loads(_asked(self.admin, "/api/v1/workers"))["workers"]
        return [_private(each["pid"]) for each in workers]

    def reload(self) -> None:
        """Load the configuration again."""
        _asked(self.admin, "/api/v1/reload", "POST")

    def longest(self, seconds: float, *, scrape: bool) -> Pause:
        """The longest answer of an echo in any worker."""
        reader = [*PYTHON, "-c", _SCRAPES, str(self.admin)]
        with ExitStack() as stack:
            clients = list(self._in_each_worker(stack))
            if scrape:
                scraping = subprocess.Popen(reader, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                stack.callback(scraping.wait)
                stack.callback(scraping.terminate)
            found = [_longest(client, pid, seconds / len(clients)) for client, pid in clients]
        return Pause(*(max(values) for values in zip(*found, strict=True)))

    def _in_each_worker(self, stack: ExitStack) -> Iterator[tuple[socket.socket, int]]:
        """A connection to each worker, and its process; the number of a connection begins with that of its worker."""
        found = set()
        workers = json.loads(_asked(self.admin, "/api/v1/workers"))["workers"]
        processes = {each["generation"]: each["pid"] for each in workers}
        for _ in range(200):
            client = stack.enter_context(socket.create_connection((LISTEN_ON, self.echo), _PATIENCE))
            client.sendall(b"x")
            client.recv(1)
            live = json.loads(_asked(self.admin, "/api/v1/connections?route=echo"))["connections"]
            port = client.getsockname()[1]
            (worker,) = {each["id"] // 10**11 for each in live if each["clientPort"] == port}
            if worker not in found:
                found.add(worker)
                yield client, processes[worker]
            if len(found) == _WORKERS:
                return
        raise BenchmarkError(f"connections reach {len(found)} of {_WORKERS} workers")


def _longest(client: socket.socket, pid: int, seconds: float) -> Pause:
    worst, busiest, end = 0.0, 0.0, time.monotonic() + seconds
    cpu = (~pid << 3) | 2  # the CPU clock of a process: clock_getcpuclockid(3)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while (began := time.monotonic()) < end:
        used = time.clock_gettime(cpu)
        client.sendall(b"x")
        client.recv(1)
        busiest = max(busiest, time.clock_gettime(cpu) - used)
        took = time.monotonic() - began
        worst = max(worst, took)
        time.sleep(max(_PACE - took, 0))
    return Pause(worst, busiest)


def _name(number: int) -> str:
    return f"n{number}.bench.example"


def _private(pid: int) -> int:
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) * 1024 for row in rows if row.startswith("Private_"))


def _asked(port: int, path: str, method: str = "GET") -> bytes:
    asking = http.client.HTTPConnection(LISTEN_ON, port, timeout=_PATIENCE)
    try:
        asking.request(method, path)
        response = asking.getresponse()
        body = response.read()
    finally:
        asking.close()
    if response.status != http.client.OK:
        raise BenchmarkError(f"{method} {path}: {response.status} {body[:200]!r}")
    return body


def _until_answered(port: int) -> None:
    """Wait until every worker serves."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            _asked(port, "/readyz")
        except (BenchmarkError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def large(scale: float) -> dict[str, Any]:
    """Memory and pauses, for JSON."""
    routes, certificates = int(_ROUTES * scale), int(_CERTIFICATES * scale)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="smartproxy-bench-")))
        proxy = Large(routes, certificates, stack, directory)
        private = {"start": proxy.private()}
        proxy.use()
        private["used"] = proxy.private()
        seconds = max(20 * scale, 2)
        pauses = {
            "nothing happens": proxy.longest(seconds, scrape=False),
            "scrapes": proxy.longest(seconds, scrape=True),
        }
        proxy.reload()
        private["reloaded"] = proxy.private()
    return {
        "routes": routes,
        "certificates": certificates,
        "certificates_made_in_seconds": round(proxy.made_in, 1),
        "private_mib": {when: [round(each / 2**20, 1) for each in found] for when, found in private.items()},
        "longest_pause_ms": {
            what: {"clock": round(pause.took * 1000, 1), "cpu": round(pause.used * 1000, 1)}
            for what, pause in pauses.items()
        },
    }
