"""``python -m benchmarks.soak --minutes N``: the proxy under mixed traffic, and whether it leaks or miscounts.

Thirty clients use a proxy over loopback, some correctly, some with faults; meanwhile it is scraped and reloaded, and
connections are ended through its API. When all clients have finished, its memory and descriptors must be as after the
warm-up, and its counters must equal those of the clients and of the backends, to the byte. Its size is sampled every
ten seconds. Exit codes: 0 all verdicts are true; 1 one is not, or the run failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from random import Random, SystemRandom
from types import FrameType
from typing import Any

from benchmarks import machine, report
from benchmarks.processes import LOAD_CPUS, PYTHON, ROOT, BenchmarkError, Process, free_port
from benchmarks.soak_clients import Clients, every
from benchmarks.soak_proxy import Ports, Proxy, settings
from benchmarks.soaking import CLEAN, FAULTY, HOST

OUTPUT = ROOT / "docs" / "benchmarks" / "soak.json"
_WORKERS = 30
_WARM_UP = 15.0
_SAMPLE_EVERY = 10.0
_SETTLES_WITHIN = 60.0
#: Bytes that the process may grow by after the warm-up: its statistics, and memory that the allocator keeps.
_RSS_BOUND = 15 << 20
#: Descriptors of the 32 idle pipes that a proxy keeps.
_SPARE_PIPE_ENDS = 64


class Soak:
    """One run.

    :ivar samples: sizes, with seconds since the start.
    """

    def __init__(self, stack: ExitStack, directory: Path, seed: str) -> None:
        self._random = Random(seed)
        self.counts: Counter[str] = Counter()
        self.samples: list[dict[str, Any]] = []
        self._began = time.monotonic()
        backends = {route: free_port() for route in (*CLEAN, FAULTY)}
        self._control = free_port()
        ports = Ports(*(free_port() for _ in Ports._fields))
        self._settings = settings(ports, backends, free_port())
        pairs = [f"{route}={port}" for route, port in backends.items()]
        command = [*PYTHON, "-m", "benchmarks.soaking", seed, str(self._control), *pairs]
        backend = stack.enter_context(Process("backends", command, directory / "backends.log", LOAD_CPUS))
        backend.wait_until_listening(HOST, self._control)
        self.proxy = stack.enter_context(Proxy(directory, self._settings))
        self.clients = Clients(ports, _WORKERS, seed)

    async def run(self, seconds: float) -> dict[str, bool]:
        """Warm up, soak, settle and judge."""
        now = asyncio.get_running_loop().time
        await self.clients.run(now() + _WARM_UP)
        warm = await self._settled(None)
        until = now() + seconds
        await asyncio.gather(
            self.clients.run(until),
            every(_SAMPLE_EVERY, until, self._sample),
            every(1.7, until, self._scrape),
            every(7.3, until, self._reload),
            every(0.9, until, self._end_one),
        )
        self.proxy.configure(self._settings)
        self.proxy.hang_up()
        return self._verdicts(warm, await self._settled(warm))

    async def _settled(self, warm: dict[str, int] | None) -> dict[str, int]:
        """Wait, with a limit, until no connection is open, and return the size."""
        deadline = time.monotonic() + _SETTLES_WITHIN
        while time.monotonic() < deadline:
            await asyncio.sleep(1)
            size = await self._sample()
            queued = self.proxy.api("metrics")["cleanup"]["queued"]
            as_before = warm is None or size["otherDescriptors"] <= warm["otherDescriptors"]
            if not size["connections"] and not queued and as_before:
                break
        return await self._sample()

    async def _sample(self) -> dict[str, int]:
        size = await asyncio.to_thread(self.proxy.size)
        self.samples.append({"second": round(time.monotonic() - self._began, 1), **size})
        return size

    async def _scrape(self) -> None:
        path = self._random.choice(("/metrics", "/api/v1/metrics", "/api/v1/connections", "/api/v1/routes"))
        await asyncio.to_thread(self.proxy.ask, path)
        self.counts["scrapes"] += 1

    async def _reload(self) -> None:
        """Reload with and without the spare route in turn, so that a port is opened and closed."""
        self.counts["reloads"] += 1
        routes = self._settings["routes"]
        self.proxy.configure({**self._settings, "routes": routes[: len(routes) - self.counts["reloads"] % 2]})
        self.proxy.hang_up()

    async def _end_one(self) -> None:
        found = (await asyncio.to_thread(self.proxy.api, f"connections?route={FAULTY}"))["connections"]
        if found:
            one = self._random.choice(found)["id"]
            await asyncio.to_thread(self.proxy.ask, f"/api/v1/connections/{one}", "DELETE")
            self.counts["deletes"] += 1

    def _verdicts(self, warm: dict[str, int], size: dict[str, int]) -> dict[str, bool]:
        self.series = self.proxy.series()
        shown = self.proxy.api("metrics")
        self.backends = self._backend_totals()
        live = self.proxy.api("connections")["connections"]
        self.proxy.stop()
        totals = shown["totals"]
        return {
            "clean conversations end as they must": not self.clients.failed,
            "no connection is left": not live and not any(self.series["connections_active"].values()),
            "no client is left": not shown["connections"]["byIP"],
            "the cleanup queue is empty": not shown["cleanup"]["queued"],
            "no connection is found that nobody ended": not shown["zombies"]["full"],
            "no fault of ours": not shown["closed"]["error"]
            and "Traceback" not in self.proxy.log.read_text(),
            "descriptors not above the warm-up": size["otherDescriptors"] <= warm["otherDescriptors"],
            "no more pipes than are kept": size["pipeEnds"] <= _SPARE_PIPE_ENDS,
            "memory as after the warm-up": size["rssBytes"] - warm["rssBytes"] <= _RSS_BOUND,
            "content is what was sent": not any(book["corrupt"] for book in self.backends.values()),
            "clean routes: connections add up": all(map(self._opened_agree, CLEAN)),
            "clean routes: bytes add up": all(map(self._bytes_agree, CLEAN)),
            "totals are the sums over routes": (totals["bytesReceived"], totals["bytesSent"])
            == tuple(sum(self.series[name].values()) for name in ("received_bytes", "sent_bytes")),
            "it stops with 0": self.proxy.exit_code == 0,
        }

    def _opened_agree(self, route: str) -> bool:
        return self.clients.opened[route] == self.series["connections"][route]

    def _bytes_agree(self, route: str) -> bool:
        """Whether the counters of clients, proxy and backends agree."""
        clients, backends = self.clients.moved[route], self.backends[route]
        up = {clients["sent"], self.series["received_bytes"][route], backends["received"]}
        down = {clients["received"], self.series["sent_bytes"][route], backends["sent"]}
        return len(up) == len(down) == 1

    def _backend_totals(self) -> dict[str, dict[str, int]]:
        with socket.create_connection((HOST, self._control), 10) as control, control.makefile("rb") as answer:
            books: dict[str, dict[str, int]] = json.load(answer)
        return books


def _end(number: int, frame: FrameType | None) -> None:
    """Exit through every ``finally``, so that all started processes end."""
    del frame
    raise SystemExit(128 + number)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    where = machine.facts()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        soak = Soak(stack, directory, options.seed)
        verdicts = asyncio.run(soak.run(options.minutes * 60))
        if not all(verdicts.values()):
            print(*soak.proxy.log.read_text(errors="replace").splitlines()[-40:], sep="\n", file=sys.stderr)
        books = {"clients": soak.clients.moved, "proxy": soak.series, "backends": soak.backends}
        return {
            "minutes": options.minutes,
            "seed": options.seed,
            "machine": where,
            "verdicts": verdicts,
            "counts": {**soak.counts, **dict(sorted(soak.clients.outcomes.items()))},
            "errors": soak.clients.errors,
            "books": books,
            "samples": soak.samples,
        }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description="Run smartproxy under mixed traffic."
    )
    parser.add_argument("--minutes", type=float, required=True, help="minutes of traffic after the warm-up")
    parser.add_argument("--seed", default=str(SystemRandom().randrange(10**6)), help="seed, to repeat a run")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON file")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _end)
    os.sched_setaffinity(0, LOAD_CPUS)
    print(f"seed {options.seed}", flush=True)
    try:
        content = _run(options)
    except (BenchmarkError, OSError) as failed:
        print(f"soak: {failed}", *getattr(failed, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    for what in ("counts", "verdicts"):
        print(*(f"{name:45} {value}" for name, value in content[what].items()), sep="\n")
    print(*content["errors"], *content["samples"][-3:], sep="\n")
    report.save(content, options.output)
    return 0 if all(content["verdicts"].values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
