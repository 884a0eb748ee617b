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
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import backends, connections, machine
from benchmarks.contestants import LISTEN_ON
from benchmarks.http import target, wrk
from benchmarks.messages import plain
from benchmarks.processes import (
    ROOT,
    BenchmarkError,
    Process,
    allow_descriptors,
    exit_on_sigterm,
    free_port,
)
from benchmarks.series import Probe, Series, Workload, run
from benchmarks.workers.large import large
from benchmarks.workers.started import start

RESULT = ROOT / "docs" / "benchmarks" / "workers.json"
#: Most that two workers may use of the CPU of two separate proxies, and MiB that a worker may have for itself.
BAR_CPU, BAR_MIB = 1.05, 60
_SETTLES_IN = 0.2


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
