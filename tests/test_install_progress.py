"""``.ci/install.py``: what ``make demo`` prints while it installs."""

from __future__ import annotations

import runpy
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
#: As pip 24 prints it.
PIP = """\
Obtaining file:///src/smartproxy
  Installing build dependencies: started
  Checking if build backend supports build_editable: finished with status 'done'
Collecting twisted>=24.10 (from smartproxy==0.1.0)
  Using cached twisted-26.10.0-py3-none-any.whl.metadata (20 kB)
Collecting zope.interface>=7.0.1 (from smartproxy==0.1.0)
Requirement already satisfied: idna>=3.7 in ./.venv (from smartproxy==0.1.0) (3.10)
Building wheels for collected packages: smartproxy
  Building editable for smartproxy (pyproject.toml): started
Installing collected packages: zope.interface, twisted, smartproxy
Successfully installed smartproxy-0.1.0 twisted-26.10.0 zope.interface-7.2
"""


class ProgressTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.names = runpy.run_path(str(ROOT / ".ci" / "install.py"))

    def printed(self, lines: list[str]) -> list[str]:
        output = StringIO()
        with redirect_stdout(output):
            progress = self.names["Progress"]()
            for line in lines:
                self.names["report"](line, progress)
            progress.end()
        return output.getvalue().splitlines()

    def test_each_package_is_named_once(self) -> None:
        self.assertEqual(
            self.printed(PIP.splitlines(keepends=True)),
            ["   smartproxy twisted zope.interface (building smartproxy)", "   installing 3 packages"],
        )

    def test_lines_fit_a_terminal(self) -> None:
        lines = self.printed([f"Collecting package-number-{number}\n" for number in range(60)])
        self.assertLess(max(map(len, lines)), 105)
        self.assertEqual(sum(line.count("package-number-") for line in lines), 60)
