"""smartproxy on another build of Python: Debian's, which is built with PGO, beside the one that runs the benchmarks.

Its environment, ``.venv-debian``, is made when it is missing, and has the dependencies; the package is that of the checkout.
"""

from __future__ import annotations

import json
import subprocess
import sys
from configparser import ConfigParser
from functools import cache

from benchmarks.processes import ROOT, BenchmarkError

_SYSTEM = "/usr/bin/python3"
_ENVIRONMENT = ROOT / ".venv-debian"
#: The interpreter of that environment.
DEBIAN = _ENVIRONMENT / "bin" / "python"
_OLDEST = [3, 11]
_ASK = "import json, sys, ensurepip; print(json.dumps([list(sys.version_info[:2]), sys.base_prefix]))"


@cache
def debian() -> str:
    """Path of an interpreter with all dependencies; empty where there is none that differs from this one.

    :raises BenchmarkError: if the dependencies cannot be installed.
    """
    asked = subprocess.run([_SYSTEM, "-c", _ASK], capture_output=True, text=True, check=False)
    if asked.returncode:  # also where there is no python3-venv
        return ""
    version, prefix = json.loads(asked.stdout)
    if version < _OLDEST or prefix == sys.base_prefix:
        return ""
    if not is_ready():
        _run([_SYSTEM, "-m", "venv", "--clear", str(_ENVIRONMENT)])
        _run([str(DEBIAN), "-m", "pip", "--disable-pip-version-check", "install", "-q", *_requirements()])
        (_ENVIRONMENT / "installed").touch()
    return str(DEBIAN)


def is_ready() -> bool:
    """Whether the environment was made."""
    return (_ENVIRONMENT / "installed").exists()


def _requirements() -> list[str]:
    configuration = ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    return [line for line in configuration["options"]["install_requires"].splitlines() if line]


def build_of(python: str) -> str:
    """The version of an interpreter, and whether it was built with PGO, which is worth 13 to 30 %.

    Debian's is, but removes that from its configuration.
    """
    program = (
        "import platform, sys, sysconfig; options = sysconfig.get_config_var('CONFIG_ARGS') or '';"
        "has_pgo = '--enable-optimizations' in options or sys.base_prefix == '/usr';"
        "print(platform.python_version(), 'with' if has_pgo else 'without', 'PGO')"
    )
    told = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout
    number, pgo = told.strip().split(" ", 1)
    return f"{number} ({pgo})"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command)}: {done.stderr[-500:]}")
