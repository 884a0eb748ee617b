"""The package as a stranger installs it: from a wheel, from an sdist, and editable, each in a fresh venv.

What goes wrong here goes wrong silently: ``twisted.plugins`` is a package that several projects have a part
in, so a part of ours that is missing, or hidden by the way of installing, is only a name that ``twistd``
does not know. Dependencies are not installed again: the venvs see those of the environment that runs this.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from tempfile import mkdtemp

import pytest
from twisted.trial.unittest import SynchronousTestCase

pytestmark = pytest.mark.installing

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCE = (
    ".git", ".venv*", "*.egg-info", "build", "dist", "_build", "__pycache__", "dropin.cache",
    ".*_cache", ".hypothesis", ".coverage*", "_trial_temp*",
)  # fmt: skip
TWISTD = "from twisted.scripts.twistd import run; run()"


def environment() -> dict[str, str]:
    """Ours, without what would show the checkout to a program that must not see it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}


def run(*command: object, cwd: Path) -> str:
    """What it prints; it must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{command} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def pip(*arguments: object, cwd: Path) -> str:
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments, cwd=cwd)


class Installed:
    """A fresh venv with the package in it, and with everything else that this environment has."""

    def __init__(self, directory: Path, *source: object) -> None:
        self.directory = directory
        self.elsewhere = directory / "elsewhere"
        self.elsewhere.mkdir(parents=True)
        venv.create(directory / "venv", symlinks=True)
        self.python = directory / "venv" / "bin" / "python"
        pip("--python", self.python, "install", "--no-deps", *source, cwd=self.elsewhere)
        packages = run(
            self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=self.elsewhere
        )
        dependencies = [entry for entry in sys.path if Path(entry).name == "site-packages"]
        (Path(packages.strip()) / "dependencies.pth").write_text("\n".join(dependencies))

    def python_says(self, code: str) -> str:
        return run(self.python, "-c", code, cwd=self.elsewhere).strip()

    def twistd(self, *arguments: str) -> str:
        return run(self.python, "-c", TWISTD, *arguments, cwd=self.elsewhere)

    def command(self, *arguments: str) -> str:
        return run(self.directory / "venv" / "bin" / "smartproxy", *arguments, cwd=self.elsewhere)


class PackagingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.source = self.directory / "source"
        shutil.copytree(ROOT, self.source, ignore=shutil.ignore_patterns(*NOT_SOURCE))

    def build(self, *what: str) -> list[Path]:
        run(sys.executable, "-m", "build", *what, "--outdir", self.directory / "dist", cwd=self.source)
        return sorted((self.directory / "dist").iterdir())

    def assert_complete(self, installed: Installed) -> None:
        """``twistd`` knows the plugin, and both commands explain themselves."""
        listed = installed.twistd("--help").splitlines()
        self.assertEqual([line.split()[0] for line in listed if "smartproxy" in line], ["smartproxy"])
        self.assertIn("--config=", installed.twistd("smartproxy", "--help"))
        self.assertIn("explain", installed.command("--help"))

    def assert_examples_run(self, installed: Installed) -> None:
        """The demo finds its backends beside its configuration, from another working directory."""
        examples = installed.directory / "examples"
        shutil.copytree(self.source / "tap", examples)
        self.assertIn("ok (", installed.command("check", str(examples / "demo.yaml")))

    def assert_outside_of_the_source(self, installed: Installed) -> None:
        place = Path(installed.python_says("import smartproxy; print(smartproxy.__file__)"))
        self.assertIn(installed.directory / "venv", place.parents)

    def test_a_wheel_that_was_built_from_the_sdist_is_complete(self) -> None:
        wheel, sdist = self.build()
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
        self.assertIn("smartproxy/py.typed", names)
        self.assertIn("twisted/plugins/smartproxy_plugin.py", names)
        tops = {name.partition("/")[0] for name in names}
        self.assertEqual({top for top in tops if not top.endswith(".dist-info")}, {"smartproxy", "twisted"})
        self.assertEqual([name for name in names if name.startswith("twisted/") and "__init__" in name], [])
        with tarfile.open(sdist) as archive:
            inside = {name.partition("/")[2] for name in archive.getnames()}
        wanted = {
            "Makefile",
            "tap/demo.yaml",
            "tap/demo_backends.py",
            "tests/test_packaging.py",
            "docs/index.rst",
        }
        self.assertEqual(wanted - inside, set())
        installed = Installed(self.directory / "wheel", wheel)
        self.assert_outside_of_the_source(installed)
        self.assert_complete(installed)
        self.assert_examples_run(installed)

    def test_an_sdist_installs(self) -> None:
        (sdist,) = self.build("--sdist")
        installed = Installed(self.directory / "sdist", sdist)
        self.assert_outside_of_the_source(installed)
        self.assert_complete(installed)

    def test_an_editable_install_finds_the_plugin(self) -> None:
        installed = Installed(self.directory / "editable", "--editable", self.source)
        place = Path(installed.python_says("import smartproxy; print(smartproxy.__file__)"))
        self.assertIn(self.source, place.parents)
        self.assert_complete(installed)

    def test_the_plugin_directories_are_no_packages(self) -> None:
        """With an ``__init__.py``, ours would hide Twisted's own, and everybody else's plugins."""
        for directory in (ROOT / "twisted", ROOT / "twisted" / "plugins"):
            self.assertFalse((directory / "__init__.py").exists())
