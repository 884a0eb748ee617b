"""Installs with pip, and says what: ``.ci/install.py REQUIREMENT...`` with the Python of the environment to install into.

pip itself prints either several lines for each package or, with --quiet, nothing for a minute. This prints each name once
while it works. If pip fails, everything that it has printed follows.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time

#: Lines of pip that begin the work on another package, or on all of them.
_COLLECTING = re.compile(r"\s*(?:Collecting|Obtaining|Processing) ([\w.:/-]+)")
_INSTALLING = re.compile(r"\s*Installing collected packages: (.*)")
_BUILDING = re.compile(r"\s*Building (?:wheel|editable) for (\S+)")
_WIDTH = 100


class Progress:
    """Prints names one after the other, in lines of limited width."""

    def __init__(self) -> None:
        self._column = 0

    def add(self, name: str) -> None:
        if self._column + len(name) > _WIDTH:
            self.end()
        text = f"   {name}" if not self._column else f" {name}"
        print(text, end="", flush=True)
        self._column += len(text)

    def end(self) -> None:
        if self._column:
            print(flush=True)
        self._column = 0


def report(line: str, progress: Progress) -> None:
    """Print what a line of pip means."""
    if found := _COLLECTING.match(line):
        name = found[1]
        progress.add("smartproxy" if "/" in name else name)
    elif found := _BUILDING.match(line):
        progress.add(f"(building {found[1]})")
    elif found := _INSTALLING.match(line):
        progress.end()
        print(f"   installing {len(found[1].split(','))} packages", flush=True)


def main(requirements: list[str]) -> int:
    print(f"== installing into {sys.prefix}: smartproxy and what it needs", flush=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    child = subprocess.Popen(  # noqa: S603 - what the Makefile gives it
        [*command, "--progress-bar=off", *requirements],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    printed, progress = [], Progress()
    for line in child.stdout or ():
        printed.append(line)
        report(line, progress)
    progress.end()
    code = child.wait()
    if code:
        print("".join(printed), file=sys.stderr)
    else:
        print(f"== installed after {time.monotonic() - began:.0f} s", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
