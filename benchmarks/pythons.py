"""Builds of smartproxy that are measured beside the interpreted one: on Debian's Python, which is built with PGO, and compiled.

``.venv-debian`` has the dependencies only; the package is that of the checkout. ``.venv-compiled`` has the package too,
compiled with mypyc from a copy of the checkout (``docs/packaging.rst``), and is made again when the sources change.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import ROOT, BenchmarkError, Process, environment

_SYSTEM = "/usr/bin/python3"
_DEBIAN = ROOT / ".venv-debian"
_COMPILED = ROOT / ".venv-compiled"
_OLDEST = [3, 11]
_ASK = "import json, sys, ensurepip; print(json.dumps([list(sys.version_info[:2]), sys.base_prefix]))"
#: What the wheel is made of: these files, and the files below these directories.
_FILES = ("setup.py", "setup.cfg", "pyproject.toml", "README.rst", "LICENSE", "MANIFEST.in")
_DIRECTORIES = ("smartproxy", "twisted", "tap", "docs/man")
#: Of these, what the compiled modules depend on: a change of the other ones needs no new build.
_SOURCES = ("setup.py", "setup.cfg", "pyproject.toml")
_PACKAGES = ("smartproxy", "twisted")
_NOT_COPIED = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info", "dropin.cache")
#: As the proxy calls its builds, and as the tables do.
_CALLED = {"(pure)": "interpreted", "(compiled)": "compiled"}


class Build(NamedTuple):
    """What runs smartproxy.

    :ivar python: the interpreter.
    :ivar checkout: the directory whose packages it imports.
    :ivar is_compiled: whether the hot path must be compiled; checked when a proxy has started.
    """

    python: str = sys.executable
    checkout: Path = ROOT
    is_compiled: bool = False


#: The sources of this checkout, on the Python that runs the benchmarks.
INTERPRETED = Build()


@cache
def others() -> Mapping[str, Build]:
    """The builds to compare, by the column of the tables; a build that cannot be made here is left out.

    :raises BenchmarkError: if the dependencies cannot be installed, or if the compiled environment runs the sources.
    """
    found = {}
    if python := _debian():
        found["debian"] = Build(python)
    try:
        found["compiled"] = _compiled()
    except CannotBuildError as failed:
        print(f"benchmarks: no column of the compiled build: {failed}", file=sys.stderr, flush=True)
    return found


def describe(build: Build) -> str:
    """Python's version and the build of smartproxy, which it is asked for: ``3.11.7 (with PGO), compiled``."""
    return f"{build_of(build.python)}, {kind_of(build)}"


def kind_of(build: Build) -> str:
    """``interpreted`` or ``compiled``, as ``twistd smartproxy --version`` says.

    :raises BenchmarkError: if it does not say so.
    """
    command = [*twistd(build), "smartproxy", "--version"]
    told = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment(build.checkout)
    )
    words = told.stdout.split()
    if told.returncode or not words or words[-1] not in _CALLED:
        raise BenchmarkError(f"{' '.join(command)}: {told.stdout}{told.stderr[-500:]}")
    return _CALLED[words[-1]]


def twistd(build: Build) -> list[str]:
    """The command of ``twistd`` in the environment of a build."""
    return [build.python, str(Path(build.python).with_name("twistd"))]


def check(process: Process, build: Build) -> None:
    """Check that a proxy has loaded the compiled modules of its build, if the build is compiled.

    :raises BenchmarkError: if it runs the interpreted sources.
    """
    if build.is_compiled and not any(
        path.suffix == ".so" and path.is_relative_to(build.checkout / "smartproxy")
        for path in process.mapped_files()
    ):
        raise BenchmarkError(f"{process.name} does not run the compiled build of {build.checkout}")


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


# -- Debian's Python -------------------------------------------------------------------------------------


def _debian() -> str:
    """Path of an interpreter with all dependencies; empty where there is none that differs from this one."""
    asked = subprocess.run([_SYSTEM, "-c", _ASK], capture_output=True, text=True, check=False)
    if asked.returncode:  # also where there is no python3-venv
        return ""
    version, prefix = json.loads(asked.stdout)
    if version < _OLDEST or prefix == sys.base_prefix:
        return ""
    python = str(_DEBIAN / "bin" / "python")
    if not (_DEBIAN / "installed").exists():
        _run([_SYSTEM, "-m", "venv", "--clear", str(_DEBIAN)])
        _run([*_pip(python), *_requirements()])
        (_DEBIAN / "installed").touch()
    return python


def _requirements() -> list[str]:
    configuration = ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    return [line for line in configuration["options"]["install_requires"].splitlines() if line]


# -- the compiled build ----------------------------------------------------------------------------------


class CannotBuildError(BenchmarkError):
    """The compiled build cannot be made on this machine, for example because there is no C compiler."""


def _compiled() -> Build:
    """The compiled build of the checkout on this Python, made if it is missing or of other sources."""
    python = _COMPILED / "bin" / "python"
    digest, stored = digest_of(ROOT), _COMPILED / "digest"
    if not is_current(stored, digest):
        _make_compiled(python)
    build = Build(str(python), _site_packages(str(python)), is_compiled=True)
    if kind_of(build) != "compiled":
        raise BenchmarkError(f"{build.checkout} has no compiled build: remove {_COMPILED} to make it again")
    stored.write_text(digest)
    return build


def is_current(stored: Path, digest: str) -> bool:
    """Whether the environment whose digest is in the file ``stored`` was made from the sources of ``digest``."""
    return stored.exists() and stored.read_text() == digest


def digest_of(root: Path) -> str:
    """A digest of what the compiled build of a checkout is made from: its sources, how it is built, and this Python."""
    digest = hashlib.sha256(f"{sys.version} {sys.base_prefix}".encode())
    for path in _sources(root):
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(root)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    yield from (root / name for name in _SOURCES)
    for package in _PACKAGES:
        yield from sorted((root / package).rglob("*.py"))


def _make_compiled(python: Path) -> None:
    """Build from a copy, because a build leaves files in its directory, and would package those of an earlier one.

    :raises CannotBuildError: if the build fails, or something that it needs is missing.
    """
    if missing := _missing():
        raise CannotBuildError(missing)
    print(f"benchmarks: compiling smartproxy into {_COMPILED.name}, some minutes", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="smartproxy-compiled-") as name:
        copy = Path(name)
        for file in _FILES:
            shutil.copy(ROOT / file, copy / file)
        for directory in _DIRECTORIES:
            shutil.copytree(ROOT / directory, copy / directory, ignore=_NOT_COPIED)
        try:
            _run([sys.executable, "-m", "venv", "--clear", str(_COMPILED)])
            _run([*_pip(str(python)), str(copy)], SMARTPROXY_MYPYC="1")
        except BenchmarkError as failed:
            raise CannotBuildError(str(failed)) from failed


def _missing() -> str:
    """What a build needs and this machine does not have; empty if there is everything."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"{compiler} is not installed"
    header = Path(sysconfig.get_path("include"), "Python.h")
    return "" if header.exists() else f"there is no {header}"


def _site_packages(python: str) -> Path:
    program = "import sysconfig; print(sysconfig.get_path('platlib'))"
    return Path(
        subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout[:-1]
    )


def _pip(python: str) -> list[str]:
    return [python, "-m", "pip", "--disable-pip-version-check", "install", "-q"]


def _run(command: list[str], **variables: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command)}: {done.stderr[-500:]}")
