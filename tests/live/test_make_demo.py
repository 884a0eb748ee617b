"""``make demo`` as it is run in a terminal, on other ports."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from pathlib import Path

from tests.live.case import LiveCase
from tests.live.programs import ROOT, Program, environment, needed
from tests.live.waiting import until


class MakeDemoTests(LiveCase):
    def test_interrupt_ends_it_without_an_error(self):
        """Ctrl-C is how it is meant to end. The signal goes to make, the shell and the proxy alike."""
        make = needed("make")
        venv = Path(sys.prefix)
        if not (venv / "bin" / "twistd").exists():
            self.skipTest("the tests do not run in an environment with twistd")
        shutil.copy(ROOT / "Makefile", self.directory)
        shutil.copytree(ROOT / "tap", self.directory / "tap")
        demo = self.directory / "tap" / "demo.yaml"
        named = set(re.findall(r"port[s]?: (\d{4})", demo.read_text()))
        ports = {port: str(self.port()) for port in sorted(named)}
        demo.write_text(
            re.sub(r"(port[s]?: )(\d{4})", lambda found: found[1] + ports[found[2]], demo.read_text())
        )
        # A shell without job control starts its background jobs, perhaps these tests, with SIGINT ignored.
        command = [
            needed("env"),
            "--default-signal=INT",
            make,
            "-o",
            f"{venv}/.for-demo",
            "demo",
            f"VENV={venv}",
        ]
        program = Program(command, self.directory / "make.log", env=environment(), cwd=self.directory)
        self.addCleanup(program.stop)
        until(lambda: " listens on " in program.printed or program.ended is not None, "the start")
        with self.connect(int(ports["7000"])) as client:
            self.assert_echoes(client)  # the event loop runs, and handles signals
        # An open connection would be waited for, as long as this test waits for the end.
        os.killpg(program.pid, signal.SIGINT)
        self.assertIn(program.wait(), (0, -signal.SIGINT))
        self.assertIn("Ctrl-C stops it.", program.printed)
        for word in ("Error", "***", "Traceback"):
            self.assertNotIn(word, program.printed)
