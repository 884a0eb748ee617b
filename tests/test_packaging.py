"""The package as a stranger installs it: from a wheel, from an sdist, and editable, each in a fresh venv.

What goes wrong here goes wrong silently: ``twisted.plugins`` is a package that several projects have a part
in, so a part of ours that is missing, or hidden by the way of installing, is only a name that ``twistd``
does not know.
"""

from __future__ import annotations

import http.server
import os
import re
import shutil
import signal
import socketserver
import subprocess
import sys
import tarfile
import threading
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING
from unittest import SkipTest

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.containerfile import stages
from tests.installing import (
    ROOT,
    Installed,
    Python,
    Workshop,
    copy_source,
    environment,
    pythons,
    run,
)
from tests.live.programs import Program
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.installing

#: Where files of the source are installed, below the prefix.
PLACES = {
    "docs/man/*.1": "share/man/man1",
    "tap/*.yaml": "share/doc/smartproxy/examples",
    "tap/*.json": "share/doc/smartproxy/examples",
    "tap/*.py": "share/doc/smartproxy/examples",
    "tap/*.tac": "share/doc/smartproxy/examples",
    "tap/*.txt": "share/doc/smartproxy/examples",
    "tap/Containerfile": "share/doc/smartproxy/examples",
    "tap/*.service": "lib/systemd/system",
    "tap/*.socket": "lib/systemd/system",
}


@cache
def workshop() -> tuple[Workshop, TemporaryDirectory[str]]:
    """One for all tests of this process; its directory is removed when the process ends."""
    made = TemporaryDirectory(prefix="smartproxy-")
    return Workshop(Path(made.name)), made


@cache
def built() -> tuple[Path, Path]:
    """A wheel that was built from an sdist, and that sdist."""
    wheel, sdist = workshop()[0].build()
    return wheel, sdist


class PackagingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(mkdtemp())
        self.directory.chmod(0o755)  # a program may run as another user
        self.addCleanup(shutil.rmtree, self.directory)

    def assert_complete(self, installed: Installed) -> None:
        """``twistd`` knows the plugin, and both commands explain themselves."""
        listed = installed.twistd("--help").splitlines()
        self.assertEqual([line.split()[0] for line in listed if "smartproxy" in line], ["smartproxy"])
        self.assertIn("--config=", installed.twistd("smartproxy", "--help"))
        self.assertIn("explain", installed.command("--help"))

    def assert_outside_of_the_source(self, installed: Installed) -> None:
        place = Path(installed.python_says("import smartproxy; print(smartproxy.__file__)"))
        self.assertIn(installed.prefix, place.parents)

    def assert_serves(self, command: list[object], directory: Path, **options: object) -> None:
        """``command`` with a configuration answers clients and ``/healthz``, and exits with 0 on SIGTERM."""
        port, admin = free_ports(2)
        file = directory / "smartproxy.yaml"
        file.write_text(
            f"admin: {{port: {admin}}}\nroutes:\n"
            f"  - {{name: hello, match: {{ports: {port}, address: 127.0.0.1}},"
            " action: {type: respond, response: {status: 200, body: hello}}}\n"
        )
        options = {"cwd": directory, "env": environment(), **options}
        program = Program([*command, "--config", str(file)], directory / "log", **options)
        self.addCleanup(program.stop)
        program.listens(port)
        for url, body in (
            (f"http://127.0.0.1:{port}/", b"hello"),
            (f"http://127.0.0.1:{admin}/healthz", b""),
        ):
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
                self.assertEqual(answer.status, 200)
                self.assertIn(body, answer.read())
        program.signal(signal.SIGTERM)
        self.assertEqual(program.wait(), 0, program.printed)
        for fault in ("Traceback", "Unable to write to plugin cache"):
            self.assertNotIn(fault, program.printed)


class DistributionTests(PackagingCase):
    def test_the_wheel_has_package_plugin_and_files_for_people(self) -> None:
        wheel, _ = built()
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
        self.assertIn("smartproxy/py.typed", names)
        self.assertIn("twisted/plugins/smartproxy_plugin.py", names)
        tops = {name.partition("/")[0] for name in names}
        packages = {top for top in tops if not top.endswith((".dist-info", ".data"))}
        self.assertEqual(packages, {"smartproxy", "twisted"})
        self.assertEqual([name for name in names if name.startswith("twisted/") and "__init__" in name], [])
        data = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
        self.assertEqual(data, set(wanted_files()))

    def test_the_sdist_has_everything_to_build_and_to_test(self) -> None:
        _, sdist = built()
        with tarfile.open(sdist) as archive:
            inside = {name.partition("/")[2] for name in archive.getnames()}
        wanted = {
            "Makefile",
            "tap/demo.yaml",
            "tap/demo_backends.py",
            "tap/Containerfile",
            "tests/test_packaging.py",
            "docs/index.rst",
            "docs/man/smartproxy.1",
        }
        self.assertEqual(wanted - inside, set())

    def test_everything_in_tap_and_man_is_installed(self) -> None:
        """A new kind of file needs a pattern in ``setup.cfg`` and here."""
        there = {
            path.relative_to(ROOT)
            for path in (*(ROOT / "tap").iterdir(), *(ROOT / "docs/man").iterdir())
            if path.is_file()
        }
        matched = {path.relative_to(ROOT) for pattern in PLACES for path in ROOT.glob(pattern)}
        self.assertEqual(there - matched, set())

    def test_the_packaging_page_names_every_place(self) -> None:
        page = (ROOT / "docs" / "packaging.rst").read_text(encoding="utf-8")
        for place in PLACES.values():
            self.assertIn(f"``{place}", page)

    def test_the_plugin_directories_are_no_packages(self) -> None:
        """With an ``__init__.py``, ours would hide Twisted's own, and everybody else's plugins."""
        for directory in (ROOT / "twisted", ROOT / "twisted" / "plugins"):
            self.assertFalse((directory / "__init__.py").exists())


def wanted_files() -> Iterator[str]:
    """What is installed below the prefix beside the package."""
    for pattern, place in PLACES.items():
        yield from (f"{place}/{path.name}" for path in ROOT.glob(pattern))


class InstallingTests(PackagingCase):
    def test_every_python_installs_the_wheel_and_serves(self) -> None:
        """Side by side: most of the time is spent in pip and in imports."""
        wheel, _ = built()
        found = pythons()
        self.assertTrue(found)
        with ThreadPoolExecutor(len(found)) as threads:
            results = list(threads.map(lambda python: self.installs(wheel, python), found))
        skipped = [why for why in results if why]
        print("\n".join(f"{python.path}: {why or 'ok'}" for python, why in zip(found, results, strict=True)))
        if len(skipped) == len(found):
            raise SkipTest(skipped[0])

    def installs(self, wheel: Path, python: Python) -> str:
        """Why this Python was skipped; empty where everything is right."""
        major, minor = python.version
        place = self.directory / f"{major}.{minor}{'-'.join(python.path.parts)}"
        try:
            installed = Installed(place, wheel, python=python.path)
        except SkipTest as unreachable:
            return str(unreachable)
        self.assert_outside_of_the_source(installed)
        self.assert_complete(installed)
        self.assertEqual([file for file in wanted_files() if not (installed.prefix / file).exists()], [])
        examples = installed.prefix / "share/doc/smartproxy/examples"
        # The demo finds its backends beside its configuration, from another working directory.
        self.assertIn("ok (", installed.command("check", str(examples / "demo.yaml")))
        twistd = [installed.python, "-c", "from twisted.scripts.twistd import run; run()"]
        self.assert_serves([*twistd, "-n", "--pidfile=", "smartproxy"], installed.elsewhere)
        return ""

    def test_an_sdist_installs(self) -> None:
        _, sdist = built()
        installed = Installed(self.directory / "sdist", sdist, **workshop()[0].offline)
        self.assert_outside_of_the_source(installed)
        self.assert_complete(installed)

    def test_an_editable_install_finds_the_plugin(self) -> None:
        source = copy_source(self.directory / "source")
        offline = workshop()[0].offline
        installed = Installed(self.directory / "editable", "--editable", source, **offline)
        place = Path(installed.python_says("import smartproxy; print(smartproxy.__file__)"))
        self.assertIn(source, place.parents)
        self.assert_complete(installed)


class ContainerStepsTests(PackagingCase):
    """The steps of ``tap/Containerfile`` in a directory in place of an image: the commands, not a container runtime."""

    def setUp(self) -> None:
        super().setUp()
        self.builder, self.image = stages(ROOT / "tap" / "Containerfile")
        public = [python for python in pythons() if python.is_public]
        self.python = (public or pythons())[0].path
        self.as_user = bool(public) and os.geteuid() == 0

    def step(self, command: str) -> str:
        """The command with the paths of the image below our directory. pip is ours, with its cache, and saves time."""
        here = re.sub(r"(?<!\S)/(wheels|opt)\b", rf"{self.directory}/\1", command)
        here = re.sub(r"(?<!\S)python -m pip", f"{sys.executable} -m pip", here)
        here = re.sub(r"(?<!\S)python ", f"{self.python} ", here)
        return here.replace("--no-cache-dir ", "").replace(" install ", " install --no-compile ")

    def test_the_steps_make_a_venv_that_an_unprivileged_user_runs(self) -> None:
        source = context(self.directory / "source")
        for command in self.builder.all("RUN"):
            run("/bin/sh", "-ec", self.step(command), cwd=source)
        ((user, group),) = [map(int, each.split(":")) for each in self.image.all("USER")]
        program, *words = self.image.argv("ENTRYPOINT")
        prefix = self.directory / "opt" / "smartproxy"
        options = {"user": user, "group": group, "extra_groups": []} if self.as_user else {}
        etc = self.directory / "etc"
        etc.mkdir()
        self.assert_serves([prefix / "bin" / program, *words], etc, **options)

    def test_the_health_check_succeeds_only_beside_a_proxy(self) -> None:
        program, option, code = self.image.argv("HEALTHCHECK")
        self.assertEqual((program, option), ("python", "-c"))
        self.assertIn("//127.0.0.1:8404/healthz", code)
        self.assertNotEqual(self.asked(code, free_ports(1)[0]), 0)
        with socketserver.TCPServer(("127.0.0.1", 0), _Healthy) as server:
            threading.Thread(target=server.handle_request).start()
            self.assertEqual(self.asked(code, server.server_address[1]), 0)

    def asked(self, code: str, port: int) -> int:
        """The exit code of the health check, for an admin listener on ``port``, where Docker has set a proxy."""
        command = [sys.executable, "-c", code.replace(":8404/", f":{port}/")]
        environment = os.environ | {"http_proxy": "http://127.0.0.1:1", "no_proxy": ""}
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


class _Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(http.HTTPStatus.OK if self.path == "/healthz" else http.HTTPStatus.NOT_FOUND)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def context(to: Path) -> Path:
    """What the file copies: the source as far as ``.dockerignore`` lets it through."""
    whole = copy_source(to.with_name("whole"))
    to.mkdir()
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            (to / line[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(whole / line[1:], to / line[1:])
    return to
