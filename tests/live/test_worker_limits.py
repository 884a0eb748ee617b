"""Limits over processes that run at the same time: a burst of claims is admitted up to the limit, and never beyond."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]
LIMIT, CLAIMS = 1000, 8000


class WorkerLimitTests(SynchronousTestCase):
    def test_bursts_in_four_processes_are_admitted_exactly_up_to_the_limit(self) -> None:
        """To check first and count then was seen to admit 1,001 of 1,000. Between the bursts a process is replaced."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.live.claiming", str(LIMIT), str(CLAIMS)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        scenarios = json.loads(done.stdout)
        self.assertEqual(list(scenarios), ["global", "route", "client", "rate"])
        for limit, results in scenarios.items():
            for first, dead, second, live in results:
                # A dead process has no connections, but the times at which its clients connected are what they are.
                expected = (LIMIT, 0, 0) if limit == "rate" else (LIMIT, dead, LIMIT)
                self.assertEqual((first, second, live), expected, limit)
