"""``python -m tests.fuzz.run [--seconds N] [TARGET ...]``: run fuzz targets one after the other.

atheris guides the inputs by coverage of ``smartproxy``; where it is not installed, Hypothesis guides them by how far a
parser came. Interesting inputs are kept in ``.fuzz/TARGET`` for the next run. Exit codes: 0 every property held; 1 one
did not: its input is printed, and belongs into :mod:`tests.fuzz.regressions`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = ROOT / ".fuzz"
ENGINES = ("atheris", "hypothesis")
#: What libFuzzer calls the input that failed, took too long, or took too much memory.
_FOUND = ("crash-*", "timeout-*", "oom-*")
#: Longest input in bytes. Cuts at every offset make a test quadratic, so longer ones are slow and find little.
_LONGEST = 1024
#: An input that takes longer than this is a finding. No input of this length should take a second.
_SECONDS_PER_INPUT = 20
_EXAMPLES = 500


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description="Run fuzz targets.")
    parser.add_argument("--seconds", type=int, default=60, help="time for each target (default: 60)")
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[not find_spec("atheris")])
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="directory of inputs (default: .fuzz)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", metavar="TARGET", nargs="*", help="without any, all")
    options = parser.parse_args(argv)
    if options.inside:
        engine = {"atheris": _atheris, "hypothesis": _hypothesis}[options.engine]
        return engine(*options.targets, options)
    names = _names()
    unknown = set(options.targets) - set(names)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    failed = [name for name in options.targets or names if not _run(name, options)]
    print(f"failed: {', '.join(failed)}" if failed else "every property held", flush=True)
    return bool(failed)


def _names():
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - atheris has to instrument what this imports

    return list(TARGETS)


def _run(name, options):
    """Run one target in a process of its own, which libFuzzer ends. Returns whether every property held."""
    print(f"== {name}, {options.seconds} s, {options.engine}", flush=True)
    command = [sys.executable, "-m", "tests.fuzz.run", "--inside", "--engine", options.engine]
    command += ["--corpus", str(options.corpus.resolve())]
    done = subprocess.run(
        [*command, "--seconds", str(options.seconds), name],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    lines = done.stdout.splitlines()
    if not done.returncode:
        print(*lines[-1:], sep="\n", flush=True)
        return True
    print(*lines[-60:], sep="\n")
    for path in (path for pattern in _FOUND for path in (options.corpus / f"{name}.found").glob(pattern)):
        print(f"input: {path.read_bytes()!r}", flush=True)
    return False


def _atheris(name, options):
    import atheris  # noqa: PLC0415 - optional

    with atheris.instrument_imports(include=["smartproxy", "tomllib"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - see above

    target = TARGETS[name]
    corpus, found = options.corpus / name, options.corpus / f"{name}.found"
    for directory in (corpus, found):
        directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            f"-max_total_time={options.seconds}",
            f"-max_len={_LONGEST}",
            f"-timeout={_SECONDS_PER_INPUT}",
            f"-artifact_prefix={found}{os.sep}",
        ],
        target.check,
    )
    atheris.Fuzz()


def _hypothesis(name, options):
    from hypothesis import HealthCheck, given, settings, target  # noqa: PLC0415 - atheris does without
    from hypothesis.database import DirectoryBasedExampleDatabase  # noqa: PLC0415 - likewise

    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - likewise
    from tests.wire.ways import damaged  # noqa: PLC0415 - likewise

    fuzzed = TARGETS[name]
    runs, failing = 0, False

    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=DirectoryBasedExampleDatabase(options.corpus / "hypothesis"),
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(*fuzzed.seeds))
    def run(data):
        nonlocal runs, failing
        runs += 1
        # What has failed once must fail until it is reduced, however long that takes.
        if not failing and time.monotonic() >= until:
            return
        try:
            understood = fuzzed.check(data)
        except Exception:
            failing = True
            raise
        target(float(understood))

    until = time.monotonic() + options.seconds
    while time.monotonic() < until:
        run()
    print(f"Done {runs} runs")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
