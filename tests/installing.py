"""Building the package as a stranger does, and installing it into fresh environments of every Python that is found.

The network is used in two places only: for the build backend, once, and for the dependencies of another Python than the one
that runs the tests. Where PyPI cannot be reached, the test that needs it is skipped and says so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from configparser import ConfigParser
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest import SkipTest

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCE = (
    ".git", ".venv*", "*.egg-info", "build", "dist", "_build", "__pycache__", "dropin.cache", "*.so",
    ".*_cache", ".hypothesis", ".coverage*", ".fuzz", "_trial_temp*",
)  # fmt: skip
TWISTD = "from twisted.scripts.twistd import run; run()"
#: What pip and urllib3 say where a host cannot be reached.
_UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|Temporary failure in name resolution"
    r"|Read timed out|Connection refused|ProxyError|Network is unreachable"
)
_TELL = "import os, sys; print(*sys.version_info[:2], os.path.realpath(getattr(sys, '_base_executable', sys.executable)))"


def environment() -> dict[str, str]:
    """Ours, without what would show the checkout to a program that must not see it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}


def run(*command: object, cwd: Path, **more: str) -> str:
    """What it prints; it must succeed.

    :param more: further variables of its environment.
    :raises SkipTest: where it could not reach PyPI.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**environment(), **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and _UNREACHABLE.search(done.stdout + done.stderr):
        raise SkipTest("PyPI cannot be reached")
    if done.returncode:
        raise AssertionError(f"{command} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def pip(*arguments: object, cwd: Path) -> str:
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments, cwd=cwd)


def copy_source(to: Path) -> Path:
    """A copy of the checkout without what was built in it."""
    shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    return to


class Workshop:
    """A copy of the source, and the build backend in a directory, from which isolated builds take it.

    :ivar offline: variables that make pip look in that directory only.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.source = copy_source(directory / "source")
        backend = directory / "backend"
        requirement = re.search(r'"(setuptools[^"]*)"', (ROOT / "pyproject.toml").read_text())
        assert requirement is not None
        pip("download", "--no-deps", "--dest", backend, requirement[1], cwd=directory)
        self.offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(backend)}

    def build(self, *what: str) -> list[Path]:
        """Sdist, and a wheel from it, in isolation."""
        place = self.directory / "dist"
        run(sys.executable, "-m", "build", *what, "--outdir", place, cwd=self.source, **self.offline)
        return sorted(place.iterdir(), key=lambda path: path.suffix != ".whl")


class Python(NamedTuple):
    """An interpreter: its version, and its real path."""

    version: tuple[int, int]
    path: Path

    @property
    def is_public(self) -> bool:
        """Whether another user may run it."""
        return all(parent.stat().st_mode & 0o001 for parent in self.path.parents)


@cache
def pythons() -> tuple[Python, ...]:
    """Every Python of a version that the package supports: in the search path, in ``/usr/bin``, and pyenv's."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    minors = re.findall(r"Python :: 3\.(\d+)$", setup["metadata"]["classifiers"], re.MULTILINE)
    names = ["python3", *(f"python3.{minor}" for minor in minors)]
    places = [*os.get_exec_path(), "/usr/bin", "/usr/local/bin"]
    candidates = [Path(place) / name for place in places for name in names]
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    candidates += sorted(pyenv.glob("versions/*/bin/python3"))
    found = {told for path in candidates if path.exists() and (told := _told(path)) is not None}
    return tuple(sorted(each for each in found if str(each.version[1]) in minors))


def _told(path: Path) -> Python | None:
    """What the interpreter says of itself; ``None`` for a shim of pyenv's that has none behind it."""
    done = subprocess.run(
        [path, "-I", "-c", _TELL], env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        return None
    major, minor, real = done.stdout.split(maxsplit=2)
    return Python((int(major), int(minor)), Path(real.strip()))


class Installed:
    """A fresh venv with the package in it.

    :param python: the interpreter; by default the one that runs the tests. One of the same version sees all other packages of
        this environment, so that nothing is downloaded; another one gets the dependencies from PyPI.
    :param more: variables of pip's environment.
    """

    def __init__(self, directory: Path, *source: object, python: Path | None = None, **more: str) -> None:
        self.directory = directory
        self.elsewhere = directory / "elsewhere"
        self.elsewhere.mkdir(parents=True)
        self.prefix = directory / "venv"
        if python is None:
            venv.create(self.prefix, symlinks=True)
        else:
            run(python, "-m", "venv", "--without-pip", self.prefix, cwd=self.elsewhere)
        self.python = self.prefix / "bin" / "python"
        told = self.python_says(
            "import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_path('purelib'))"
        )
        major, minor, packages = told.split(maxsplit=2)
        same = (int(major), int(minor)) == sys.version_info[:2]
        run(
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "--python", self.python),
            *("install", "--no-compile", *(["--no-deps"] if same else ["--prefer-binary"]), *source),
            cwd=self.elsewhere,
            **more,
        )
        if same:
            dependencies = [entry for entry in sys.path if Path(entry).name == "site-packages"]
            (Path(packages) / "dependencies.pth").write_text("\n".join(dependencies))

    def python_says(self, code: str) -> str:
        return run(self.python, "-c", code, cwd=self.elsewhere).strip()

    def twistd(self, *arguments: str) -> str:
        return run(self.python, "-c", TWISTD, *arguments, cwd=self.elsewhere)

    def command(self, *arguments: str) -> str:
        return run(self.prefix / "bin" / "smartproxy", *arguments, cwd=self.elsewhere)
