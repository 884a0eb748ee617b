"""``python -m benchmarks.ends``: what stays of connections, for each kind of end, without Python's cyclic collector.

For each kind 20,000 connections are opened and ended, behind 1,000 to warm up. Before and after, when no connection is left,
the resident memory and the descriptors of the proxy are measured. Its collector of reference cycles is off for the whole
run, so that a cycle stays; after each kind it is run once by hand, and tells how many objects it finds.

A kind passes if there are not more descriptors than before, no connection is left, and

* memory has grown by at most 6 MiB, 315 bytes for each connection: a coroutine with its record has 2 KiB and more, so a
  leak of either is 40 MiB. What grows otherwise is the allocator's fragments and samples of metrics.
* the collector finds less than one object for each ten connections: the admin API, which is asked meanwhile, leaves some.

Exit codes: 0 all pass; 1 one does not, or the run failed.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks import machine, report
from benchmarks.certificates import write_pair
from benchmarks.ends.kinds import KINDS, EndKind, World
from benchmarks.ends.proxy import DOMAIN, Proxy, Sizes, settings
from benchmarks.ends.targets import HOST
from benchmarks.processes import (
    LOAD_CPUS,
    PYTHON,
    BenchmarkError,
    Process,
    allow_descriptors,
    exit_on_sigterm,
    free_port,
)

CONNECTIONS = 20_000
_WARM_UP = 1_000
RSS_BOUND = 6 << 20
#: Objects in cycles for each connection.
CYCLES_BOUND = 0.1
_TARGETS = ("answer", "farewell", "reset", "hold", "encrypted")
#: Fills a queue of one, so that later connections are never answered.
_FILLING = 4


class Measured(NamedTuple):
    """One kind's result.

    :ivar unreachable: objects that only the collector would have freed.
    """

    kind: str
    connections: int
    seconds: float
    before: Sizes
    after: Sizes
    unreachable: int

    @property
    def passes(self) -> bool:
        return (
            self.after.rss - self.before.rss <= RSS_BOUND
            and self.after.descriptors <= self.before.descriptors
            and not self.after.active
            and self.unreachable < self.connections * CYCLES_BOUND
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "connections": self.connections,
            "seconds": round(self.seconds, 1),
            "before": self.before._asdict(),
            "after": self.after._asdict(),
            "unreachable": self.unreachable,
            "passes": self.passes,
        }

    def __str__(self) -> str:
        grown = (self.after.rss - self.before.rss) / 1024
        return (
            f"{self.kind:40} {self.seconds:6.1f} s  {self.before.rss / 2**20:6.1f} MiB {grown:+7.0f} KiB"
            f"  descriptors {self.before.descriptors} {self.after.descriptors}  active {self.after.active}"
            f"  cycles {self.unreachable:5}  {'ok' if self.passes else 'NOT AS BEFORE'}"
        )


def _measure(kind: EndKind, world: World, connections: int) -> Measured:
    proxy = world.proxy
    quiet = proxy.sizes().descriptors
    _repeat(kind, world, min(_WARM_UP, connections))
    # The pool keeps idle pipes, so there may be more descriptors after the warm-up; others must have been closed.
    time.sleep(1)
    proxy.settled(lambda now: not now.active and now.descriptors <= quiet)
    proxy.collect()
    before = proxy.settled(lambda now: not now.active)
    began = time.monotonic()
    _repeat(kind, world, connections)
    took = time.monotonic() - began
    after = proxy.settled(lambda now: not now.active and now.descriptors <= before.descriptors)
    return Measured(kind.name, connections, took, before, after, proxy.collect())


def _repeat(kind: EndKind, world: World, connections: int) -> None:
    while connections > 0:
        kind.act(world, min(kind.at_once, connections))
        connections -= kind.at_once
        # Clients that do not wait for an end must not run ahead of a proxy on a busy machine: it would hold thousands.
        world.proxy.settled(lambda now: now.active <= kind.at_once)


def _silent(stack: ExitStack) -> int:
    """Port of a target whose queue is full, so that it never answers."""
    listening = stack.enter_context(socket.socket())
    listening.bind((HOST, 0))
    listening.listen(0)
    for _ in range(_FILLING):
        filling = stack.enter_context(socket.socket())
        filling.setblocking(False)
        with suppress(BlockingIOError):
            filling.connect(listening.getsockname())
    port: int = listening.getsockname()[1]
    return port


def _run(options: argparse.Namespace) -> list[Measured]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="ends-")))
        write_pair(directory, DOMAIN)
        certificate = directory / "ends.pem"
        certificate.write_bytes(
            b"".join((directory / f"{DOMAIN}.{kind}").read_bytes() for kind in ("crt", "key"))
        )
        targets = {kind: free_port() for kind in _TARGETS}
        pairs = [f"{kind}={port}" for kind, port in targets.items()]
        command = [*PYTHON, "-m", "benchmarks.ends.targets", str(certificate), *pairs]
        process = stack.enter_context(Process("targets", command, directory / "targets.log", LOAD_CPUS))
        for port in targets.values():
            process.wait_until_listening(HOST, port)
        targets |= {"silent": _silent(stack), "refusing": free_port()}
        ports: dict[str, int] = {}
        made = settings(ports, targets, free_port(), certificate, options.acceleration)
        world = World(stack.enter_context(Proxy(directory, made, ports)), ports)
        chosen = [
            kind for kind in KINDS if not options.only or any(part in kind.name for part in options.only)
        ]
        results = []
        for kind in chosen:
            try:
                results.append(_measure(kind, world, options.connections))
            except OSError as failed:
                raise BenchmarkError(f"{kind.name}: {failed!r}{world.proxy.tail()}") from failed
            print(results[-1], flush=True)
            if options.output is not None:
                _save(options, results)
        return results


def _save(options: argparse.Namespace, results: list[Measured]) -> None:
    kinds = [each.as_json() for each in results]
    report.save(
        {"machine": machine.facts(), "acceleration": options.acceleration, "kinds": kinds}, options.output
    )


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ends", description="Measure what stays of connections, by their end."
    )
    add = parser.add_argument
    add("--connections", type=int, default=CONNECTIONS, help="of each kind")
    add("--only", nargs="*", help="kinds with one of these in their names")
    add("--acceleration", choices=("auto", "off"), default="auto", help="that setting of the proxy")
    add("--output", type=Path, help="JSON file; by default none")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    options = _options(argv)
    exit_on_sigterm()
    allow_descriptors(4_000)
    os.sched_setaffinity(0, LOAD_CPUS)
    try:
        results = _run(options)
    except BenchmarkError as failed:
        print(f"ends: {failed}", *getattr(failed, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    return 0 if all(each.passes for each in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
