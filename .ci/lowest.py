#!/usr/bin/env python3
"""Print the lowest version of each direct dependency as pip constraints: ``name==version``.

Usage: .ci/lowest.py [EXTRA...] (from anywhere; reads setup.cfg of this checkout)

The versions come from ``install_requires`` and from the extras named on the command line. ``make lowest`` installs
them and runs the tests of ``make unit``, so a lower bound in setup.cfg is a tested one. Dependencies of dependencies
are not constrained: pip takes the newest that fits. Standard library only: it runs before anything is installed.
"""

import re
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

SETUP = Path(__file__).resolve().parent.parent / "setup.cfg"
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)\s*(?:>=|==)\s*(?P<version>[0-9][0-9A-Za-z.]*)")


def requirements(setup: ConfigParser, extras: list[str]) -> list[str]:
    """The lines of ``install_requires`` and of these extras, without comments."""
    tables = [setup["options"]["install_requires"]]
    tables += [setup["options.extras_require"][extra] for extra in extras]
    return [line.strip() for table in tables for line in table.splitlines() if line.strip()]


def constraints(lines: list[str]) -> Iterator[str]:
    """Raise :exc:`SystemExit` for a requirement that has no lower bound."""
    for line in lines:
        found = REQUIREMENT.match(line)
        if found is None:
            raise SystemExit(f"{SETUP}: no lower bound: {line}")
        yield f"{found['name']}=={found['version']}"


def main(extras: list[str]) -> None:
    setup = ConfigParser()
    setup.read(SETUP, encoding="utf-8")
    print("\n".join(constraints(requirements(setup, extras))))


if __name__ == "__main__":
    main(sys.argv[1:])
