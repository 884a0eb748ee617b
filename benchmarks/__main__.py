"""``python -m benchmarks``: run the workloads, print the table, write ``docs/benchmarks/latest.json``.

Exit codes: 0 everything was measured, whether or not the bars are met, since a busy machine may miss them;
1 something could not be measured; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks import bulk, chart, connections, idle, look_up, machine, report, saturation, tls
from benchmarks.processes import LOAD_CPUS, BenchmarkError, allow_descriptors, exit_on_sigterm
from benchmarks.series import Series, Workload, run

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("bulk", bulk.UNIT, bulk.probes, 4, in_builds=True),
        Workload("connections", connections.UNIT, connections.probes, 4, in_builds=True),
        Workload("idle", idle.UNIT, idle.probes, 1),
        Workload("routes", look_up.UNIT, look_up.probes, 4),
        Workload("saturation", saturation.RATE_UNIT, saturation.rate_probes, 1),
        Workload("latency", saturation.LATENCY_UNIT, saturation.latency_probes, 1),
        Workload("tls-bulk", tls.BULK_UNIT, tls.bulk_probes, 4),
        Workload("tls-handshakes", tls.HANDSHAKE_UNIT, tls.handshake_probes, 4, in_builds=True),
        Workload("tls-idle", tls.IDLE_UNIT, tls.idle_probes, 1),
    )
}
_QUICK = 0.1


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Compare smartproxy with other proxies."
    )
    parser.add_argument(
        "--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="run these workloads only"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="number of rounds, whose median counts (default: 5)"
    )
    parser.add_argument("--quick", action="store_true", help="do a tenth of the work, for development")
    parser.add_argument("--output", type=Path, help="JSON file (default: docs/benchmarks/latest.json)")
    parser.add_argument("--render", action="store_true", help="print the table of the JSON file as RST")
    return parser.parse_args(argv)


def _measure(options: argparse.Namespace) -> report.Document:
    where = machine.facts_for(WORKLOADS[name] for name in options.only)
    os.sched_setaffinity(0, LOAD_CPUS)
    scale = _QUICK if options.quick else 1.0
    measured: dict[str, Series] = {
        name: run(WORKLOADS[name], options.rounds, scale) for name in options.only
    }  # fmt: skip
    return report.document(measured, where, rounds=options.rounds, quick=options.quick)


def main(argv: list[str]) -> int:
    options = _arguments(argv)
    exit_on_sigterm()
    allow_descriptors(1024)
    try:
        if options.render:
            print(report.rst(report.load(options.output or report.LATEST)))
            return 0
        content = _measure(options)
    except (BenchmarkError, OSError) as failed:
        print(f"benchmarks: {failed}", *getattr(failed, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    print(report.text(content))
    print("", report.duration(content), sep="\n")
    whole = not options.quick and len(options.only) == len(WORKLOADS)
    if whole or options.output:
        path = options.output or report.LATEST
        report.save(content, path)
        chart.save(content, path.with_suffix(".svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
