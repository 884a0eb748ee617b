"""What choosing among targets costs: microseconds of CPU per connection, by algorithm and number of targets.

Run by ``python -m benchmarks.groups [--before DIR] [--rounds N] [--algorithm NAME ...]``. Connections are those of
:mod:`benchmarks.connections`, through groups of one, ten and a thousand targets. With ``--before``, a checkout of an
earlier version with a single target is measured in the same rounds, and each row has its ratio to that; without it, to the
group of one target by the first algorithm. The bar: at most 3 % more.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import backends, connections, contestants, machine
from benchmarks.contestants import Job, Running
from benchmarks.messages import plain
from benchmarks.processes import LOAD_CPUS, BenchmarkError, allow_descriptors, exit_on_sigterm, free_port
from benchmarks.pythons import Build
from benchmarks.series import Probe, Series, Workload, run

ALGORITHMS = ("roundRobin", "leastConnections", "random", "source", "first")
COUNTS = (1, 10, 1_000)
BAR = 1.03
_HOSTS = tuple(f"127.0.{2 + n // 250}.{1 + n % 250}" for n in range(max(COUNTS)))
#: Two processes of one program differ by up to a tenth for their whole life, which is more than what is looked for.
_PROCESSES = 4


def probes(
    before: Path | None, algorithms: list[str], stack: ExitStack, directory: Path, scale: float
) -> dict[str, Probe]:
    """Start and warm up four processes of every proxy. Each probe makes ``2,500 * scale`` connections through the next one."""
    port = free_port()
    backends.start("answer", tuple((host, port) for host in _HOSTS), stack, directory)
    jobs = {
        f"ours/{algorithm} {count}": Job(_HOSTS[:count], port, algorithm=algorithm)
        for algorithm in algorithms
        for count in COUNTS
    }
    jobs["haproxy"] = Job(_HOSTS[:1], port)
    if before is not None:
        jobs["ours/before"] = Job(_HOSTS[:1], port, build=Build(checkout=before))
    serials = itertools.count()
    made: dict[str, Probe] = {}
    for key, job in jobs.items():
        proxies = [contestants.start(key, job, stack, directory) for _ in range(_PROCESSES)]
        for proxy in proxies:
            connections.cost(proxy, plain, serials, connections.WARM_UP)
        made[key] = partial(_cost_of_next, itertools.cycle(proxies), serials, int(2_500 * scale))
    return made


def _cost_of_next(proxies: Iterator[Running], serials: Iterator[int], count: int) -> float:
    return connections.cost(next(proxies), plain, serials, count)


def _print(series: Series, base: str) -> bool:
    """Print the table. Returns whether every row is within the bar."""
    met = True
    print(f"{'':28}{series.unit}   ratio to {base}")
    for key in series.rounds:
        ratio = series.ratio(key, base) or 0.0
        over = key.startswith("ours/") and ratio > BAR
        met &= not over
        print(f"{key:28}{series.median(key):12.1f}   {ratio:.3f}{'  above the bar' if over else ''}")
    return met


def main(argv: list[str]) -> int:
    """Print the figures; 1 if a bar is missed, 2 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.groups", description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout of the version to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--algorithm", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    options = parser.parse_args(argv)
    before = options.before and options.before.resolve()
    exit_on_sigterm()
    os.sched_setaffinity(0, LOAD_CPUS)
    workload = Workload("groups", connections.UNIT, partial(probes, before, options.algorithm), _PROCESSES)
    try:
        allow_descriptors(4096)
        series = run(workload, options.rounds, 1.0)
    except (BenchmarkError, OSError) as failed:
        print(f"benchmarks: {failed}", *getattr(failed, "__notes__", ()), sep="\n", file=sys.stderr)
        return 2
    print(machine.facts())
    return 0 if _print(series, "ours/before" if before else f"ours/{options.algorithm[0]} 1") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
