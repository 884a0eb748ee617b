"""Rounds: every contestant by turns, again and again, and the median at the end.

What disturbs a machine lasts for seconds. Contestants take turns within a round, so that a disturbance
meets them all, and ratios are taken in each round first, and their median after that. Each turn goes through
them in another order, drawn anew: whoever comes after the hungriest of them finds cold caches, and it
shall not always be the same one.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import BenchmarkError

#: Measures one contestant once, in the unit of its workload.
Probe = Callable[[], float]


@dataclass(slots=True)
class Series:
    """All that was measured of one workload: by contestant (``NAME`` or ``NAME/VARIANT``), a value a round."""

    unit: str
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, key: str) -> float | None:
        """The median of a contestant's rounds; None where it did not take part."""
        values = self.rounds.get(key)
        return statistics.median(values) if values else None

    def ratio(self, key: str, to: str) -> float | None:
        """The median, over the rounds, of ``key``'s value divided by that of ``to`` in the same round."""
        pairs = list(zip(self.rounds.get(key, ()), self.rounds.get(to, ()), strict=True))
        return statistics.median(ours / theirs for ours, theirs in pairs) if pairs else None


@dataclass(frozen=True, slots=True)
class Workload:
    """A name, a unit, and how to get everything ready.

    :ivar prepare: called with what unwinds afterwards, an empty directory and a scale (1.0: as published).
    :ivar turns: how often each contestant is measured in a round, whose value is their mean.
    """

    name: str
    unit: str
    prepare: Callable[[ExitStack, Path, float], Mapping[str, Probe]]
    turns: int


def run(workload: Workload, rounds: int, scale: float) -> Series:
    """Measure one workload. Says on standard error how far it is."""
    series = Series(workload.unit)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smartproxy-bench-")))
        _say(f"{workload.name}: starting")
        probes = workload.prepare(stack, directory, scale)
        for number in range(rounds):
            _say(f"{workload.name}: round {number + 1} of {rounds}, {workload.unit}")
            for key, value in _round(probes, workload.turns).items():
                series.rounds.setdefault(key, []).append(value)
                _say(f"    {key:<20} {value:.4g}")
    return series


def _round(probes: Mapping[str, Probe], turns: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {key: [] for key in probes}
    order = list(probes)
    for _ in range(turns):
        random.shuffle(order)
        for key in order:
            taken[key].append(_taken(key, probes[key]))
    return {key: statistics.fmean(values) for key, values in taken.items()}


def _taken(key: str, probe: Probe) -> float:
    try:
        return probe()
    except (OSError, BenchmarkError) as failed:
        raise BenchmarkError(f"{key}: {failed}") from failed


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
