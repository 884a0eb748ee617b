"""``python -m benchmarks.soak --minutes N``: the proxy under mixed traffic and faults, and whether it leaks or miscounts.

Sixty clients use a proxy over loopback, correctly or with faults: urgent bytes, last bytes with a reset behind them, stalled
handshakes, garbage, late PROXY headers, slow readers, a handler that ignores its cancel. Meanwhile transfers of up to 256 MB
pass, quiet connections stay open, the proxy is scraped and reloaded, its certificates are replaced, and connections are
ended through its API. When all clients have finished, its memory and descriptors must be as after the warm-up, and its
counters must equal those of the clients and of the backends, to the byte. Its size is sampled every ten seconds.

With ``--workers`` above 1 a worker of the proxy is killed every 20 seconds, or ended, or all are replaced. A conversation during
which one was killed may end with it, and what that worker had counted last is lost: so instead of being equal to those of
clients and backends, the counters must never decrease.

Exit codes: 0 all verdicts are true; 1 one is not, or the run failed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from random import SystemRandom
from typing import Any

from benchmarks import machine, report
from benchmarks.processes import LOAD_CPUS, ROOT, BenchmarkError, exit_on_sigterm
from benchmarks.soak.run import Plan, Soak
from benchmarks.soak.verdicts import faults

#: Written by a full run, if no other file is named.
OUTPUT = ROOT / "docs" / "benchmarks" / "soak.json"
#: Minutes of a full run: those of ``make soak``.
FULL = 60.0


def _run(options: argparse.Namespace) -> dict[str, Any]:
    where = machine.facts()
    plan = Plan(
        options.minutes * 60,
        options.warm_up,
        options.clients,
        options.workers,
        options.big * 10**6,
        options.acceleration,
        options.strict,
        options.seed,
    )
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        soak = Soak(stack, directory, plan)
        verdicts = asyncio.run(soak.run())
        if options.log is not None:
            options.log.write_text(soak.end.log)
        if not all(verdicts.values()):
            lines = soak.end.log.splitlines()
            print(*lines[-40:], "faults:", *faults(soak.end.log)[:20], sep="\n", file=sys.stderr)
        ledger, end = soak.clients.ledger, soak.end
        return {
            **{key: value for key, value in vars(options).items() if key not in {"output", "log"}},
            "machine": where,
            "verdicts": verdicts,
            "counts": {**soak.counts, **dict(sorted(ledger.outcomes.items()))},
            "errors": ledger.errors,
            "refused": {
                reason: [count, end.shown["rejected"][reason]] for reason, count in ledger.refused.items()
            },
            "books": {
                "opened": ledger.opened,
                "clients": ledger.moved,
                "proxy": end.series,
                "backends": end.backends,
            },
            "samples": soak.samples,
        }


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description="Run smartproxy under mixed traffic and faults."
    )
    add = parser.add_argument
    add(
        "--minutes",
        type=float,
        required=True,
        help=f"minutes of traffic after the warm-up; {FULL:.0f} is a full run",
    )
    add("--warm-up", type=float, default=15.0, help="seconds of traffic before the first measurement")
    add("--clients", type=int, default=60, help="how many at the same time")
    add(
        "--workers",
        type=int,
        default=1,
        help="processes of the proxy; several are killed, ended and replaced meanwhile",
    )
    add(
        "--big",
        type=int,
        default=256,
        help="most megabytes of the big transfers; the least is a quarter of it",
    )
    add("--acceleration", choices=("auto", "off"), default="auto", help="that setting of the proxy")
    add("--strict", action="store_true", help="run the proxy with python -X dev -W error")
    add("--seed", default=str(SystemRandom().randrange(10**6)), help="seed, to repeat a run")
    add(
        "--output",
        type=Path,
        help=f"JSON file; by default {OUTPUT.relative_to(ROOT)} for a full run, else none",
    )
    add("--log", type=Path, help="file for the log of the proxy; by default it is not kept")
    options = parser.parse_args(argv)
    if options.output is None and options.minutes >= FULL and not options.strict:
        options.output = OUTPUT
    return options


def main(argv: list[str]) -> int:
    options = _options(argv)
    exit_on_sigterm()
    os.sched_setaffinity(0, LOAD_CPUS)
    print(f"seed {options.seed}", flush=True)
    try:
        content = _run(options)
    except (BenchmarkError, OSError) as failed:
        print(f"soak: {failed}", *getattr(failed, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    for what in ("counts", "refused", "verdicts"):
        print(*(f"{name:45} {value}" for name, value in content[what].items()), sep="\n")
    print(*content["errors"], *content["samples"][-3:], sep="\n")
    if options.output is not None:
        report.save(content, options.output)
    return 0 if all(content["verdicts"].values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
