"""The container file keeps its rules: a slim base, no root, a health check, and no network but that of the registries.

That it builds an image is checked at a release. Its steps run here in a directory (``tests/test_packaging.py``).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.containerfile import stages

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "tap" / "Containerfile"


class ContainerfileTests(SynchronousTestCase):
    builder, image = stages(FILE)

    def test_both_stages_have_the_same_slim_base(self) -> None:
        """The venv refers to the Python of the image."""
        self.assertEqual(self.builder.base, self.image.base)
        self.assertRegex(self.image.base, r"^docker\.io/library/python:3\.\d+-slim$")

    def test_the_image_runs_without_root_and_runs_no_step(self) -> None:
        (user,) = self.image.all("USER")
        self.assertRegex(user, r"^[1-9]\d+:[1-9]\d+$")
        self.assertEqual(self.image.all("RUN"), [])
        keywords = [keyword for keyword, _ in self.image.instructions]
        self.assertLess(keywords.index("USER"), keywords.index("ENTRYPOINT"))

    def test_only_the_step_that_makes_wheels_uses_a_network(self) -> None:
        """And of its commands none but pip, which asks PyPI."""
        wheels, install = self.builder.all("RUN")
        self.assertRegex(wheels, r"^python -m pip wheel [^&|;]*$")
        for command in install.split(" && "):
            self.assertTrue(
                command.startswith(("python -m venv ", "/opt/smartproxy/bin/twistd --help"))
                or ("pip --python" in command and "--no-index" in command),
                command,
            )

    def test_everything_that_the_package_needs_is_in_the_context(self) -> None:
        """The wheel is built from what .dockerignore lets through."""
        allowed = {
            line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
        }
        self.assertEqual(self.builder.all("COPY"), [". ."])
        for path in allowed:
            self.assertTrue((ROOT / path).exists(), path)
        needed = (
            "smartproxy",
            "twisted",
            "setup.cfg",
            "pyproject.toml",
            "README.rst",
            "LICENSE",
            "docs/man",
            "tap",
        )
        self.assertEqual([path for path in needed if not any(fnmatch(path, each) for each in allowed)], [])

    def test_the_start_command_is_twistd_in_the_foreground(self) -> None:
        self.assertEqual(self.image.argv("ENTRYPOINT"), ["twistd", "-n", "--pidfile=", "smartproxy"])
        self.assertEqual(self.image.argv("CMD"), ["--config", "/etc/smartproxy/smartproxy.yaml"])

    def test_hadolint_has_no_objection(self) -> None:
        hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
        if hadolint is None:
            self.skipTest("hadolint is not installed")
        done = subprocess.run([hadolint, FILE], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))
