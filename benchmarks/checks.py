"""Active checks of 10,000 targets: their CPU time, and for how long they hold up the event loop.

Run by ``python -m benchmarks.checks [COUNT]``. The proxy runs in this process; its targets are the addresses of 127.0.0.0/8, which
another process listens on, one port for all. They are checked by ``connect`` every 5 s. Measured are the share of a core, user
and system, and the longest turn of the event loop: the CPU time between two waits for events, so that other processes do not count.
The wall-clock time of that turn is printed, too. Then the same during reloads, and while every target is down.

The bars: half of a core, and no turn of more than 10 ms while checks run.
"""

from __future__ import annotations

import gc
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet import epollreactor
from twisted.internet.defer import Deferred

from benchmarks.processes import LOAD_CPUS, PYTHON, Process, allow_descriptors, exit_on_sigterm, free_port
from smartproxy import Settings, SmartProxy
from smartproxy.tap import _GC_THRESHOLDS

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 10_000
INTERVAL = 5.0
MOST_SHARE, MOST_TURN = 0.5, 0.010
_RELOADS = 3


class Measured(NamedTuple):
    """One phase.

    :ivar share: of a core.
    :ivar checks: that were made.
    :ivar turn: seconds of CPU time of the longest turn.
    :ivar turn_wall: seconds of the longest turn by the clock.
    """

    name: str
    share: float
    checks: int
    turn: float
    turn_wall: float
    over: int

    def __str__(self) -> str:
        each = self.share and self.checks and f"{self.share * 1e6 / self.checks:.0f}"
        return (
            f"{self.name:24} {self.share * 100:5.1f} % of a core {self.checks:7.0f} checks/s {each:>5} µs/check"
            f"   longest turn {self.turn * 1e3:5.1f} ms (by the clock {self.turn_wall * 1e3:.1f}), {self.over} over 10 ms"
        )


class Turns:
    """Measures the turns of a reactor: it is in the place of its epoll object.

    :ivar longest: seconds of CPU time of the longest turn, and of the clock.
    """

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        self.reset()

    def reset(self) -> None:
        """Begin again."""
        self.longest = self.longest_wall = 0.0
        self.over = 0
        self._began, self._began_wall = time.thread_time(), time.perf_counter()

    def poll(self, *arguments: Any) -> Any:
        """Wait for events: a turn has ended, and another one begins."""
        took = time.thread_time() - self._began
        self.longest = max(self.longest, took)
        self.over += took > MOST_TURN
        self.longest_wall = max(self.longest_wall, time.perf_counter() - self._began_wall)
        events = self._poller.poll(*arguments)
        self._began, self._began_wall = time.thread_time(), time.perf_counter()
        return events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)


class Bench:
    """A proxy and its reactor."""

    def __init__(self, count: int, port: int, directory: Path) -> None:
        self.reactor: Any = epollreactor.EPollReactor()
        self.turns = Turns(self.reactor._poller)  # noqa: SLF001 - the only place that sees every turn
        self.reactor._poller = self.turns  # noqa: SLF001 - likewise
        hosts = [
            f"127.{1 + number // 65536}.{number // 256 % 256}.{number % 256}"
            for number in range(1, count + 1)
        ]
        text = f"""
            targetGroups:
              all: {{targets: [{{host: {hosts}, port: {port}}}], healthCheck: {{interval: {INTERVAL}s, timeout: 2s}}}}
            routes:
              - {{name: all, match: {{ports: {free_port()}, address: 127.0.0.1}}, action: {{group: all}}}}
        """
        file = directory / "smartproxy.yaml"
        file.write_text(text)
        self.proxy = SmartProxy(Settings.load(file), reactor=self.reactor)
        self.results: list[Measured] = []

    @property
    def checks(self) -> int:
        """Checks made so far."""
        groups = self.proxy._runtime.targets.groups  # noqa: SLF001 - the admin API would be measured, too
        return sum(sum(one.member.checks.values()) for one in groups.find("all").candidates)

    async def run(self, stop_target: Callable[[], None]) -> None:
        """All phases."""
        self.proxy.startService()
        await self.sleep(INTERVAL + 1)
        await self.measure("all are up", 2 * INTERVAL)
        await self.measure("three reloads", 2 * INTERVAL, self.reload)
        stop_target()
        await self.measure("all go down", 2 * INTERVAL)
        await self.measure("all are down", 2 * INTERVAL)
        await self.proxy.stopService()

    async def reload(self) -> None:
        for _ in range(_RELOADS):
            await self.proxy.reload()
            await self.sleep(1)

    async def measure(self, name: str, seconds: float, act: Any = None) -> None:
        checks = self.checks
        await self.sleep(0)
        gc.collect()
        await self.sleep(0)
        self.turns.reset()
        cpu, began = time.process_time(), time.perf_counter()
        waited = self.sleep(seconds)
        if act is not None:
            await act()
        await waited
        share = (time.process_time() - cpu) / (time.perf_counter() - began)
        longest, wall, over = self.turns.longest, self.turns.longest_wall, self.turns.over
        self.results.append(
            Measured(name, share, round((self.checks - checks) / seconds), longest, wall, over)
        )
        print(self.results[-1], flush=True)

    def sleep(self, seconds: float) -> Deferred[None]:
        slept: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, slept.callback, None)
        return slept


def main(count: int = COUNT) -> int:
    """Print what was measured; 1 where a bar is missed."""
    exit_on_sigterm()
    allow_descriptors(1024)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        port = free_port()
        command = [*PYTHON, "-m", "benchmarks.backends", "hold", str(port), "0.0.0.0"]
        target = stack.enter_context(Process("targets", command, directory / "targets.log", LOAD_CPUS))
        target.wait_until_listening("127.0.0.1", port)
        bench = Bench(count, port, directory)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        failures: list[object] = []
        done = Deferred.fromCoroutine(bench.run(target.stop)).addErrback(failures.append)
        done.addBoth(lambda _: bench.reactor.stop())
        bench.reactor.run()
        for failure in failures:
            print(failure)
    up = bench.results[0] if bench.results else None
    return int(up is None or up.share > MOST_SHARE or up.turn > MOST_TURN)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
