"""``python -m benchmarks.http``: HTTP beside haproxy and nginx; a table, and ``docs/benchmarks/http.json``.

Exit codes: 0 everything was measured, whether or not the bars are met; 1 something could not be measured; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.http import idle, table, transfers, tunnels, wrk
from benchmarks.processes import LOAD_CPUS, ROOT, BenchmarkError, allow_descriptors, exit_on_sigterm
from benchmarks.series import Series, Workload, run

OUTPUT = ROOT / "docs" / "benchmarks" / "http.json"
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("requests", wrk.UNIT, wrk.probes, 1, in_builds=True),
        Workload("transfers", transfers.UNIT, transfers.probes, 2),
        Workload("tunnels", tunnels.UNIT, tunnels.probes, 2),
        Workload("idle", idle.UNIT, idle.probes, 1),
        Workload("latency", wrk.LATENCY_UNIT, wrk.latency_probes, 1),
    )
}
_QUICK = 0.2


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.http", description="Compare HTTP with other proxies."
    )
    add = parser.add_argument
    add("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="run these workloads only")
    add("--rounds", type=int, default=5, help="number of rounds, whose median counts (default: 5)")
    add("--quick", action="store_true", help="do a fifth of the work, for development")
    add("--output", type=Path, help="JSON file (default: docs/benchmarks/http.json for a whole run)")
    add("--render", action="store_true", help="print the table of the JSON file as RST")
    return parser.parse_args(argv)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    where = machine.facts_for(WORKLOADS[name] for name in options.only)
    os.sched_setaffinity(0, LOAD_CPUS)
    scale = _QUICK if options.quick else 1.0
    measured: dict[str, Series] = {
        name: run(WORKLOADS[name], options.rounds, scale) for name in options.only
    }  # fmt: skip
    return {
        "machine": where,
        "settings": {
            "rounds": options.rounds,
            "quick": options.quick,
            "seconds": report.seconds_of(measured),
        },
        "rows": table.rows(measured),
        "workloads": {
            name: {"unit": each.unit, "seconds": each.seconds, "rounds": each.rounds}
            for name, each in measured.items()
        },
    }


def main(argv: list[str]) -> int:
    options = _arguments(argv)
    exit_on_sigterm()
    allow_descriptors(1024)
    try:
        if options.render:
            print(table.rst(report.load(options.output or OUTPUT)))
            return 0
        content = _measure(options)
    except (BenchmarkError, OSError) as failed:
        print(f"benchmarks.http: {failed}", *getattr(failed, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    print(table.text(content))
    print("", report.duration(content), sep="\n")
    whole = not options.quick and len(options.only) == len(WORKLOADS)
    if whole or options.output:
        report.save(content, options.output or OUTPUT)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
