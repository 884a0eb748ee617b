"""Ports are given out once, also to processes that ask at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
#: Prints its ports and keeps its claim until its input ends.
ASKING = (
    "import sys; from tests.ports import free_ports; print(*free_ports(50), flush=True); sys.stdin.read()"
)


class PortsTests(SynchronousTestCase):
    def test_processes_at_the_same_time_are_given_different_ports(self) -> None:
        """Parallel workers of one run, and runs of two checkouts, must not meet."""
        given = list(free_ports(50))
        running = [
            subprocess.Popen(
                [sys.executable, "-c", ASKING],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        for each in running:
            assert each.stdout is not None
            given += [int(port) for port in each.stdout.readline().split()]
        for each in running:
            each.communicate()
        self.assertEqual((len(given), len(set(given))), (200, 200))

    def test_a_port_is_not_given_again_at_once(self) -> None:
        """What was listened on a moment ago may still have connections in TIME_WAIT."""
        self.assertEqual(set(free_ports(10)) & set(free_ports(10)), set())
