"""One page of ``/metrics`` with 10,000 routes: its size, its CPU time, and for how long it blocks the event loop.

Run by ``python -m benchmarks.scrape``. The bars: with 100 of the routes used, a page has at most 3 MB and takes at most
60 ms; and in each case no part of it that is written in one event loop iteration takes more than 8 ms.

Times are those of the processor, so that other processes do not count. An iteration ends as in
:mod:`smartproxy.admin.api`: with the first piece after 2 ms.
"""

from __future__ import annotations

import gc
from itertools import chain
from time import process_time
from typing import NamedTuple

from twisted.internet.task import Clock

from smartproxy.connections.registry import Registry
from smartproxy.metrics.counters import Counters
from smartproxy.metrics.families import families
from smartproxy.metrics.process import process_families
from smartproxy.metrics.prometheus import exposition
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.plan import CleanupPlan

ROUTES = 10_000
SLICE = 0.002
MOST_BYTES, MOST_SECONDS, MOST_BLOCKED = 3_000_000, 0.060, 0.008
BEST_OF = 5
#: Used routes, and live connections on them.
CASES = ((100, 0), (100, 10_000), (10_000, 0))


class Scraped(NamedTuple):
    """One page.

    :ivar size: bytes.
    :ivar seconds: of the processor, for the whole page.
    :ivar blocked: likewise, of the longest event loop iteration.
    """

    size: int
    seconds: float
    blocked: float


def counted(used: int, live: int) -> tuple[Registry, Counters]:
    """The counters of a proxy with so many used routes and live connections."""
    counters = Counters()
    names = [f"customer-{number:05d}" for number in range(ROUTES)]
    counters.keep(names, 0.0)
    registry = Registry(counters, CleanupPlan(), Clock())
    for name in names[:used]:
        of_route = counters.route(name)
        of_route.opened = 1
        of_route.dial_seconds.observe(0.01)
        of_route.duration_seconds.observe(1.0)
    for number in range(live):
        record = registry.open(Accepted(":443", 443, Endpoint("192.0.2.1", 5000), 0.0))
        registry.identify(record, record.peer)
        registry.assign(record, names[number % used])
    return registry, counters


def scrape(registry: Registry, counters: Counters) -> Scraped:
    """Write a page in the way of the admin listener."""
    gc.collect()
    body, blocked = bytearray(), 0.0
    began = iteration = process_time()
    for piece in exposition(chain(families(registry, counters), process_families()))[0]:
        body += piece
        now = process_time()
        blocked = max(blocked, now - iteration)
        if now >= iteration + SLICE:
            iteration = process_time()
    return Scraped(len(body), process_time() - began, blocked)


def main() -> int:
    """Print the figures; 1 if a bar is missed."""
    missed = False
    print("used routes   live connections      bytes    ms of CPU   ms of the longest iteration")
    for used, live in CASES:
        proxy = counted(used, live)
        pages = [scrape(*proxy) for _ in range(BEST_OF)]
        size, seconds, blocked = (min(values) for values in zip(*pages, strict=True))
        print(f"{used:11,} {live:18,} {size:10,} {seconds * 1e3:12.1f} {blocked * 1e3:29.2f}")
        missed |= blocked > MOST_BLOCKED or (used < ROUTES and (size > MOST_BYTES or seconds > MOST_SECONDS))
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
