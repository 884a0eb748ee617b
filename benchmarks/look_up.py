"""Choosing a route: microseconds per look-up, among 10 routes and among 10,000.

The tables and look-ups of ``python -m benchmarks.routes`` as a workload, so that the results are in the same table
as the others. The cost of a whole connection with as many routes is measured by ``connections``.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.routes import facts_for, microseconds, table_of
from benchmarks.series import Probe

UNIT = "µs/look-up"
_BEST_OF = 5
#: Matched exactly, by a wildcard, by a wildcard two labels up, and not at all, in both tables.
_NAMES = ("host2.example.com", "www.host3.example.com", "a.b.host5.example.com", "other.example.org")


def probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Build the tables. ``scale`` is ignored, since the work is small."""
    del stack, directory, scale
    tables = {"ours/10": table_of(10), "ours/10000": table_of(10_000)}
    facts = [facts_for(name) for name in _NAMES]

    def best(key: str) -> float:
        return min(microseconds(tables[key], facts) for _ in range(_BEST_OF))

    return {key: partial(best, key) for key in tables}
