"""What ``workers`` cost: CPU beside separate proxies, private memory, and the longest pause during scrapes.

Run by ``python -m benchmarks.workers [--rounds N] [--quick] [--output FILE]``. A whole run is written to
``docs/benchmarks/workers.json``.

* *CPU*: user and system time of all processes, for a connection and for an HTTP request on a kept connection, of one proxy
  with two workers and of two proxies of one process on two ports, in the same rounds and under the same load. They run on
  all CPUs. Two processes share caches and the memory bus, so a single process is no measure for either; it is shown.
* *Memory*: ``Private_*`` of each of four workers with 10,000 routes and 5,000 certificates: at the start, after every route
  was used, and after a reload, which gives each worker a copy of the configuration.
* *Pauses*: a client sends a byte to an echo in each worker every millisecond, while nothing happens and while ``/metrics`` is
  read all the time. The longest answer by the clock has what the load of the machine adds to it; the CPU time that the worker
  used until it answered has not.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks import backends, connections, machine
from benchmarks.certificates import write_pair
from benchmarks.contestants import LISTEN_ON
from benchmarks.http import target, wrk
from benchmarks.messages import plain
from benchmarks.processes import (
    LOAD_CPUS,
    PROXY_CPUS,
    PYTHON,
    ROOT,
    BenchmarkError,
    Process,
    allow_descriptors,
    exit_on_sigterm,
    free_port,
)
from benchmarks.series import Probe, Series, Workload, run

RESULT = ROOT / "docs" / "benchmarks" / "workers.json"
#: Most that two workers may use of the CPU of two separate proxies, and MiB that a worker may have for itself.
BAR_CPU, BAR_MIB = 1.1, 60
_ALL_CPUS = sorted({*PROXY_CPUS, *LOAD_CPUS})
_ROUTES, _CERTIFICATES, _WORKERS = 10_000, 5_000, 4
_SETTLES_IN, _PACE = 0.2, 0.001
_PATIENCE = 120.0
_SCRAPES = """
import http.client, sys
while True:
    asked = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    asked.request("GET", "/metrics")
    asked.getresponse().read()
    asked.close()
"""


def start(name: str, settings: Mapping[str, object], port: int, stack: ExitStack, directory: Path) -> Process:
    """Start a proxy with these settings, which listens on ``port``, until ``stack`` unwinds."""
    path = directory / f"{name}.json"
    path.write_text(json.dumps(settings))
    twistd = str(Path(PYTHON[0]).with_name("twistd"))
    command = [*PYTHON, twistd, "-n", "--pidfile=", "smartproxy", "--config", str(path)]
    process = stack.enter_context(Process(name, command, directory / f"{name}.log", _ALL_CPUS))
    process.wait_until_listening(LISTEN_ON, port)
    return process


# -- CPU -----------------------------------------------------------------------------------------------


class OverPorts(connections.Clients):
    """Clients that connect to several ports in turn."""

    def __init__(self, ports: list[int], serials: Iterator[int]) -> None:
        super().__init__((LISTEN_ON, ports[0]), plain, serials)
        self._ports = itertools.cycle(ports)

    def _begin(self) -> None:
        self._address = (LISTEN_ON, next(self._ports))
        super()._begin()


class Contestant:
    """Proxies that share a load: their processes, and the ports on which they serve it."""

    def __init__(self, processes: list[Process], ports: list[int]) -> None:
        self._processes = processes
        self.ports = ports

    @property
    def cpu_ns(self) -> int:
        """Of all processes together."""
        return sum(process.cpu_ns for process in self._processes)


def _contestants(action: dict[str, object], stack: ExitStack, directory: Path) -> dict[str, Contestant]:
    """One proxy with two workers, two with one, and one with one, which is offered the same load."""
    made = {}
    for name, proxies, workers in (("workers", 1, 2), ("separate", 2, 1), ("single", 1, 1)):
        ports = [free_port() for _ in range(proxies)]
        processes = []
        for port in ports:
            route = {"name": "all", "match": {"ports": port, "address": LISTEN_ON}, "action": action}
            settings = {"routes": [route], "workers": workers}
            processes.append(start(f"{name}-{port}", settings, port, stack, directory))
        made[name] = Contestant(processes, (ports * 2)[:2])
    return made


def connection_probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Each makes ``10,000 * scale`` connections, half of them to each port."""
    port = free_port()
    backends.start("answer", tuple((host, port) for host in connections.BACKENDS), stack, directory)
    action: dict[str, object] = {"targets": [{"host": list(connections.BACKENDS), "port": port}]}
    serials = itertools.count()

    def cost(contestant: Contestant, count: int) -> float:
        before = contestant.cpu_ns
        OverPorts(contestant.ports, serials).exchange(count)
        time.sleep(_SETTLES_IN)
        return (contestant.cpu_ns - before) / count / 1000

    made: dict[str, Probe] = {}
    for name, contestant in _contestants(action, stack, directory).items():
        cost(contestant, connections.WARM_UP)
        made[name] = partial(cost, contestant, int(10_000 * scale))
    return made


def request_probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Each has wrk make requests over 16 kept connections to each port for ``5 * scale`` seconds."""
    job = target.start(stack, directory)
    host, port = job.target
    pool: dict[str, object] = {"pool": {"maxIdle": 10_000}}
    action: dict[str, object] = {
        "protocol": "http",
        "targets": [{"host": host, "port": port}],
        "http": pool,
    }

    def cost(contestant: Contestant, seconds: float) -> float:
        before = contestant.cpu_ns
        urls = [f"http://{LISTEN_ON}:{port}/" for port in contestant.ports]
        with ThreadPoolExecutor(2) as threads:
            done = list(threads.map(lambda url: wrk.requests(16, seconds, [url]), urls))
        time.sleep(_SETTLES_IN)
        return (contestant.cpu_ns - before) / sum(done) / 1000

    made: dict[str, Probe] = {}
    for name, contestant in _contestants(action, stack, directory).items():
        cost(contestant, 1)
        made[name] = partial(cost, contestant, max(5 * scale, 1))
    return made


# -- memory and pauses ---------------------------------------------------------------------------------


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


# -- the whole -----------------------------------------------------------------------------------------

WORKLOADS = (
    Workload("connections", connections.UNIT, connection_probes, 2),
    Workload("requests", wrk.UNIT, request_probes, 1),
)


def _summary(series: Series) -> dict[str, Any]:
    ratio = series.ratio("workers", "separate")
    return {
        "unit": series.unit,
        "rounds": {key: [round(value, 2) for value in values] for key, values in series.rounds.items()},
        "median": {key: round(statistics.median(values), 2) for key, values in series.rounds.items()},
        "workers_to_separate": None if ratio is None else round(ratio, 3),
    }


def measured(rounds: int, scale: float) -> dict[str, Any]:
    """Everything, for JSON."""
    load = os.getloadavg()[0]
    content: dict[str, Any] = {"machine": machine.facts(), "load_at_start": round(load, 1)}
    for workload in WORKLOADS:
        content[workload.name] = _summary(run(workload, rounds, scale))
    content["large"] = large(scale)
    content["load_at_end"] = round(os.getloadavg()[0], 1)
    content["note"] = (
        "load of the machine before it began above half of its cores: other programs took part of the CPU"
        if load > (os.cpu_count() or 1) / 2
        else "nothing else ran"
    )
    return content


def main(argv: list[str]) -> int:
    """Print what was measured; 1 if a bar is missed or something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default: 5)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work; writes no result")
    parser.add_argument("--output", type=Path, help="JSON file (default: docs/benchmarks/workers.json)")
    options = parser.parse_args(argv)
    exit_on_sigterm()
    allow_descriptors(1024)
    try:
        content = measured(options.rounds, 0.1 if options.quick else 1.0)
    except (BenchmarkError, OSError) as failed:
        print(f"workers: {failed}", *getattr(failed, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    text = json.dumps(content, indent=2)
    print(text)
    if options.output or not options.quick:
        (options.output or RESULT).write_text(text + "\n")
    ratios = [content[workload.name]["workers_to_separate"] for workload in WORKLOADS]
    most = max(content["large"]["private_mib"]["start"])
    return int(max(ratios) > BAR_CPU or most > BAR_MIB)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
