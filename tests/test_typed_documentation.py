"""The programs of the documentation pass ``mypy --strict``, with no plugin and no configuration."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.rst", "docs/embedding.rst", "docs/quickstart.rst", "docs/testing.rst", "docs/tutorial.rst")
BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", re.MULTILINE)
#: Blocks that continue the one before them on their page.
CONTINUED = {"docs/tutorial.rst"}
ERROR = re.compile(r"^(?P<file>\w+)\.py:\d+: error: .*\[(?P<code>[\w-]+)\]$", re.MULTILINE)
#: What does not pass yet, by file and error code, with the reason. It may only become shorter.
KNOWN = {("smartproxy_tac", "no-untyped-call"): "Twisted's functions for applications have no annotations"}


def programs() -> dict[str, str]:
    """Every Python block and the application in ``tap/``, by the name of a module to write it to."""
    found = {"smartproxy_tac": (ROOT / "tap" / "smartproxy.tac").read_text(encoding="utf-8")}
    for page in PAGES:
        before = ""
        for number, block in enumerate(BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))):
            source = "".join(line[4:] or line for line in block.splitlines(keepends=True))
            before = before + source if page in CONTINUED else source
            found[f"{Path(page).stem}_{number}".lower()] = before
    return found


@skipIf(find_spec("mypy") is None, "needs the lint extra, which the lowest job does not install")
class TypedDocumentationTests(SynchronousTestCase):
    def test_every_program_passes_strict_mypy_without_a_plugin(self) -> None:
        """An embedder who checks types strictly can start from what the pages show."""
        sources = programs()
        self.assertGreater(len(sources), 5)
        with TemporaryDirectory() as directory:
            for name, source in sources.items():
                (Path(directory) / f"{name}.py").write_text(source, encoding="utf-8")
            printed = self.mypy(directory, [f"{name}.py" for name in sources])
        errors = {(found["file"], found["code"]) for found in ERROR.finditer(printed)}
        self.assertEqual(errors, KNOWN.keys(), printed)

    def mypy(self, directory: str, files: list[str]) -> str:
        """What mypy prints; errors in smartproxy itself are for its own configuration."""
        arguments = [
            "--strict",
            "--config-file",
            os.devnull,
            "--follow-imports",
            "silent",
            "--no-color-output",
        ]
        cache = ["--cache-dir", str(ROOT / ".mypy_cache" / "documentation")]
        done = subprocess.run(
            [sys.executable, "-m", "mypy", *arguments, *cache, *files],
            cwd=directory,
            env={**os.environ, "MYPYPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertIn(done.returncode, (0, 1), done.stdout + done.stderr)
        return done.stdout
