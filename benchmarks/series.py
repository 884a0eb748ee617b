"""Rounds in which all contestants take turns, and their median.

A disturbance of the machine lasts for seconds. Contestants take turns within a round, so that a disturbance affects
all of them; ratios are computed in each round, and then their median. The order is shuffled in each turn: the
contestant after the one that uses most memory starts with cold caches, and must not always be the same one.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import BenchmarkError

#: Measures one contestant once, in the unit of its workload.
Probe = Callable[[], float]


def entry_of(key: str, variant: str) -> str:
    """The key of a variant of a contestant, before the build: ``ours/close/debian`` for ``ours/debian`` and ``close``."""
    name, *build = key.split("/")
    return "/".join([name, *filter(None, [variant]), *build])


@dataclass(slots=True)
class Series:
    """The results of one workload: a value per round for each contestant (``NAME`` or ``NAME/VARIANT``).

    :ivar seconds: how long the workload took, its start included.
    """

    unit: str
    rounds: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0

    def median(self, key: str) -> float | None:
        """The median of a contestant's rounds; None if it was not measured."""
        values = self.rounds.get(key)
        return statistics.median(values) if values else None

    def ratio(self, key: str, to: str) -> float | None:
        """The median, over the rounds, of ``key``'s value divided by that of ``to`` in the same round.

        None if either was not measured.
        """
        if key not in self.rounds or to not in self.rounds:
            return None
        pairs = zip(self.rounds[key], self.rounds[to], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


@dataclass(frozen=True, slots=True)
class Workload:
    """A name, a unit, and the function that starts everything.

    :ivar prepare: called with the stack that ends all processes, an empty directory and a scale (1.0: as published).
    :ivar turns: number of measurements of each contestant in a round, whose value is their mean.
    :ivar in_builds: whether other builds of smartproxy are among the contestants.
    """

    name: str
    unit: str
    prepare: Callable[[ExitStack, Path, float], Mapping[str, Probe]]
    turns: int
    in_builds: bool = False


def run(workload: Workload, rounds: int, scale: float) -> Series:
    """Measure one workload, with progress on standard error."""
    series = Series(workload.unit)
    began = time.monotonic()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smartproxy-bench-")))
        _report(f"{workload.name}: starting")
        probes = workload.prepare(stack, directory, scale)
        for number in range(rounds):
            _report(f"{workload.name}: round {number + 1} of {rounds}, {workload.unit}")
            for key, value in _round(probes, workload.turns).items():
                series.rounds.setdefault(key, []).append(value)
                _report(f"    {key:<24} {value:.4g}")
    series.seconds = round(time.monotonic() - began, 1)
    return series


def _round(probes: Mapping[str, Probe], turns: int) -> dict[str, float]:
    by_contestant: dict[str, list[float]] = {key: [] for key in probes}
    order = list(probes)
    for _ in range(turns):
        random.shuffle(order)
        for key in order:
            by_contestant[key].append(_measure(key, probes[key]))
    return {key: statistics.fmean(values) for key, values in by_contestant.items()}


def _measure(key: str, probe: Probe) -> float:
    try:
        return probe()
    except (OSError, BenchmarkError) as failed:
        raise BenchmarkError(f"{key}: {failed}") from failed


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
