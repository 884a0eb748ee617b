"""Four processes that claim connections as fast as they can, all at once; prints what each limit has admitted.

::

    python -m tests.live.claiming LIMIT CLAIMS

Each process is forked, as workers are, and has a row, a registry and limits of its own. In a burst no connection is closed,
so what is live at its end is what was admitted at any time. Then one process is killed and replaced, and there is a second
burst: it is admitted in place of the connections of the dead process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from smartproxy.workers.cells import Cells
from smartproxy.workers.memory import LimitsMemory
from tests.workers.sharing import CLIENT, Process, a_plan

if TYPE_CHECKING:
    from collections.abc import Callable

PROCESSES = 4
LIMIT, CLAIMS = (int(argument) for argument in sys.argv[1:])

#: By the limit: what is configured, and a claim of one process.
BURSTS: dict[str, tuple[dict[str, int], Callable[[Process], bool]]] = {
    "global": ({}, lambda one: one.open(LIMIT)),
    "route": ({"route_limit": LIMIT}, lambda one: one.assign(limit=LIMIT)),
    "client": ({"max_connections_per_ip": LIMIT}, lambda one: one.add_client(limit=LIMIT)),
    "rate": ({"connection_rate_per_minute": LIMIT}, lambda one: one.limits.allow(CLIENT, LIMIT)),
}


class Child:
    """A forked process, its row, and the pipes to and from it."""

    def __init__(
        self, memory: LimitsMemory, limits: dict[str, int], claim: Callable[[Process], bool]
    ) -> None:
        process = Process(memory, time.monotonic)
        self.row = process.row
        started, self.start = os.pipe()
        self.results, results = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            process.apply(a_plan(**limits))
            while os.read(started, 1) == b"+":
                admitted = sum(claim(process) for _ in range(CLAIMS // PROCESSES))
                os.write(results, admitted.to_bytes(4))
            os._exit(0)
        for descriptor in (started, results):
            os.close(descriptor)

    def end(self, memory: LimitsMemory) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        memory.forget(self.row)
        for descriptor in (self.start, self.results):
            os.close(descriptor)


def burst(children: list[Child]) -> list[int]:
    """How many each has admitted."""
    for child in children:
        os.write(child.start, b"+")
    return [int.from_bytes(os.read(child.results, 4)) for child in children]


def scenario(limits: dict[str, int], claim: Callable[[Process], bool]) -> list[int]:
    """How many were admitted in the first burst, by the process that was killed then, and in the second; live at the end."""
    memory = LimitsMemory.create(PROCESSES + 1)
    live = Cells(memory, memory.claim()).live
    children = [Child(memory, limits, claim) for _ in range(PROCESSES)]
    first = burst(children)
    children.pop(0).end(memory)
    children.append(Child(memory, limits, claim))
    second = burst(children)
    total = live.total()
    for child in children:
        child.end(memory)
    memory.close()
    return [sum(first), first[0], sum(second), total]


print(json.dumps({name: [scenario(*what) for _ in range(3)] for name, what in BURSTS.items()}))
