"""Choosing a route: microseconds for one look-up, among 10 routes and among 10,000.

The same questions as ``python -m benchmarks.routes``, whose tables these are; here as a workload, so that
they stand in the table with the rest. What a whole connection costs with as many routes is measured by
``connections``.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.routes import asking_for, microseconds, table_of
from benchmarks.series import Probe

UNIT = "µs/look-up"
_BEST_OF = 5
#: Met exactly, by a wildcard, by a wildcard two labels up, and not at all: in both tables alike.
_NAMES = ("host2.example.com", "www.host3.example.com", "a.b.host5.example.com", "other.example.org")


def probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """The tables made. Nothing is started, and a tenth of the work would save nothing."""
    del stack, directory, scale
    tables = {"ours/10": table_of(10), "ours/10000": table_of(10_000)}
    facts = [asking_for(name) for name in _NAMES]

    def best(key: str) -> float:
        return min(microseconds(tables[key], facts) for _ in range(_BEST_OF))

    return {key: partial(best, key) for key in tables}
