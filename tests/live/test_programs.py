"""No program that a test has started outlives it, however the test ends."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.live.case import LiveCase
from tests.live.programs import ROOT, needed, run
from tests.live.waiting import until

#: Starts a child and does not end it.
_PARENT = (
    "import subprocess, sys, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
)
#: A test that starts a program and then dies like one that pytest-timeout or the kernel ends.
_DYING = """
import os, signal
from pathlib import Path
from tests.live.programs import Program
from tests.live.waiting import until
program = Program(["sleep", "600"], Path({log!r}))
until(lambda: Path(f"/proc/{{program.pid}}/comm").read_text() == "sleep\\n", "setpriv starting it")
print(program.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def _lives(pid):
    """Whether a process runs; one that has ended and that nobody has waited for does not (proc(5): state Z)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class ProgramTests(LiveCase):
    def test_children_of_a_stopped_program_end_with_it(self):
        """As those of a scanner that is a shell script, when its test fails in the middle of a scan."""
        program = self.program(sys.executable, "-c", _PARENT)
        until(lambda: program.printed.endswith("\n"), "the child's number")
        child = int(program.printed)
        self.assertTrue(_lives(child))
        program.stop()
        until(lambda: not _lives(child), "the child's end")

    def test_a_program_ends_when_the_process_of_its_test_is_killed(self):
        needed("setpriv")
        log = str(self.directory / "sleep.log")
        done = run(sys.executable, "-c", _DYING.format(log=log), cwd=ROOT)
        self.assertEqual(done.returncode, -signal.SIGKILL)
        until(lambda: not _lives(int(done.stdout)), "the program's end")
